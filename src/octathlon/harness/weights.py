"""A run's weights: exactly what its last evaluation used, in files that hold numbers and words alone (safetensors).

`result_0.safetensors` lies beside `result_0.txt`. Where ranks have different parameters, each writes a file of its own:
`result_0.rank_1.safetensors`. A file says what it is of, so that no option is needed to evaluate it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from octathlon.contracts import Benchmark, Run
from octathlon.digest import code_digest, value_digest
from octathlon.errors import OctathlonError
from octathlon.harness.tensor_files import UNREADABLE, About, copied, of_rank, said_by, write


class Weights:
    """Keeps what a model is at the end of a run."""

    def __init__(self, benchmark: Benchmark, about: About) -> None:
        self._run = benchmark.run
        self._benchmark, self._about = benchmark, dict(about)
        self._module: nn.Module | None = None

    def attach(self, model: nn.Module) -> None:
        """Off the clock: the model will be kept, if the settings say so. What an earlier run left is removed.

        Raises:
            OctathlonError: if there is no room for it.
        """
        path = self._path
        path.unlink(missing_ok=True)
        writes = self._run.rank == 0 or _is_sharded(self._benchmark, model)
        if not (self._benchmark.settings.keep_weights and writes):
            return
        self._module = self._benchmark.evaluated(model)
        size = sum(tensor.nbytes for tensor in self._module.state_dict().values())
        if (free := shutil.disk_usage(path.parent).free) < size:
            raise OctathlonError(
                f"{path}: the weights need {size / 1e6:,.1f} MB, but {free / 1e6:,.1f} MB are free: make room, or set "
                "keep_weights to false"
            )

    def write(self, samples: int, quality: Mapping[str, float]) -> None:
        """The log is published before: what goes wrong here is a warning."""
        if self._module is None:
            return
        about = self._about | {
            "seed": self._run.seed,
            "ranks": self._run.world,
            "samples": samples,
            "quality": dict(quality),
            "data": _digest_of_data(self._run),
            "code": code_digest(type(self._benchmark).__module__),
        }
        try:
            write(self._path, copied(self._module.state_dict()), about)
        except (OctathlonError, SafetensorError, OSError) as error:
            sys.stderr.write(f"octathlon: the run's weights are lost, its log is not: {error}\n")

    @property
    def _path(self) -> Path:
        return of_rank(self._run.log.with_suffix(".safetensors"), self._run.rank)


def about(path: Path) -> About:
    """What a file of weights says of itself: benchmark, scale, settings, code and data (digests), seed, ranks, samples,
    quality.

    Raises:
        OctathlonError: if it is no such file.
    """
    try:
        content = said_by(path)
        for key, kind in {"benchmark": str, "settings": dict, "data": str, "quality": dict}.items():
            if not isinstance(content[key], kind):
                raise TypeError(key)
        for key in ("seed", "ranks", "samples"):
            content[key] = int(content[key])
    except UNREADABLE as error:
        raise OctathlonError(
            f"{path}: no weights of a run ({type(error).__name__}: {error}); name a file result_N.safetensors that a "
            "run has left"
        ) from error
    return content


def restore(benchmark: Benchmark, model: nn.Module, path: Path, said: About) -> None:
    """Give the model, as it was built for a run, the weights of a file.

    Args:
        said: what the file says of itself.

    Raises:
        OctathlonError: if they are of other data, of another number of ranks where each has its own, or don't fit.
    """
    run = benchmark.run
    if said["data"] != _digest_of_data(run):
        raise OctathlonError(
            f"{path}: its run was on other data than {run.data}: name the prepared data set that it was trained on"
        )
    sharded = _is_sharded(benchmark, model)
    if sharded and said["ranks"] != run.world:
        raise OctathlonError(
            f"{path}: each of {said['ranks']} ranks has kept its own part: start as many ranks"
        )
    own = of_rank(path, run.rank if sharded else 0)
    try:
        benchmark.evaluated(model).load_state_dict(load_file(own))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OctathlonError(f"{own}: its weights don't fit the model of its settings ({error})") from error


def _is_sharded(benchmark: Benchmark, model: nn.Module) -> bool:
    """Whether each rank has parameters of its own."""
    return any(True for _ in benchmark.sharded_parameters(model))


def _digest_of_data(run: Run) -> str:
    return value_digest(run.manifest)
