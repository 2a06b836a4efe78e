"""What others published in a round, for the part of the page that stands apart from our own results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from octathlon.report.plots import Series
from octathlon.report.results import Entry
from octathlon.scoring.results import Result, load, published_files
from octathlon.scoring.rules import Bounds, load_round

NEAREST = 3
"""Published results that stand beside one of ours."""


@dataclass(frozen=True, slots=True)
class Published:
    """The scored closed entries of one benchmark."""

    benchmark: str
    target: Mapping[str, Bounds]
    results: tuple[Result, ...]
    """Fastest first."""
    ours: float | None
    """The best of our own closed results, in minutes."""

    @property
    def best(self) -> Result:
        return self.results[0]

    @property
    def median(self) -> float:
        return statistics.median(result.minutes for result in self.results)

    def nearest(self, accelerators: float) -> list[Result]:
        """The results of systems that are the fewest times larger or smaller, in accelerators; the smallest first."""
        sized = [result for result in self.results if result.accelerators]
        sized.sort(key=lambda each: abs(math.log(each.accelerators / accelerators)))
        return sorted(sized[:NEAREST], key=lambda each: (each.accelerators, each.minutes))

    def series(self) -> Series:
        """A row of a strip: a dot for each entry, the median marked."""
        dots = [
            (each.minutes, "other", f"{each.org}, {each.system}: {each.minutes:,.3f} min")
            for each in self.results
        ]
        return Series(
            self.benchmark, f"{self.best.minutes:,.3f} to {self.results[-1].minutes:,.3f}", self.median, dots
        )


def published(round_name: str, entries: Sequence[Entry]) -> list[Published]:
    """The published closed results of a round that come with the package, in the order of its benchmarks."""
    path = next((path for path in published_files() if path.stem == f"published_{round_name}"), None)
    results = [
        each
        for each in (load(path)[0] if path else ())
        if each.division == "closed" and not math.isnan(each.minutes)
    ]
    rows = []
    for benchmark, task in load_round(round_name).tasks.items():
        of_it = sorted(
            (each for each in results if each.benchmark == benchmark), key=lambda each: each.minutes
        )
        if of_it:
            rows.append(
                Published(benchmark, task.target, tuple(of_it), _best_of(entries, round_name, benchmark))
            )
    return rows


def nearest(rows: Sequence[Published], entry: Entry) -> list[Result]:
    """What others published of systems of the size of a closed result's; empty where its size is not known."""
    of_it = [row for row in rows if row.benchmark == entry.benchmark]
    known = of_it and entry.division == "closed" and entry.accelerators is not None and entry.accelerators > 0
    return of_it[0].nearest(entry.accelerators) if known else []


def _best_of(entries: Sequence[Entry], round_name: str, benchmark: str) -> float | None:
    """Our own best closed score of a benchmark."""
    place = (round_name, benchmark, "closed")
    scores = [each.score for each in entries if (each.round, each.benchmark, each.division) == place]
    return min((score for score in scores if score is not None), default=None)
