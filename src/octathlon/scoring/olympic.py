"""The olympic mean: the score of a benchmark's runs, or why there is none.

training_rules.adoc, "Benchmark results": the fastest and the slowest run are dropped and the rest is
averaged. A run that did not converge is infinitely slow: it uses up one of the places at the slow end,
whatever its own clock says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EVERY = "*"
"""Stands for every benchmark that is not named, in a choice of numbers of runs."""


@dataclass(frozen=True, slots=True)
class Score:
    """A result. Indices are those of the runs as given."""

    minutes: float | None
    """The mean of the kept runs; None: no valid result."""
    reason: str = ""
    """Why there is no valid result."""
    low: tuple[int, ...] = ()
    """The fastest runs, dropped."""
    high: tuple[int, ...] = ()
    """The slowest runs, dropped, and those that did not converge before all others."""
    kept: tuple[int, ...] = ()


def needed_runs(chosen: Mapping[str, int], benchmark: str, runs: int, drop: int) -> tuple[int, int]:
    """How many runs a result needs, and how many of them are dropped at each end.

    Args:
        chosen: benchmark, or EVERY, -> number of runs; else the round's numbers `runs` and `drop` hold.

    Returns:
        With another number of runs than the round's, as many are dropped in proportion, at least 1.
    """
    needed = chosen.get(benchmark, chosen.get(EVERY, runs))
    return needed, drop if needed == runs else max(1, round(drop * needed / runs))


def score_runs(minutes: Sequence[float], needed: int, drop: int) -> Score:
    """Score runs by their minutes, infinity for those that did not converge.

    Args:
        minutes: in the order in which the runs started.
        needed: how many runs make a result. Where there are more, every window of `needed` consecutive runs
            is scored, and the window with the median score counts (the slower of the middle two): picking
            the best is forbidden.
        drop: how many runs are dropped at each end.
    """
    if needed < 2 * drop + 1:
        return Score(None, f"too few runs ({needed}) to drop {drop} at each end")
    if len(minutes) < needed:
        return Score(None, f"{len(minutes)} of {needed} runs")
    windows = [
        _window(minutes, range(first, first + needed), drop) for first in range(len(minutes) - needed + 1)
    ]
    windows.sort(key=lambda score: math.inf if score.minutes is None else score.minutes)
    return windows[len(windows) // 2]


def _window(minutes: Sequence[float], window: range, drop: int) -> Score:
    order = sorted(window, key=lambda index: (minutes[index], index))
    failed = sum(math.isinf(minutes[index]) for index in order)
    if failed > drop:
        return Score(None, f"{failed} of {len(order)} runs failed, at most {drop} may")
    kept = order[drop : len(order) - drop]
    mean = math.fsum(minutes[index] for index in kept) / len(kept)
    return Score(mean, "", tuple(order[:drop]), tuple(order[len(order) - drop :]), tuple(kept))
