"""When a round wants a model to be evaluated (training_rules.adoc, "Evaluation frequency")."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

ROUNDING = 0.01
"""Share of the interval by which an `epoch_num` may be off: dlrm's are fractions of few digits."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Evaluation points, in the unit of the benchmark's `epoch_num` (epochs, or samples)."""

    every: float
    first: tuple[float, float]
    """The earliest and the latest first one."""
    epoch_samples: int = 0
    """Samples of an epoch: the points are counted in them, and a batch that the epoch ends in is full. 0: no matter."""
    per_batch: float = 0
    """Samples that each sample of the global batch adds to the interval."""
    multiple_of: float = 0
    """What such an interval is rounded down to."""

    def at(self, batch_size: float | None) -> Schedule | None:
        """The points for a global batch size; None if they depend on it and it is not known."""
        if not (self.epoch_samples or self.per_batch):
            return self
        if not batch_size:
            return None
        if self.epoch_samples:
            share = self.epoch_samples / (math.ceil(self.epoch_samples / batch_size) * batch_size)
            low, high = (math.ceil(point * share) for point in self.first)
            return Schedule(math.ceil(self.every * share), (low, high))
        every = (self.every + self.per_batch * batch_size) // self.multiple_of * self.multiple_of
        return Schedule(every, (every, every))

    def kept(self, points: Sequence[float], slack: float) -> bool:
        """Whether evaluations at `points`, in order, keep it; each may be late by `slack`."""
        off = max(slack, ROUNDING * self.every)
        low, high = self.first
        steps = (late - early for early, late in pairwise(points))
        return low - off <= points[0] <= high + off and all(abs(step - self.every) <= off for step in steps)

    def __str__(self) -> str:
        low, high = (f"{point:g}" for point in self.first)
        until = "" if low == high else " or later" if high == "inf" else f" to {high}"
        return f"first at {low}{until}, then every {self.every:g}"


def read_schedule(data: Mapping[str, Any]) -> Schedule:
    """A schedule as `rounds/*.yaml` have it; without `first`, it begins with an interval."""
    first = data.get("first", data["every"])
    return Schedule(**{**data, "first": tuple(first) if isinstance(first, list) else (first, first)})
