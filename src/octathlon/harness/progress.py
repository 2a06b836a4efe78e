"""One line that says how far a run is and how good, where someone is looking at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from octathlon.contracts import Benchmark, Progress


class Display:
    """Shows nothing: for ranks but the first, for log files and for tests."""

    def stepped(self, progress: Progress) -> None:
        """A training step was made."""

    def evaluated(self, quality: Mapping[str, float]) -> None:
        """An evaluation was made."""


class _Line(Display):
    """A bar to the run's limit, with the last quality against the target."""

    def __init__(self, benchmark: Benchmark, bar: object, task: object) -> None:
        self._target = benchmark.target()
        self._unit = benchmark.cadence().unit
        self._bar, self._task = bar, task
        self._shown = 0.0

    def stepped(self, progress: Progress) -> None:
        if time.monotonic() - self._shown > 0.2:
            self._shown = time.monotonic()
            done = progress.in_epochs() if self._unit == "epochs" else progress.samples
            self._bar.update(self._task, completed=done)

    def evaluated(self, quality: Mapping[str, float]) -> None:
        pairs = (
            f"{name} {quality[name]:.4f} of {value:g}" for name, value in self._target.thresholds.items()
        )
        self._bar.update(self._task, quality=", ".join(pairs))


@contextmanager
def display(name: str, benchmark: Benchmark) -> Iterator[Display]:
    """The display of the first rank."""
    if benchmark.run.rank or not sys.stderr.isatty():
        yield Display()
        return
    from rich import progress
    from rich.console import Console

    cadence = benchmark.cadence()
    columns = (
        progress.TextColumn(f"{name}, seed {benchmark.run.seed}"),
        progress.BarColumn(),
        progress.TextColumn("{task.completed:.1f} of at most {task.total:g} " + cadence.unit),
        progress.TextColumn("{task.fields[quality]}"),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        yield _Line(benchmark, bar, bar.add_task(name, total=cadence.limit, quality=""))
