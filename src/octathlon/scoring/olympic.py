"""The olympic mean: the score of a benchmark's runs, or why there is none.

training_rules.adoc, "Benchmark results": the fastest and the slowest run are dropped and the rest is
averaged. A run that did not converge is infinitely slow: it uses up one of the places at the slow end,
whatever its own clock says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


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


def scaled_drop(drop: int, runs: int, needed: int) -> int:
    """How many to drop at each end where `needed` runs stand for a round's `runs`: as many in proportion, at
    least 1."""
    return max(1, round(drop * needed / runs))


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
        return Score(None, f"{needed} runs are too few to drop {drop} at each end")
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
        return Score(None, f"{failed} of {len(order)} runs did not converge, at most {drop} may")
    kept = order[drop : len(order) - drop]
    mean = math.fsum(minutes[index] for index in kept) / len(kept)
    return Score(mean, "", tuple(order[:drop]), tuple(order[len(order) - drop :]), tuple(kept))
