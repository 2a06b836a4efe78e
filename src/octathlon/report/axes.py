"""Axes: where a value stands between two ends, and round numbers to mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TIME_MARGIN = 0.06
"""Empty part of a time axis before the first and after the last run."""
NARROWEST = 1.5
"""The ratio of a time axis's ends is at least this, so that equal runs do not look scattered."""
SHORTEST = 1 / 60_000
"""Minutes of a millisecond, the resolution of the logs: where shorter times stand on a logarithmic axis."""
QUALITY_MARGIN = 0.06
LEAST_MARGIN = 1e-3
"""Relative margin around values that are (nearly) equal."""
DECADE, NINE_DECADES = 10, 1e9


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear or logarithmic axis with its marks."""

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end; a value outside stands at the nearer end."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return math.log(inside / self.low) / math.log(self.high / self.low)
        return (inside - self.low) / (self.high - self.low)

    def labels(self) -> list[str]:
        """The marks in words: with equally many decimals, unless they spread over a decade."""
        plain = [f"{tick:.10g}" for tick in self.ticks]
        if "e" in "".join(plain) or self.log and self.ticks and self.ticks[-1] >= self.ticks[0] * DECADE:
            return plain
        decimals = max((len(label.partition(".")[2]) for label in plain), default=0)
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def time_axis(minutes: Sequence[float]) -> Axis:
    """A logarithmic axis that holds all of `minutes`."""
    known = [max(each, SHORTEST) for each in minutes] or [1.0]
    low, high = min(known), max(known)
    widen = max(1.0, math.sqrt(NARROWEST / (high / low)))
    low, high = low / widen, high * widen
    margin = (high / low) ** TIME_MARGIN
    return _log_axis(low / margin, high * margin)


def elapsed_axis(values: Sequence[float]) -> Axis:
    """A linear axis from zero."""
    high = max([SHORTEST, *values])
    return Axis(0, high, False, _round_ticks(0, high, 5))


def quality_axis(values: Sequence[float], rises: bool) -> Axis:
    """A linear axis; logarithmic for an error rate that falls through more than a decade."""
    low, high = min(values), max(values)
    if not rises and low > 0 and DECADE < high / low < NINE_DECADES:
        margin = (high / low) ** QUALITY_MARGIN
        return _log_axis(low / margin, high * margin)
    margin = max((high - low) * QUALITY_MARGIN, abs(high) * LEAST_MARGIN, LEAST_MARGIN**3)
    low, high = low - margin, high + margin
    return Axis(low, high, False, _round_ticks(low, high, 5))


def _log_axis(low: float, high: float) -> Axis:
    if high / low < DECADE:
        return Axis(low, high, True, _round_ticks(low, high, 5))
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, last + 1, 1 + (last - first) // 8)
    factors = (1, 2, 5) if high / low < DECADE**3 else (1,)
    marks = (factor * 10.0**decade for decade in decades for factor in factors)
    return Axis(low, high, True, tuple(mark for mark in marks if low <= mark <= high))


def _round_ticks(low: float, high: float, about: int) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten, about so many."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(index * step for index in range(first, last + 1))
