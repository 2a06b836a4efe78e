"""How the best results of the closed division went on from round to round, as long as the task stayed the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from octathlon.scoring.results import Result, best_results
from octathlon.scoring.rules import Round
from octathlon.scoring.tasks import changes, first_name

DOUBLING_MONTHS = 24
"""Moore's law as it is usually quoted: twice the transistors in two years."""
DAYS_A_MONTH = 365.25 / 12


def moore(old: Round, new: Round) -> float:
    """The growth that Moore's law expects between the publications of two rounds."""
    months = (new.published - old.published).days / DAYS_A_MONTH
    return 2 ** (months / DOUBLING_MONTHS)


@dataclass(frozen=True, slots=True)
class Point:
    """The best of one round."""

    rules: Round
    best: Result
    """Of the fewest minutes."""
    cheapest: Result | None
    """Of the fewest accelerator minutes; None where no number of accelerators is known."""
    whole: bool
    """Whether it is the best of the round, and not only of a small part that is at hand."""

    def speedup(self, earlier: Point) -> float:
        """How many times faster than an earlier round's best."""
        return earlier.best.minutes / self.best.minutes

    def cheapening(self, earlier: Point) -> float | None:
        """How many times fewer accelerator minutes; None: not known."""
        if self.cheapest is None or earlier.cheapest is None:
            return None
        return earlier.cheapest.accelerator_minutes / self.cheapest.accelerator_minutes


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rounds with one and the same task, oldest first."""

    points: tuple[Point, ...]
    why: str
    """Why its results cannot be compared with those before; empty for the first stretch of a benchmark."""

    @property
    def whole(self) -> tuple[Point, ...]:
        """Those that can be compared."""
        return tuple(point for point in self.points if point.whole)


@dataclass(frozen=True, slots=True)
class Line:
    """A benchmark through the rounds."""

    benchmark: str
    """Its first name, and its later ones."""
    stretches: tuple[Stretch, ...]


def lines(results: Iterable[Result], parts: Collection[str] = ()) -> list[Line]:
    """All benchmarks' best results of the closed division, in order of the benchmarks' names.

    Args:
        results: of any rounds.
        parts: the rounds of which `results` hold only a small part: they give no speed-up.
    """
    closed = [result for result in results if result.division == "closed"]
    best, cheapest = best_results(closed), best_results(closed, "accelerator_minutes")
    points: dict[str, list[Point]] = {}
    for (benchmark, division), by_round in best.items():
        least = cheapest.get((benchmark, division), {})
        name, colon, mode = benchmark.partition(":")
        points.setdefault(first_name(name) + colon + mode, []).extend(
            Point(result.rules, result, least.get(name), name not in parts)
            for name, result in by_round.items()
        )
    return [_line(points[name]) for name in sorted(points)]


def _line(points: Iterable[Point]) -> Line:
    order = sorted(points, key=lambda each: each.rules.since)
    stretches: list[tuple[list[Point], str]] = [([order[0]], "")]
    for point in order[1:]:
        if why := _changes(stretches[-1][0][-1], point):
            stretches.append(([point], "; ".join(why)))
        else:
            stretches[-1][0].append(point)
    names = ", ".join(dict.fromkeys(point.best.benchmark for point in order))
    return Line(names, tuple(Stretch(tuple(each), why) for each, why in stretches))


def _changes(old: Point, new: Point) -> Sequence[str]:
    before, after = (point.best.benchmark.partition(":")[0] for point in (old, new))
    return changes(before, old.rules, after, new.rules)
