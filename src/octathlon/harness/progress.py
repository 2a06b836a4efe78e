"""Two lines that say how far a run is, and how good and fast, where someone is looking at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from octathlon.contracts import Benchmark, Progress


class Display:
    """Shows nothing: for ranks but the first, for log files and for tests."""

    def stepped(self, progress: Progress) -> None:
        """A training step was made."""

    def evaluated(self, quality: Mapping[str, float]) -> None:
        """An evaluation was made."""


class _Lines(Display):
    """A bar to the run's limit; the last quality against the target, and the rate since the last evaluation."""

    def __init__(self, benchmark: Benchmark, bar: object, task: object, clock: Callable[[], float]) -> None:
        self._target = benchmark.target()
        self._unit = benchmark.cadence().unit
        self._bar, self._task, self._clock = bar, task, clock
        self._shown = 0.0
        self._since: tuple[float, int] | None = None
        self._progress = Progress(train_samples=0)

    def stepped(self, progress: Progress) -> None:
        now = self._clock()
        if self._since is None:
            self._since = now, progress.samples
        if now - self._shown > 0.2:
            self._shown = now
            began, samples = self._since
            rate = (progress.samples - samples) / max(now - began, 1e-9)
            shown = f"{rate:,.4g} samples/s" if rate else ""
            self._bar.update(self._task, completed=self._done(progress), rate=shown)
        self._progress = progress

    def evaluated(self, quality: Mapping[str, float]) -> None:
        pairs = (
            f"{name} {quality[name]:.4f} of {value:g}" for name, value in self._target.thresholds.items()
        )
        self._bar.update(self._task, quality=", ".join(pairs), completed=self._done(self._progress))
        self._since = None

    def _done(self, progress: Progress) -> float:
        return progress.in_epochs() if self._unit == "epochs" else progress.samples


@contextmanager
def display(
    name: str, benchmark: Benchmark, clock: Callable[[], float] = time.monotonic
) -> Iterator[Display]:
    """The display of the first rank.

    Args:
        clock: gives seconds.
    """
    if benchmark.run.rank or not sys.stderr.isatty():
        yield Display()
        return
    from rich import progress
    from rich.console import Console, RenderableType
    from rich.text import Text

    class Bar(progress.Progress):
        """With a line of its own for what would not fit into 80 columns."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            yield from (Text("  {quality}  {rate}".format(**task.fields)) for task in self.tasks)

    cadence = benchmark.cadence()
    columns = (
        progress.TextColumn(f"{name}, seed {benchmark.run.seed}"),
        progress.BarColumn(bar_width=8),
        progress.TextColumn("{task.completed:,.4g} of at most {task.total:,g} " + cadence.unit),
        progress.TextColumn("· at most"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
    )
    bar = Bar(*columns, console=Console(stderr=True), refresh_per_second=2, speed_estimate_period=600)
    with bar:
        task = bar.add_task(name, total=cadence.limit, quality="", rate="")
        yield _Lines(benchmark, bar, task, clock)
