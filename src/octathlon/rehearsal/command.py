"""`octathlon rehearse`: benchmarks one after the other, on data that are made up in a temporary folder."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.errors import OctathlonError
from octathlon.harness.ranks import Rank, choose_device, find_rank, joined
from octathlon.harness.rehearsal import rehearse
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

    The first rank prints a table and writes all facts to `output` (JSON), anew after each benchmark, so that a job that
    is cut off leaves what it has.

    Raises:
        OctathlonError: at the end, if the machine can't run a benchmark.
    """
    torch.set_num_threads(plan.threads)
    rank = find_rank(os.environ)
    device = choose_device(plan.device, rank)
    results: dict[str, dict[str, Any]] = {}
    with joined(rank, device):
        for benchmark in benchmarks:
            try:
                results[benchmark] = _rehearse(benchmark, plan, rank, device)
            except OctathlonError as error:
                results[benchmark] = {"error": str(error)}
            if output and rank.rank == 0:
                write_json(output, {"machine": _machine(plan, rank), "benchmarks": results})
    if rank.rank == 0:
        click.echo(table(results))
    if failed := [name for name, facts in results.items() if "error" in facts]:
        raise OctathlonError(f"not rehearsed: {', '.join(failed)}")


def _machine(plan: Plan, rank: Rank) -> dict[str, Any]:
    """What was rehearsed on."""
    name = (
        torch.cuda.get_device_name() if plan.device == "cuda" else platform.processor() or platform.machine()
    )
    return {
        "device": name,
        "cores": os.cpu_count(),
        "ranks": rank.world,
        "accelerators": plan.accelerators or rank.world,
        "scale": plan.scale,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _rehearse(benchmark: str, plan: Plan, rank: Rank, device: torch.device) -> dict[str, Any]:
    system = System(accelerators=plan.accelerators or rank.world, rehearsed=rank.world)
    whole = resolve("benchmarks", benchmark, plan.scale, dict(plan.overrides))
    share = rank.world / system.accelerators
    settings = whole.model_copy(update={"global_batch_size": _part(whole, system)})
    with _data(benchmark, settings, plan, share) as (folder, settings, samples):
        run = Run(
            seed=plan.seed,
            device=device,
            rank=rank.rank,
            world=rank.world,
            data=folder,
            manifest=read_json(folder / "manifest.json"),
        )
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
    benchmark: str, settings: BenchmarkSettings, plan: Plan, share: float
) -> Iterator[tuple[Path, BenchmarkSettings, dict[str, int] | None]]:
    """A prepared data set, the settings to use it with, and, if it is made up, the samples of the real one."""
    if plan.data:
        yield plan.data, settings, None
        return
    data = resolve("datasets", registry.dataset_of(benchmark), plan.scale, {})
    with tempfile.TemporaryDirectory(prefix="octathlon-") as name:
        settings = registry.synthetic(benchmark).write(Path(name), settings, data, share)
        yield Path(name), settings, {"train": data.synthetic["train"], "evaluation": data.synthetic["eval"]}
