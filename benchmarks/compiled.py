"""Steps with compile: default beside steps as written, in float32 on a CPU, on made-up data.

    PYTHONPATH=src python benchmarks/compiled.py [--scale full] [--steps N] [BENCHMARK ...]

Two trainings begin alike and see the same batches, as small as those of steps.py. For each step the greatest relative
distances are printed, norm by norm, of loss, gradients and updated weights; then how often torch.compile compiled in
all and after the first step, and the CPU seconds of a step, the median without the first one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from steps import prepare
from torch import Tensor
from torch._dynamo.utils import counters

from octathlon import registry
from octathlon.harness.seeds import seed_alike
from octathlon.harness.trainer import StepTrainer

COMPILED = ("bert", "maskrcnn", "minigo", "resnet", "ssd")


@dataclass
class Training:
    """What came of each step."""

    losses: list[Tensor] = field(default_factory=list)
    gradients: list[list[Tensor]] = field(default_factory=list)
    weights: list[list[Tensor]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    graphs: list[int] = field(default_factory=list)
    """compiled so far"""


def train(name: str, scale: str, mode: str, folder: Path, steps: int) -> Training:
    """A training from the benchmark's start, a micro-batch being a step's whole batch."""
    seed_alike(1)  # made-up data may have a backbone
    settings, run = prepare(name, scale, folder)
    settings = settings.model_copy(update={"compile": mode})
    benchmark, found = registry.benchmark_class(name)(settings, run), Training()
    seed_alike(1)
    model = benchmark.build_model().train()
    loss, update = benchmark.loss, benchmark.update

    def seen_loss(*arguments: Any) -> Tensor:
        found.losses.append(loss(*arguments))
        return found.losses[-1]

    def seen_update(*arguments: Any) -> None:
        parameters = [each for each in model.parameters() if each.grad is not None]
        found.gradients.append([each.grad.clone() for each in parameters])
        update(*arguments)
        found.weights.append([each.detach().clone() for each in parameters])

    benchmark.loss, benchmark.update = seen_loss, seen_update
    trainer = StepTrainer(benchmark, model, *benchmark.build_optimizer(model), events=None)
    counters.clear()
    for batch in batches(name, benchmark, steps):
        torch.manual_seed(1)  # what is drawn at random is the same in both
        start = time.process_time()
        trainer.step(batch)
        found.seconds.append(time.process_time() - start)
        found.graphs.append(counters["stats"]["unique_graphs"])
    return found


def batches(name: str, benchmark: Any, steps: int) -> Iterable[Any]:
    """The first ones of an epoch; minigo's are drawn from games, so that it has made-up ones."""
    if name == "minigo":
        return [benchmark.synthetic_batch()] * steps
    return islice(benchmark.train_batches(1), steps)


def distance(left: Iterable[Tensor], right: Iterable[Tensor]) -> float:
    """The greatest one of any two tensors, relative to the norm of all of them together."""
    left, right = list(left), list(right)
    norm = torch.stack([each.norm() for each in left]).norm()
    return max((a - b).norm() / norm for a, b in zip(left, right, strict=True)).item()


def main() -> None:
    """Print a line for each step, and one for each benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--scale", choices=registry.SCALES, default="mini")
    parser.add_argument("benchmarks", nargs="*", default=COMPILED)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.benchmarks:
        with tempfile.TemporaryDirectory() as folder:
            written, compiled = (
                train(name, options.scale, mode, Path(folder), options.steps) for mode in ("none", "default")
            )
        for step in range(options.steps):
            told = (
                f"{what} {distance(left[step], right[step]):.1e}"
                for what, left, right in (
                    ("loss", [[each] for each in written.losses], [[each] for each in compiled.losses]),
                    ("gradients", written.gradients, compiled.gradients),
                    ("weights", written.weights, compiled.weights),
                )
            )
            print(f"{name} step {step + 1}: {', '.join(told)}")
        eager, fast = (statistics.median(each.seconds[1:]) for each in (written, compiled))
        first, last = compiled.graphs[0], compiled.graphs[-1]
        print(
            f"{name}: {last} graphs, {last - first} of them after step 1; {eager:.3f} s -> {fast:.3f} s a step"
        )


if __name__ == "__main__":
    main()
