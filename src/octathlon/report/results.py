"""What `octathlon score --json` wrote, as the page needs it: text cleaned, numbers finite or None.

The shape of the file is in the docstring of `octathlon.scoring.tables`. Names and anomalies come from
strangers' logs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.scoring.rules import Bounds, load_round
from octathlon.scoring.tables import FORMAT, clean

UNNAMED = "quality"
"""The metric of a bare number where neither a target nor the round names it."""
NAMES = ("round", "org", "system", "division", "availability", "benchmark", "reason")
COUNTS = ("converged", "dropped_low", "dropped_high")
NUMBERS = ("accelerators", "runs_needed", "epochs_to_target", "samples_to_target", "global_batch_size")
RUN_NAMES = ("file", "reason", "dropped")
RUN_NUMBERS = ("minutes", "init_minutes", "epochs", "seed")
"""What has the same name in the file and here."""
PARTS = {
    "low": ("dropped", "dropped as fastest"),
    "high": ("dropped", "dropped as slowest"),
    "unused": ("unused", "outside the scored runs"),
}
"""A run's `dropped` -> its kind, and its part in the score in words; all other runs are counted."""
COUNTED = ("counted", "counted")


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation on the clock."""

    minutes: float
    """Since run_start."""
    epoch: float | None
    """Its `epoch_num`: epochs, samples or generations."""
    quality: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """One run; None where a value is not known."""

    file: str
    minutes: float | None
    init_minutes: float | None
    converged: bool
    reason: str
    dropped: str
    """low, high, none, or unused."""
    epochs: float | None
    quality: Mapping[str, float]
    seed: float | None
    curve: tuple[Point, ...]
    """In order of time."""
    anomalies: tuple[str, ...]

    @property
    def kind(self) -> str:
        """How it is drawn: failed, dropped, unused or counted."""
        if not self.converged:
            return "failed"
        return PARTS.get(self.dropped, COUNTED)[0]

    @property
    def part(self) -> str:
        """Its part in the score, in words."""
        if self.converged:
            return PARTS.get(self.dropped, COUNTED)[1]
        failed = f"failed: {self.reason or 'no reason known'}"
        return f"{failed}; {PARTS[self.dropped][1]}" if self.dropped in PARTS else failed


@dataclass(frozen=True, slots=True)
class Entry:
    """One system's result on one benchmark."""

    round: str
    org: str
    system: str
    division: str
    availability: str
    benchmark: str
    accelerators: float | None
    runs_needed: float | None
    converged: int
    dropped_low: int
    dropped_high: int
    score: float | None
    """Minutes; None: `reason` says why."""
    fastest: float | None
    slowest: float | None
    epochs_to_target: float | None
    samples_to_target: float | None
    global_batch_size: float | None
    reason: str
    flags: tuple[str, ...]
    anomalies: tuple[str, ...]
    target: Mapping[str, Bounds]
    higher_is_better: bool
    runs: tuple[Run, ...]

    @property
    def failed(self) -> int:
        """How many runs did not converge."""
        return sum(not run.converged for run in self.runs)

    @property
    def metrics(self) -> list[str]:
        """The target's metrics; without a target, those that were evaluated."""
        seen = (name for run in self.runs for point in run.curve for name in point.quality)
        return list(self.target) or list(dict.fromkeys(seen))

    def threshold(self, metric: str) -> float | None:
        """What a metric must reach; None where the target does not say."""
        threshold = self.target[metric].threshold if metric in self.target else math.inf
        return threshold if math.isfinite(threshold) else None

    def rises(self, metric: str) -> bool:
        """Whether more of a metric is better."""
        return self.target[metric].higher_is_better if metric in self.target else self.higher_is_better


@dataclass(frozen=True, slots=True)
class Results:
    """All entries, and what scoring skipped (path, reason)."""

    entries: tuple[Entry, ...]
    skipped: tuple[tuple[str, str], ...]

    def names(self, attribute: str) -> list[str]:
        """The different values of an entries' attribute, in their order."""
        return list(dict.fromkeys(getattr(entry, attribute) for entry in self.entries))


def read_results(path: Path) -> Results:
    """Read a scores.json.

    Raises:
        OctathlonError: if it is not one.
    """
    data = read_json(path)
    if data.get("format") != FORMAT:
        raise OctathlonError(
            f"{path}: not a scores.json of this version; write it anew with `octathlon score --json`"
        )
    try:
        return Results(
            entries=tuple(_entry(each) for each in data["entries"]),
            skipped=tuple((text(each["path"]), text(each["reason"])) for each in data["skipped"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise OctathlonError(
            f"{path}: not what `octathlon score --json` writes ({error!r}); write it anew"
        ) from None


def text(value: Any) -> str:
    """Text from strangers' files, without what a page cannot bear; empty for None."""
    return "" if value is None else clean(str(value))


def number(value: Any) -> float | None:
    """A finite number; None for everything else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if known else None


def _texts(values: Iterable[Any] | None) -> tuple[str, ...]:
    return tuple(text(value) for value in values or ())


def _entry(data: Mapping[str, Any]) -> Entry:
    target = {text(metric): _bounds(bounds) for metric, bounds in (data.get("target") or {}).items()}
    metric = next(iter(target), None) or _metric(text(data["round"]), text(data["benchmark"]))
    return Entry(
        **{name: text(data[name]) for name in NAMES},
        **{name: int(number(data[name]) or 0) for name in COUNTS},
        **{name: number(data[name]) for name in NUMBERS},
        score=number(data["score_minutes"]),
        fastest=number(data["fastest_minutes"]),
        slowest=number(data["slowest_minutes"]),
        flags=_texts(data["flags"]),
        anomalies=_texts(data["anomalies"]),
        target=target,
        higher_is_better=bool(data.get("higher_is_better", True)),
        runs=tuple(_run(each, metric) for each in data["logs"]),
    )


def _bounds(bounds: Mapping[str, Any]) -> Bounds:
    return Bounds(**{name: known for name, value in bounds.items() if (known := number(value)) is not None})


def _metric(round_name: str, benchmark: str) -> str:
    """The first metric of the round's target."""
    task = load_round(round_name).task(benchmark)
    return next(iter(task.target)) if task else UNNAMED


def _run(data: Mapping[str, Any], metric: str) -> Run:
    points = (_point(each, metric) for each in data.get("curve") or ())
    return Run(
        **{name: text(data[name]) for name in RUN_NAMES},
        **{name: number(data[name]) for name in RUN_NUMBERS},
        converged=bool(data["converged"]),
        quality=_quality(data["quality"], metric),
        curve=tuple(point for point in points if point),
        anomalies=_texts(data["anomalies"]),
    )


def _point(data: Any, metric: str) -> Point | None:
    minutes, epoch, value = data
    quality = _quality(value, metric)
    return Point(minutes, number(epoch), quality) if quality and number(minutes) is not None else None


def _quality(value: Any, metric: str) -> dict[str, float]:
    """Metric -> value of an evaluation; a bare number is the value of `metric`."""
    named = value if isinstance(value, Mapping) else {metric: value}
    return {text(name): known for name, each in named.items() if (known := number(each)) is not None}
