"""`octathlon rehearse`: benchmarks one after the other, on data that are made up in a temporary folder."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.errors import OctathlonError
from octathlon.harness.ranks import Rank, choose_device, find_rank, joined
from octathlon.harness.rehearsal import Alone, rehearse
from octathlon.receipts import read_json, write_json
from octathlon.rehearsal.forecast import System, forecast
from octathlon.rehearsal.table import table
from octathlon.settings import BenchmarkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to rehearse, and where."""

    scale: str
    overrides: Mapping[str, Any]
    """Settings of every benchmark."""
    data: Path | None
    """A prepared data set; None: one is made up."""
    device: str
    threads: int
    accelerators: int | None
    """Of the system that the runs will have; None: as many as rehearse."""
    seconds: int
    """For each benchmark, building and compiling not counted."""
    seed: int
    turn: AbstractContextManager[Any] = nullcontext()
    """Entered while the device is measured, where others rehearse on it too."""


def rehearse_all(benchmarks: list[str], plan: Plan, output: Path | None = None) -> None:
    """Rehearse each benchmark and forecast its runs; on all ranks, where a launcher started several.

    The first rank says at which of several it is, prints a table and writes all facts to `output` (JSON), anew after
    each benchmark, so that a job that is cut off leaves what it has. Why the machine can't run a benchmark is a fact,
    too.

    Raises:
        OctathlonError: before anything is rehearsed, for wrong settings; if prepared data can't be rehearsed on; if a
            rank fails alone.
    """
    torch.set_num_threads(plan.threads)
    rank = find_rank(os.environ)
    settings = {name: resolve("benchmarks", name, plan.scale, dict(plan.overrides)) for name in benchmarks}
    system = _system(plan, rank)
    device = choose_device(plan.device, rank)
    results: dict[str, dict[str, Any]] = {}
    run = Run(seed=plan.seed, device=device, rank=rank.rank, world=rank.world)
    with joined(rank, device):
        for number, (name, whole) in enumerate(settings.items(), 1):
            if rank.rank == 0 and len(settings) > 1:
                click.echo(f"{name}: {number} of {len(settings)}", err=True)
            try:
                results[name] = _rehearse(name, whole, plan, system, run)
            except OctathlonError as error:
                # the data may be to blame; or the others wait for this rank
                if plan.data or isinstance(error, Alone):
                    raise
                results[name] = {"error": str(error)}
            if output and rank.rank == 0:
                write_json(output, {"machine": _machine(plan, system), "benchmarks": results})
    if rank.rank == 0:
        click.echo(table(results))


def _system(plan: Plan, rank: Rank) -> System:
    """What is rehearsed for.

    Raises:
        OctathlonError: if more ranks rehearse than it has accelerators.
    """
    accelerators = plan.accelerators or rank.world
    if accelerators < rank.world:
        raise OctathlonError(
            f"--accelerators {accelerators}: {rank.world} ranks rehearse; name at least as many accelerators"
        )
    return System(accelerators=accelerators, rehearsed=rank.world)


def _machine(plan: Plan, system: System) -> dict[str, Any]:
    """What was rehearsed on."""
    name = (
        torch.cuda.get_device_name() if plan.device == "cuda" else platform.processor() or platform.machine()
    )
    return {
        "device": name,
        "cores": os.cpu_count(),
        "ranks": system.rehearsed,
        "accelerators": system.accelerators,
        "scale": plan.scale,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _rehearse(
    benchmark: str, whole: BenchmarkSettings, plan: Plan, system: System, run: Run
) -> dict[str, Any]:
    settings = whole.model_copy(update={"global_batch_size": _part(whole, system)})
    with _data(benchmark, settings, plan, system) as (folder, settings, samples):
        run = replace(run, data=folder, manifest=read_json(folder / "manifest.json"))
        measured = rehearse(registry.benchmark_class(benchmark), settings, run, plan.seconds, plan.turn)
    samples = samples or measured["samples"]
    facts = {"precision": whole.precision, "global_batch": whole.global_batch_size} | measured
    return facts | {"forecast": forecast(benchmark, whole, measured, samples, system)}


def _part(settings: BenchmarkSettings, system: System) -> int:
    """What the accelerators that are rehearsed on have of the global batch.

    Raises:
        OctathlonError: if it doesn't divide.
    """
    accumulation = settings.gradient_accumulation_steps
    return settings.local_batch_size(system.accelerators) * accumulation * system.rehearsed


@contextmanager
def _data(
    benchmark: str, settings: BenchmarkSettings, plan: Plan, system: System
) -> Iterator[tuple[Path, BenchmarkSettings, dict[str, int] | None]]:
    """A prepared data set, the settings to use it with, and, if it is made up, the samples of the real one."""
    if plan.data:
        yield plan.data, settings, None
        return
    data = resolve("datasets", registry.dataset_of(benchmark), plan.scale, {})
    sizes = data.synthetic
    if "evaluated" in sizes:  # by each rank: what doesn't shrink with the samples would count too much
        sizes = sizes | {"evaluated": min(sizes["evaluated"] * system.rehearsed, sizes["eval"])}
    with tempfile.TemporaryDirectory(prefix="octathlon-") as name:
        share = system.rehearsed / system.accelerators
        made_up = data.model_copy(update={"synthetic": sizes})
        settings = registry.synthetic(benchmark).write(Path(name), settings, made_up, share)
        yield Path(name), settings, {"train": sizes["train"], "evaluation": sizes["eval"]}
