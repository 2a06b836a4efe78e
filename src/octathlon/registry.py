"""What there is, found by listing folders: no table to edit when a benchmark or a data set is added."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from octathlon.errors import OctathlonError

if TYPE_CHECKING:
    from octathlon.contracts import Benchmark
    from octathlon.settings import BenchmarkSettings, DatasetSettings

ROOT = Path(__file__).parent
SCALES = ("mini", "full")


def benchmarks() -> list[str]:
    """The MLPerf names of all benchmarks."""
    return list(_folders("benchmarks/*/benchmark.py"))


def datasets() -> list[str]:
    """The names of all data sets."""
    return list(_folders("datasets/*/prepare.py"))


def benchmark_class(name: str) -> type[Benchmark]:
    """The class that implements a benchmark (imports torch)."""
    return import_module(f"octathlon.benchmarks.{_known(name, benchmarks())}.benchmark").BENCHMARK


def benchmark_settings(name: str) -> type[BenchmarkSettings]:
    """The class of a benchmark's settings (no torch)."""
    return import_module(f"octathlon.benchmarks.{_known(name, benchmarks())}.settings").Settings


def dataset_of(benchmark: str) -> str | None:
    """The data set that a benchmark trains on; None where it makes its own."""
    return import_module(f"octathlon.benchmarks.{_known(benchmark, benchmarks())}.settings").DATASET


def with_kernels() -> list[str]:
    """The names of benchmarks that have kernels of their own to compile."""
    return list(_folders("benchmarks/*/kernels.py"))


def kernels(benchmark: str) -> ModuleType:
    """The module that compiles a benchmark's kernels (no torch)."""
    if benchmark not in with_kernels():
        raise OctathlonError(
            f"benchmark {benchmark!r} has no kernels to compile; choose one of {', '.join(with_kernels())}"
        )
    return import_module(f"octathlon.benchmarks.{benchmark}.kernels")


def synthetic(benchmark: str) -> ModuleType:
    """The module that writes made-up prepared data for a benchmark to rehearse on (imports torch)."""
    return import_module(f"octathlon.benchmarks.{_known(benchmark, benchmarks())}.synthetic")


def dataset_settings(name: str) -> type[DatasetSettings]:
    """The class of a data set's settings."""
    return import_module(f"octathlon.datasets.{_known(name, datasets())}.settings").Settings


def preparer(name: str) -> ModuleType:
    """A data set's `prepare` module (no torch)."""
    return import_module(f"octathlon.datasets.{_known(name, datasets())}.prepare")


def miniature(name: str) -> ModuleType:
    """The module that writes a data set's miniature archives."""
    return import_module(f"octathlon.miniatures.{_known(name, datasets())}")


@cache
def defaults(kind: str, name: str, scale: str) -> dict[str, Any]:
    """The scale's values of a benchmark or data set (`kind` is the folder: benchmarks or datasets)."""
    return _yaml(ROOT / kind / name / f"{scale}.yaml")


@cache
def sources(dataset: str) -> dict[str, Any]:
    """A data set's `sources.yaml`: licence, login, and per archive its urls, bytes and checksum."""
    return _yaml(ROOT / "datasets" / _known(dataset, datasets()) / "sources.yaml")


@cache
def _folders(pattern: str) -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in ROOT.glob(pattern)))


def _yaml(path: Path) -> Any:
    """A file of ours, parsed in C: the largest, of 1,700 lines, takes Python a quarter of a second."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def _known(name: str, names: list[str]) -> str:
    if name not in names:
        raise OctathlonError(f"unknown name {name!r}: choose one of {', '.join(names)}")
    return name
