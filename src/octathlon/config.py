"""`config.yaml`, checked as a whole before anything runs: all errors at once, each naming its key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from octathlon import registry
from octathlon.errors import OctathlonError
from octathlon.settings import BenchmarkSettings, DatasetSettings, Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""A name that becomes a folder."""


class System(Strict):
    """One machine (or part of a cluster) that the benchmarks run on."""

    nodes: PositiveInt = 1
    processes_per_node: PositiveInt = 1
    cores_per_node: PositiveInt = 1
    accelerators_per_node: int = Field(0, ge=0)
    memory_mb: PositiveInt = 3000
    runtime_min: PositiveInt = 60
    launcher: Literal["python", "torchrun", "srun"] = "python"
    description: dict[str, Any] = {}

    def launch(self) -> str:
        """The command before `octathlon train`: nothing, or what starts one process per rank."""
        if self.launcher == "torchrun":
            return f"torchrun --standalone --nproc-per-node {self.processes_per_node} --no-python "
        if self.launcher == "srun":
            ranks = self.nodes * self.processes_per_node
            return f"srun --nodes {self.nodes} --ntasks {ranks} --ntasks-per-node {self.processes_per_node} "
        return ""

    def problems(self) -> Iterator[str]:
        """What fits no launcher, in words."""
        if self.launcher == "python" and self.nodes * self.processes_per_node > 1:
            yield "launcher: python starts one process; for several ranks choose torchrun or srun"
        if self.launcher == "torchrun" and self.nodes > 1:
            yield "launcher: torchrun serves one node here; for several nodes choose srun"
        if self.processes_per_node > self.cores_per_node:
            yield f"cores_per_node: {self.cores_per_node} cores cannot serve {self.processes_per_node} processes"


class Keys(Strict):
    """The keys of `config.yaml`, before benchmarks and data sets are looked up; the file explains them."""

    scale: Literal["mini", "full"] = "mini"
    benchmarks: Literal["all"] | list[str] = "all"
    runs: PositiveInt | dict[str, PositiveInt] | None = None
    seed: int = Field(1, ge=0)
    submitter: Name = "octathlon"
    status: Literal["cloud", "onprem", "preview", "research"] = "research"
    systems: dict[Name, System] = Field({"local": System()}, min_length=1)
    datasets: dict[str, dict[str, Any]] = {}
    overrides: dict[str, dict[str, Any]] = {}
    data: str = "data"
    results: str = "results"


@dataclass(frozen=True)
class Config:
    """A valid configuration with everything resolved: the scale's defaults, then the overrides."""

    keys: Keys
    benchmarks: Mapping[str, BenchmarkSettings]
    datasets: Mapping[str, DatasetSettings]

    def runs(self, benchmark: str) -> int:
        """The number of timed runs of a benchmark."""
        runs = self.keys.runs
        chosen = runs.get(benchmark) if isinstance(runs, dict) else runs
        return chosen or self.benchmarks[benchmark].runs


def load(raw: Mapping[str, Any]) -> Config:
    """Validate the merged configuration.

    Raises:
        OctathlonError: listing every error, a line each, with its key and, for a misspelt key, the nearest known one.
    """
    errors: list[str] = []
    keys = _parse(Keys, raw, "", errors)
    if keys is None:  # go on with the good keys, so that the other errors are found too
        wrong = {error.split(":")[0].split(".")[0] for error in errors}
        keys = Keys.model_validate({key: value for key, value in raw.items() if key not in wrong})
    for name, system in keys.systems.items():
        errors += [f"systems.{name}.{problem}" for problem in system.problems()]
    known = registry.benchmarks()
    errors += _unknown("overrides", keys.overrides, known)
    errors += _unknown("runs", keys.runs if isinstance(keys.runs, dict) else (), known)
    errors += _unknown("datasets", keys.datasets, registry.datasets())
    chosen = known if keys.benchmarks == "all" else list(dict.fromkeys(keys.benchmarks))
    errors += _unknown("benchmarks", chosen, known)
    benchmarks = {
        name: _resolve("benchmarks", name, keys.scale, f"overrides.{name}", keys.overrides, errors)
        for name in chosen
        if name in known
    }
    needed = sorted({dataset for name in benchmarks if (dataset := registry.dataset_of(name))})
    datasets = {
        name: _resolve("datasets", name, keys.scale, f"datasets.{name}", keys.datasets, errors) for name in needed
    }
    if errors:
        raise _complaint(errors)
    return Config(keys, benchmarks, datasets)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` laid over it, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve(kind: str, name: str, scale: str, over: Mapping[str, Any]) -> BenchmarkSettings | DatasetSettings:
    """The settings of one benchmark or data set (`kind`: benchmarks or datasets): the scale's defaults and `over`.

    Raises:
        OctathlonError: listing every error.
    """
    errors: list[str] = []
    settings = _resolve(kind, name, scale, name, {name: over}, errors)
    if errors:
        raise _complaint(errors)
    return settings


def _resolve(kind: str, name: str, scale: str, where: str, overrides: Mapping[str, Any], errors: list[str]) -> Any:
    model = registry.benchmark_settings(name) if kind == "benchmarks" else registry.dataset_settings(name)
    return _parse(model, merge(registry.defaults(kind, name, scale), overrides.get(name, {})), where, errors)


def _parse(model: type[BaseModel], values: Mapping[str, Any], where: str, errors: list[str]) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors += [_sentence(model, where, problem) for problem in error.errors()]
        return None


def _sentence(model: type[BaseModel], where: str, problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(part for part in (where, *location) if part)
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest(location[-1], _fields(model, location[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    return f"{key}: {problem['msg']}, not {problem['input']!r}"


def _fields(model: Any, location: list[str]) -> list[str]:
    """The keys that `model` knows at a location, following nested models and maps of models."""
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        annotation = field.annotation if field else model
        arguments = [a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")]
        model = arguments[0] if arguments else annotation
    return list(getattr(model, "model_fields", {}))


def _unknown(where: str, names: Any, known: list[str]) -> list[str]:
    return [f"{where}.{name}: unknown name{_nearest(name, known)}" for name in names if name not in known]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _complaint(errors: list[str]) -> OctathlonError:
    count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
    return OctathlonError(f"the configuration has {count}:\n" + "\n".join(f"  {error}" for error in errors))
