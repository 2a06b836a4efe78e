"""All that training depends on after an update, on one rank, as tensors and words; progress comes beside it.

Schedules, the order of the data and what chance does to a sample are functions of seed and progress: no loader has a
state.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from octathlon.contracts import Benchmark

Words = Mapping[str, Any]
"""The states of Python's and NumPy's generators, as JSON has them."""


def tensors_of(benchmark: Benchmark, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors as they are, not copied; the first word of a name says whose they are."""
    found = {
        f"{part}.{name}": tensor
        for part, module in _modules(benchmark, model).items()
        for name, tensor in module.state_dict().items()
    }
    for number, parameter in enumerate(_parameters(optimizer)):
        for name, tensor in optimizer.state[parameter].items() if parameter in optimizer.state else ():
            found[f"optimizer.{number}.{name}"] = tensor
    found |= {f"benchmark.{name}": tensor for name, tensor in benchmark.state().items()}
    found["random.cpu"] = torch.get_rng_state()
    if benchmark.run.device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state(benchmark.run.device)
    return found


def words() -> Words:
    """What is no tensor."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - libraries draw from it
    return {"python": random.getstate(), "numpy": [kind, keys.tolist(), *rest]}


def restore(
    path: Path, said: Words, benchmark: Benchmark, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Callable[[], None]:
    """Give a run that was just built the state that a file holds.

    Args:
        said: the `words` of then.

    Returns:
        what sets the random generators, when the first batch is there: to open a loader draws from them.

    Raises:
        tensor_files.UNREADABLE, RuntimeError, OverflowError: if it does not fit.
    """
    with safe_open(path, "pt") as file:
        left = set(file.keys())

        def take(name: str) -> Tensor:
            left.remove(name)
            return file.get_tensor(name)

        for part, module in _modules(benchmark, model).items():
            for name, tensor in module.state_dict().items():
                _fill(tensor, take(f"{part}.{name}"))
        parameters = _parameters(optimizer)
        for full in sorted(name for name in left if name.startswith("optimizer.")):
            _, number, name = full.split(".")
            optimizer.state[parameters[int(number)]][name] = _beside(parameters[int(number)], take(full))
        own = sorted(name for name in left if name.startswith("benchmark."))
        benchmark.restore({name.removeprefix("benchmark."): take(name) for name in own})
        states = {name: take(name) for name in sorted(left)}
    set_generators = partial(_set_generators, states, said, benchmark.run.device)
    set_generators()  # what they refuse is told at once
    return set_generators


def _set_generators(states: Mapping[str, Tensor], said: Words, device: torch.device) -> None:
    torch.set_rng_state(states["random.cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["random.cuda"], device)
    version, keys, gauss = said["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(said["numpy"]))  # noqa: NPY002


def _modules(benchmark: Benchmark, model: nn.Module) -> dict[str, nn.Module]:
    evaluated = benchmark.evaluated(model)
    return {"model": model} if evaluated is model else {"model": model, "evaluated": evaluated}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


@torch.no_grad()
def _fill(tensor: Tensor, content: Tensor) -> None:
    if (tensor.shape, tensor.dtype) != (content.shape, content.dtype):
        raise ValueError(
            f"{content.dtype} of shape {tuple(content.shape)} where {tuple(tensor.shape)} belongs"
        )
    tensor.copy_(content)


@torch.no_grad()
def _beside(parameter: Tensor, content: Tensor) -> Tensor:
    """A parameter's state, where the optimizer would have made it: a number, or one for each weight, laid out alike."""
    if not content.ndim:
        return content.to(parameter.device, copy=True)
    if content.shape != parameter.shape:
        raise ValueError(f"shape {tuple(content.shape)} where {tuple(parameter.shape)} belongs")
    return torch.empty_like(parameter, dtype=content.dtype).copy_(content)
