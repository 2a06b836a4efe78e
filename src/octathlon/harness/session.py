"""One timed run as the command line starts it: ranks, log, caches, data; then the loop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from octathlon.contracts import Benchmark, Run
from octathlon.digest import code_digest, value_digest
from octathlon.harness.caches import clear_caches
from octathlon.harness.checkpoints import Checkpoints
from octathlon.harness.clock import Clock, wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.harness.progress import display
from octathlon.harness.ranks import Rank, choose_device, find_rank, joined
from octathlon.harness.rundir import discard, owned_log
from octathlon.harness.weights import Weights
from octathlon.nn import world
from octathlon.nn.loading import check_room, worker_failures
from octathlon.nn.processes import ENDING
from octathlon.receipts import read_json
from octathlon.settings import BenchmarkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who runs what where."""

    benchmark: str
    scale: str
    output: Path
    """The log, e.g. result_0.txt."""
    data: Path | None
    """The prepared data set; None where there is none."""
    seed: int
    submitter: str
    platform: str
    status: str
    device: str
    threads: int
    """CPU threads of each rank."""
    max_blocks: int | None


def run(benchmark_class: type[Benchmark], settings: BenchmarkSettings, session: Session) -> Outcome:
    """Do a timed run and publish its log. A missed target is an outcome; whatever raises leaves no log.

    Raises:
        OctathlonError: if the log has another owner, the data are not prepared, or the settings don't fit.
    """
    torch.set_num_threads(session.threads)
    rank = find_rank(os.environ)
    device = choose_device(session.device, rank)
    own_log = session.output if rank.rank == 0 else None
    end = partial(_end, own_log)
    clock = wall_clock()
    with (
        _outputs(session, rank) as outputs,
        _terminable(own_log, end),
        joined(rank, device, end),
        worker_failures(),
    ):
        events = Events(outputs, clock)
        facts = Run(
            seed=session.seed,
            device=device,
            rank=rank.rank,
            world=rank.world,
            data=session.data,
            manifest=read_json(session.data / "manifest.json") if session.data else None,
            log=session.output,
        )
        benchmark = benchmark_class(settings, facts)
        if benchmark.loads_in_processes and settings.loader_workers:
            check_room(benchmark.synthetic_batch(), settings.loader_workers, _ranks_here(rank, device))
        about = {
            "benchmark": session.benchmark,
            "scale": session.scale,
            "settings": settings.model_dump(mode="json"),
        }
        weights = Weights(benchmark, about)
        checkpoints = _checkpoints(benchmark, session, clock, outputs[0] if outputs else None)
        with events.muted() if checkpoints and checkpoints.found else nullcontext():
            _introduce(settings, session, events)
            _clear_caches(session, rank, events)
        with display(session.benchmark, benchmark) as shown:
            outcome = timed_run(benchmark, events, shown, session.max_blocks, weights.attach, checkpoints)
        if outcome.diverged is not None and rank.rank == 0:
            sys.stderr.write(
                f"{session.benchmark} diverged: after {outcome.diverged:,} samples its loss was not finite, so the run "
                "was aborted; a smaller learning rate or a longer warm-up may help\n"
            )
    weights.write(outcome.samples, outcome.quality)
    if checkpoints:
        checkpoints.remove()
    return outcome


def _checkpoints(
    benchmark: Benchmark, session: Session, clock: Clock, log: TextIO | None
) -> Checkpoints | None:
    """Those of the run, if the settings want any."""
    if not benchmark.settings.checkpoint_minutes:
        return None
    free = {"runs", "checkpoint_minutes", "keep_weights"}
    about = {
        "benchmark": session.benchmark,
        "scale": session.scale,
        "settings": benchmark.settings.model_dump(mode="json", exclude=free),
        "code": code_digest(type(benchmark).__module__, __name__),
        "data": value_digest(benchmark.run.manifest),
        "seed": session.seed,
        "device": session.device,
        "submitter": session.submitter,
        "platform": session.platform,
        "status": session.status,
        "ranks": benchmark.run.world,
    }
    return Checkpoints(benchmark, clock, about, log)


@contextmanager
def _outputs(session: Session, rank: Rank) -> Iterator[list[TextIO]]:
    """Where the events go: the first rank's log and, where nobody watches a progress line, its standard output."""
    with owned_log(session.output) if rank.rank == 0 else nullcontext() as log:
        yield ([log] if sys.stderr.isatty() else [log, sys.stdout]) if log else []


def _end(log: Path | None, code: int) -> None:
    """End the process at once, whatever its threads wait for, and leave no unfinished log."""
    if log:
        discard(log)
    os._exit(code)


@contextmanager
def _terminable(log: Path | None, end: Callable[[int], None]) -> Iterator[None]:
    """In the block the signals by which launchers and schedulers end a run leave no unfinished log, and a sentence."""

    def leave(number: int, _frame: Any) -> None:
        if log:
            told = (
                f"octathlon: {log}: told to end by {signal.Signals(number).name}: its job was cancelled or its time is "
                "nearly up; rerun, with a larger runtime_min if it was the time\n"
            )
            os.write(2, told.encode())  # what the signal interrupted may be within a print
        end(128 + number)

    before = {each: signal.signal(each, leave) for each in ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _ranks_here(rank: Rank, device: torch.device) -> int:
    """How many ranks the machine has, or the one that has most."""
    return int(world.all_gather(torch.tensor([rank.local], device=device)).max()) + 1


def _introduce(settings: BenchmarkSettings, session: Session, events: Events) -> None:
    """Say who runs what."""
    events.point("submission_benchmark", session.benchmark)
    events.point("submission_org", session.submitter)
    events.point("submission_division", settings.division)
    events.point("submission_status", session.status)
    events.point("submission_platform", session.platform)


def _clear_caches(session: Session, rank: Rank, events: Events) -> None:
    """Once on each node; the log says what the first one still had cached."""
    cached = clear_caches(session.data) if session.data and rank.local == 0 else 0
    events.point("cache_clear", cached == 0, bytes_still_cached=cached)
