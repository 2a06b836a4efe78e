"""The reference convergence point (RCP) test: does a submission converge in suspiciously few epochs?

The v1.1 rules (training_rules.adoc, "RCPs") compare the submission's olympic mean of epochs to the target
with the reference's at the same global batch size, by a one-sided two-sample t-test at 95 % that takes the
reference's standard deviation for both samples. The outcome is a flag with its numbers: it never removes a
result.

From v2.1 on a submission that passes, but took fewer epochs than the reference in the mean, is slowed down to it: by
the factor in its `scaling.json`, which is part of the score. Whether it is the one that follows from the reference
points is again a flag.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, pstdev
from typing import Literal

from octathlon.scoring import rule_data

CONFIDENCE = 0.95
FORGIVEN = {(name, "llama31_405b"): 46_080.0 for name in ("v5.0", "v5.1")}
"""Samples below the least ones with which a result still passes (mlperf_logging, rcp_checker.py)."""
ROUNDING = 1e-6
"""Relative; logs give fractions of an epoch with a few digits."""


@dataclass(frozen=True, slots=True)
class Reference:
    """How long the reference trains at a batch size, in the benchmark's unit: epochs, or samples for bert."""

    batch_size: int
    mean: float
    """Olympic mean: without the lowest and the highest values."""
    stdev: float
    """Population standard deviation of the same values."""
    count: int
    """How many values these are."""

    def minimum(self, runs: int) -> float:
        """The smallest mean that a submission of `runs` runs may have."""
        submitted = runs - 2  # by the rules; also where four runs on each side are dropped
        quantile = student_quantile(self.count + submitted - 2)
        return self.mean - quantile * self.stdev * math.sqrt(1 / self.count + 1 / submitted)

    def max_speedup(self, runs: int) -> float:
        """How many times faster than the reference a submission may converge."""
        return self.mean / self.minimum(runs)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the test says of one result, and why."""

    flag: Literal["pass", "fail", "missing", "exempt"]
    words: str
    mean: float | None = None
    minimum: float | None = None


@cache
def student_quantile(freedom: int) -> float:
    """What Student's t with `freedom` degrees of freedom stays below with probability CONFIDENCE.

    Own arithmetic, because importing SciPy takes longer than scoring a round.
    """
    low, high = 0.0, 10.0  # of one degree it is 6.3
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _central(middle, freedom) < 2 * CONFIDENCE - 1 else (low, middle)
    return middle


def _central(t: float, freedom: int) -> float:
    """The probability of -t..t (Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4)."""
    angle, even = math.atan(t / math.sqrt(freedom)), freedom % 2 == 0
    term, total = (1.0 if even else math.cos(angle)), 0.0
    for power in range(1 if even else 2, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * power / (power + 1)
    return math.sin(angle) * total if even else 2 / math.pi * (angle + math.sin(angle) * total)


def check_convergence(benchmark: str, batch_size: int, epochs: Sequence[float], drop: int) -> Verdict:
    """Test the runs of one result.

    Args:
        benchmark: MLPerf name.
        batch_size: the global batch size of all runs.
        epochs: what each run took to the target, in the unit of the reference; infinity: it failed.
        drop: how many lowest and highest values the olympic mean leaves out.
    """
    points = references(benchmark, drop)
    if not points:
        return Verdict("exempt", f"{benchmark} has no reference convergence points")
    mean = trim(epochs, drop)[0]
    if not math.isfinite(mean):
        return Verdict("missing", f"more than {drop} of the runs did not converge: there is no mean to test")
    if batch_size > points[-1].batch_size:
        return Verdict(
            "missing",
            f"no reference at batch size {batch_size}: the largest is {points[-1].batch_size}",
            mean,
        )
    point = at_batch_size(points, batch_size, len(epochs))
    minimum = point.minimum(len(epochs))
    numbers = (
        f"mean {mean:.6g}, minimum {minimum:.6g} (reference {point.mean:.6g}, batch size {point.batch_size})"
    )
    if mean >= minimum * (1 - ROUNDING):
        return Verdict("pass", numbers, mean, minimum)
    if batch_size < point.batch_size:
        return Verdict(
            "missing", f"no reference at batch size {batch_size} or below, and {numbers}", mean, minimum
        )
    return Verdict("fail", f"converges too fast: {numbers}", mean, minimum)


@cache
def references(benchmark: str, drop: int) -> tuple[Reference, ...]:
    """The reference convergence points of a benchmark in v1.1, by growing batch size."""
    records = rule_data.load("rcps_v1.1").get(benchmark, [])
    return tuple(Reference(record["batch_size"], *trim(record["converged"], drop)) for record in records)


def has_points(round_name: str) -> bool:
    """Whether the reference convergence points of a round come with Octathlon."""
    return (rule_data.ROUNDS / f"rcps_{round_name}.yaml").is_file()


def normalisation(
    round_name: str, benchmark: str, batch_size: int, epochs: Sequence[float], drop: int
) -> float | None:
    """The factor that a result's minutes are multiplied by, as mlperf_logging's rcp_checker computes it from v2.1 on.

    Args: as for `check_convergence`.

    Returns:
        1 for a result that is not faster than the reference, and for one that fails the test; None where there is no
        reference, or no mean to compare with it.
    """
    points = _points(round_name, benchmark, drop)
    mean = trim(epochs, drop)[0]
    if not points or batch_size > points[-1].batch_size or not math.isfinite(mean):
        return None
    point = at_batch_size(points, batch_size, len(epochs))
    passes = mean >= point.minimum(len(epochs)) - FORGIVEN.get((round_name, benchmark), 0)
    return max(point.mean / mean, 1.0) if passes else 1.0


@cache
def _points(round_name: str, benchmark: str, drop: int) -> tuple[Reference, ...]:
    """Of a later round: there the deviation is that of all values, and points that others contradict are left out."""
    records = rule_data.load(f"rcps_{round_name}").get(benchmark, [])
    trimmed = [
        (record["batch_size"], record["converged"], trim(record["converged"], drop)) for record in records
    ]
    points = [Reference(size, mean, pstdev(values), count) for size, values, (mean, _, count) in trimmed]
    return tuple(_pruned(points))


def _pruned(points: Sequence[Reference]) -> list[Reference]:
    """Without the points below the batch size that converges fastest, and those that are slower than the line between
    their neighbours."""
    fastest = min(points, key=lambda point: point.mean, default=None)
    kept = [point for point in points if point.batch_size >= fastest.batch_size]
    place = 1
    while place < len(kept) - 1:
        neighbours = kept[place - 1], kept[place + 1]
        if kept[place].mean > at_batch_size(neighbours, kept[place].batch_size, 0).mean:
            del kept[place]
        else:
            place += 1
    return kept


def trim(values: Sequence[float], drop: int) -> tuple[float, float, int]:
    """Mean, population standard deviation and number of the values without the `drop` lowest and highest."""
    kept = sorted(values)[drop : len(values) - drop]
    if not kept or not math.isfinite(sum(kept)):
        return math.inf, math.nan, len(kept)
    return fmean(kept), pstdev(kept), len(kept)


def at_batch_size(points: Sequence[Reference], batch_size: int, runs: int) -> Reference:
    """The reference for a batch size up to the largest: a point itself, between two of them, or the smallest.

    Between two points, mean and deviation are interpolated linearly in the batch size and count as 2 x `runs`
    runs.
    """
    above = bisect_left(points, batch_size, key=lambda point: point.batch_size)
    high = points[above]
    if above == 0 or high.batch_size == batch_size:
        return high
    low = points[above - 1]
    share = (batch_size - low.batch_size) / (high.batch_size - low.batch_size)
    mean = low.mean + share * (high.mean - low.mean)
    return Reference(batch_size, mean, low.stdev + share * (high.stdev - low.stdev), 2 * runs)
