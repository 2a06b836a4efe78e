"""Checkpoints: a run that was interrupted goes on from the newest one, as if nothing had been.

Each rank writes its own, `.result_0.checkpoint_0.safetensors` beside `result_0.txt`: two files in turn, so that the one
before is there while one is written, and if it was cut short. A thread writes them, from a copy. All ranks do so after
the same update; what they went on from then is the newest that all of them have whole.

The first rank's holds the log so far. The clock goes on meanwhile: time counts from the first run_start.
"""

from __future__ import annotations

import glob
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

import torch
from safetensors import SafetensorError

from octathlon.contracts import Benchmark, Progress
from octathlon.errors import OctathlonError
from octathlon.harness.clock import Clock
from octathlon.harness.events import Events
from octathlon.harness.state import restore, tensors_of, words
from octathlon.harness.tensor_files import UNREADABLE, About, copied, of_rank, said_by, write
from octathlon.harness.trainer import StepTrainer
from octathlon.nn import world
from octathlon.nn.processes import ENDING
from octathlon.receipts import leftovers

LOOK_S = 2.0
"""Ranks agree about so often whether to write a checkpoint: seldom enough to cost nothing, and soon after a signal."""
MOST_STEPS = 50
"""Updates between two such looks."""
MOST = 1e15
"""Of whatever a checkpoint counts."""


@dataclass(slots=True)
class Place:
    """Where in its loop a run is."""

    started: float
    """When: run_start."""
    blocks: int = 0
    """Evaluated."""
    done: float = 0
    """Units of the cadence that were evaluated."""
    block_started: float | None = None
    """When: the block's start; None between blocks."""
    block_samples: int = 0
    """Trained on before the block."""


class Checkpoints:
    """Those of one run, on one rank."""

    def __init__(self, benchmark: Benchmark, clock: Clock, about: About, log: TextIO | None) -> None:
        """
        Args:
            about: what must be the same for a run to go on, as JSON has it; `ranks` among it.
            log: the first rank's, empty.
        """
        self._benchmark, self._clock, self._about, self._log = benchmark, clock, dict(about), log
        self._interval = 60 * benchmark.settings.checkpoint_minutes
        self._number = 0
        self._writer: Thread | None = None
        self._failed = self._warned = False
        self._signal: int | None = None
        self._look_at = 0
        self._found: tuple[Path, dict[str, Any]] | None = self._find()

    @property
    def found(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return self._found is not None

    def restore(self, trainer: StepTrainer, events: Events) -> Place:
        """Make a run that was just built, and its log, what they were at the checkpoint.

        Raises:
            OctathlonError: if it does not fit, or if the clock says that it is yet to come.
        """
        path, said = self._found
        try:
            progress = Progress(**said["progress"])
            set_generators = restore(path, said["words"], self._benchmark, trainer.model, trainer.optimizer)
        except (*UNREADABLE, RuntimeError, OverflowError) as error:
            raise OctathlonError(
                f"{path}: does not fit the run ({error}); delete it to start anew"
            ) from error
        if self._clock() < said["time"]:
            raise OctathlonError(
                f"{path}: of later than the system's clock says that it is: set the clock, then rerun"
            )
        trainer.go_on(progress, set_generators)
        events.behind = said["behind"]
        if self._log:
            self._log.write(said["log"])
            self._log.flush()
        return Place(**said["place"])

    @contextmanager
    def watching(self, trainer: StepTrainer, events: Events, place: Place) -> Iterator[None]:
        """In the block, signals that a job's time ends lead to a checkpoint after the current update, and an end."""
        self._trainer, self._events, self._place = trainer, events, place
        self._last = self._looked = self._clock()
        self._looked_at = trainer.progress.steps
        before = {each: signal.signal(each, self._note) for each in ENDING}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def stepped(self, progress: Progress) -> None:
        """After each update: write a checkpoint if one is due.

        Raises:
            OctathlonError: if a signal has come: with a checkpoint written, on all ranks.
        """
        if progress.steps < self._look_at:
            return
        now = self._clock()
        pace = (now - self._looked) / max(progress.steps - self._looked_at, 1)
        first = self._benchmark.run.rank == 0
        busy = self._writer is not None and self._writer.is_alive()
        stop, due, busy, failed, pace = _sum_over_ranks(
            [
                self._signal is not None,
                first and now - self._last >= self._interval,
                busy,
                self._failed,
                first * pace,
            ],
            self._benchmark.run.device,
        )
        self._looked, self._looked_at = now, progress.steps
        self._look_at = progress.steps + (
            min(int(LOOK_S / max(pace, 1e-9)), MOST_STEPS) if world.size() > 1 else 1
        )
        if stop:
            self._stop(progress)
        elif due and not busy:
            self._write(progress, again=failed > 0)
            self._last = now

    def remove(self) -> None:
        """The run has ended, or starts anew."""
        if self._writer:
            self._writer.join()
        log, rank = self._benchmark.run.log, self._benchmark.run.rank
        everything = log.parent.glob(f".{glob.escape(log.stem)}.checkpoint_[01].*") if rank == 0 else ()
        for path in [*everything, *self._paths]:
            path.unlink(missing_ok=True)
            for leftover in leftovers(path, "tmp"):
                leftover.unlink(missing_ok=True)

    def _note(self, number: int, _frame: Any) -> None:
        self._signal = number

    def _stop(self, progress: Progress) -> None:
        if self._writer:
            self._writer.join()
        (failed,) = _sum_over_ranks([self._failed], self._benchmark.run.device)
        self._write(progress, again=failed > 0)
        self._writer.join()
        (failed,) = _sum_over_ranks([self._failed], self._benchmark.run.device)
        what = "no new checkpoint could be written" if failed else "a checkpoint was written"
        raise OctathlonError(
            f"{self._benchmark.run.log}: told to stop after {progress.samples:,} samples, {what}; rerun to go on from "
            "the newest one"
        )

    def _write(self, progress: Progress, *, again: bool) -> None:
        """Begin to write.

        Args:
            again: what some rank could not write the last time: those of before are kept.
        """
        self._trainer.check_losses()
        self._number += not again
        self._failed = False
        said = {
            "about": self._about,
            "number": self._number,
            "time": self._clock(),
            "behind": self._events.behind,
            "place": asdict(self._place),
            "progress": asdict(progress),
            "words": words(),
            "log": Path(self._log.name).read_text(encoding="utf-8") if self._log else "",
        }
        tensors = copied(tensors_of(self._benchmark, self._trainer.model, self._trainer.optimizer))
        path = self._paths[self._number % 2]
        self._writer = Thread(target=self._write_file, args=(path, tensors, said), name="checkpoint")
        self._writer.start()

    def _write_file(self, path: Path, tensors: dict[str, torch.Tensor], said: About) -> None:
        try:
            write(path, tensors, said)
        except (OctathlonError, SafetensorError, OSError) as error:
            self._failed = True
            if not self._warned:
                sys.stderr.write(f"octathlon: the run goes on without new checkpoints: {error}\n")
            self._warned = True

    @property
    def _paths(self) -> list[Path]:
        log, rank = self._benchmark.run.log, self._benchmark.run.rank
        return [of_rank(log.with_name(f".{log.stem}.checkpoint_{turn}.safetensors"), rank) for turn in (0, 1)]

    def _find(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest that all ranks have, if it is of a run like this; else none are left.

        Raises:
            OctathlonError: if it is of another number of ranks.
        """
        fitting, faults, ranks = {}, [], None
        for path in filter(Path.exists, self._paths):
            try:
                said = _checked(said_by(path))
            except UNREADABLE as error:
                faults.append(f"{path}: a damaged checkpoint ({type(error).__name__}: {error})")
                continue
            other = [key for key, value in self._about.items() if said["about"].get(key) != value]
            if other == ["ranks"]:
                ranks = (
                    f"{path}: a checkpoint of {said['about']['ranks']} ranks, not of {self._about['ranks']}"
                )
            elif other:
                faults.append(f"{path}: a checkpoint of a run that differs in {', '.join(other)}")
            else:
                fitting[said["number"]] = path, said
        if ranks := world.from_first(ranks):
            raise OctathlonError(f"{ranks}: start as many ranks, or delete it to start anew")
        numbers = torch.tensor([*fitting, -1, -1][:2], device=self._benchmark.run.device)
        of_ranks = world.all_gather(numbers).view(-1, 2).tolist()
        common = set.intersection(*map(set, of_ranks)) - {-1}
        for fault in faults:
            way = "the run goes on from the other one" if common else "the run starts anew"
            sys.stderr.write(f"octathlon: {fault}: {way}\n")
        if not common:
            self.remove()
            return None
        self._number = max(common)
        return fitting[self._number]


def _checked(said: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of itself, if it is of a checkpoint's form."""
    for key, kind in {"about": dict, "words": dict, "log": str, "place": dict, "progress": dict}.items():
        if not isinstance(said[key], kind):
            raise TypeError(key)
    for key, kind in {"place": Place, "progress": Progress}.items():
        if said[key].keys() != {field.name for field in fields(kind)}:
            raise TypeError(key)
    place = dict(said["place"])
    times = [
        said["time"],
        said["behind"],
        place.pop("started"),
        place.pop("done"),
        place.pop("block_started") or 0,
    ]
    counts = [said["number"], *place.values(), *said["progress"].values()]
    if not all(type(each) is int and 0 <= each < MOST for each in counts):
        raise ValueError("a number that can't be")
    if not all(type(each) in (int, float) and 0 <= each < MOST for each in times):
        raise ValueError("a time that can't be")
    return said


def _sum_over_ranks(values: list[float], device: torch.device) -> list[float]:
    if world.size() == 1:
        return values
    return world.all_sum(torch.tensor(values, dtype=torch.float64, device=device)).tolist()
