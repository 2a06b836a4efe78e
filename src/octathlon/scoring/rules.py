"""The rounds' rules: `octathlon/rounds/v*.yaml`, one file a round, as objects.

Adding a round is adding a file. The order of rounds is the order in which their logs begin (`logs.since`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Literal

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data
from octathlon.scoring.schedule import Schedule, read_schedule

OURS = "v1.1"
"""The round that this project reproduces, by whose rules its own logs are scored."""
Quality = Mapping[str, float]
"""Metric -> value, of one evaluation."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a metric must be within. The bound that a run is timed to includes its value, the other does
    not."""

    at_least: float = -math.inf
    above: float = -math.inf
    not_below: float = -math.inf
    """The least value that makes sense; a bound of sanity."""
    at_most: float = math.inf
    below: float = math.inf

    @property
    def higher_is_better(self) -> bool:
        return self.at_least > -math.inf

    @property
    def threshold(self) -> float:
        """The inclusive bound."""
        return self.at_least if self.higher_is_better else self.at_most

    def hold(self, value: float, tolerance: float) -> bool:
        """True if `value` is within; `tolerance` is relative to the inclusive bounds. NaN never is."""
        enough = self.at_least - tolerance * abs(self.at_least) if tolerance else self.at_least
        return enough <= value <= self.at_most and self.above < value < self.below and value >= self.not_below


BOUNDS = tuple(field.name for field in fields(Bounds))
"""Their names."""


@dataclass(frozen=True, slots=True)
class Task:
    """One benchmark of a round."""

    name: str
    runs: int
    """Runs that a result needs."""
    drop: int
    """How many of the fastest, and of the slowest, do not count."""
    target: Mapping[str, Bounds]
    """Metric -> bounds, all to be met in one evaluation (closed division)."""
    large_batch: tuple[int, Mapping[str, Bounds]] | None
    """Another target from this global batch size on."""
    first_converged: bool
    """True where more runs are filed, and the first `runs` of them that converge count."""
    progress: Literal["epochs", "samples", "samples_count", "other"]
    """What `epoch_num` of an evaluation counts; samples_count: it is this that counts, in samples."""
    evaluation: Literal["eval_accuracy", "eval_error"]
    """The event that gives the quality."""
    checkpoint: Literal["", "step_num", "samples_count"]
    """Where each metric of a checkpoint is an event of its own, what tells the checkpoints apart."""
    stopped_by: Literal["run_stop", "eval_result"]
    """eval_result: the clock stopped when the first passing checkpoint was saved, so long after run_start as
    its eval_result says; a run_stop, logged when all are evaluated, counts only without one."""
    evaluated_after_the_clock: bool
    """True where checkpoints are evaluated after run_stop, as the reference does."""
    evaluations: Schedule | None
    """When to evaluate in the closed division; None: not known here."""
    tolerance: float
    """Relative tolerance of the target."""

    def target_at(self, batch_size: int | None) -> Mapping[str, Bounds]:
        """The target for a global batch size."""
        if self.large_batch is not None and batch_size is not None and batch_size >= self.large_batch[0]:
            return self.large_batch[1]
        return self.target

    def reached(self, quality: Quality, batch_size: int | None = None) -> bool:
        """True if one evaluation's `quality` meets the target."""
        target = self.target_at(batch_size)
        return all(
            bounds.hold(quality.get(name, math.nan), self.tolerance) for name, bounds in target.items()
        )

    @property
    def higher_is_better(self) -> bool:
        return next(iter(self.target.values())).higher_is_better


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One round's rules."""

    name: str
    published: date
    ruleset: str
    markers: tuple[str, ...]
    """What its log lines begin with."""
    since: float
    """When its logs begin, in milliseconds since the Unix epoch."""
    until: float
    """When those of the next round begin; infinity: no other round has such logs."""
    init_limits: Mapping[str, float]
    """Division -> longest initialisation before the clock, in minutes; infinity: no limit."""
    check_decides: bool
    """Whether a run that breaks a rule for logs counts as failed; else it is only reported."""
    scaled: bool
    """Whether scaling.json of a result is part of its score."""
    tasks: Mapping[str, Task]
    aliases: Mapping[str, str]
    """Other names of benchmarks that submitters used."""
    repository: Mapping[str, Any]
    """Limits of what may be filed; empty: none."""
    waived: Mapping[str, Sequence[str] | Literal["all"]]
    """Checks that published results broke and were accepted all the same: the name of a finding, or its key
    alone, -> the entries (paths in the tree) that were, or all."""
    contested: Mapping[str, str]
    """Entry -> how the official tool of the round scores it, and why not as its logs say."""

    def waiver(self, finding: str, entry: str) -> str:
        """The waived check that a finding about an entry falls under; empty if none."""
        for name in (finding, finding.partition(".")[0]):
            entries = self.waived.get(name, ())
            if entries == "all" or entry in entries:
                return name
        return ""

    def task(self, name: str) -> Task | None:
        """The benchmark of a name or an alias; None if the round has none such."""
        lowered = name.lower()
        return self.tasks.get(self.aliases.get(lowered, lowered))

    @property
    def init_limit_minutes(self) -> float:
        """That of the closed division."""
        return self.init_limits["closed"]

    @property
    def series(self) -> str:
        """training or hpc."""
        return "hpc" if self.name.startswith("hpc") else "training"


def round_names() -> list[str]:
    """All rounds, those of Training first, the oldest of each series first."""
    return [each.name for each in all_rounds()]


@cache
def all_rounds() -> tuple[Round, ...]:
    """All rounds, those of Training first, the oldest of each series first."""
    order = sorted(map(load_round, _files()), key=lambda each: (each.series == "hpc", each.since))
    return tuple(_until_next(each, order[number + 1 :]) for number, each in enumerate(order))


def _until_next(rules: Round, later: Sequence[Round]) -> Round:
    begin = (
        each.since for each in later if each.series == rules.series and set(each.markers) & set(rules.markers)
    )
    return replace(rules, until=min(rules.until, next(begin, math.inf)))


@cache
def load_round(name: str) -> Round:
    """The rules of a round, e.g. `v1.1`.

    Raises:
        OctathlonError: if there is no such round.
    """
    if name not in _files():
        raise OctathlonError(f"unknown round {name!r}: choose one of {', '.join(round_names())}")
    data = rule_data.load(name)
    tolerance = data.get("target_tolerance", 0.0)
    return Round(
        name=name,
        published=data["published"],
        ruleset=data["ruleset"],
        markers=tuple(data["logs"]["markers"]),
        since=_milliseconds(data["logs"]["since"]),
        until=_milliseconds(data["logs"]["until"]) if "until" in data["logs"] else math.inf,
        init_limits={
            "closed": data.get("init_limit_minutes", math.inf),
            "open": data.get("open_init_limit_minutes", data.get("init_limit_minutes", math.inf)),
        },
        check_decides=data.get("check_decides", False),
        scaled=data.get("scaled", False),
        tasks={task: _task(task, each, tolerance) for task, each in data["benchmarks"].items()},
        aliases=data["aliases"],
        repository=data.get("repository", {}),
        waived=data.get("waived", {}),
        contested=data.get("contested", {}),
    )


def _files() -> list[str]:
    return [path.stem for pattern in ("v*.yaml", "hpc-v*.yaml") for path in rule_data.ROUNDS.glob(pattern)]


def _milliseconds(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000


def _task(name: str, data: Mapping[str, Any], tolerance: float) -> Task:
    large = data.get("large_batch")
    return Task(
        name=name,
        runs=data["runs"],
        drop=data["drop"],
        target=_target(data["target"]),
        large_batch=(large["from"], _target(large["target"])) if large else None,
        first_converged=data.get("first_converged", False),
        progress=data.get("progress", "epochs"),
        evaluation=data.get("evaluation", "eval_accuracy"),
        checkpoint=data.get("checkpoint", ""),
        stopped_by=data.get("stopped_by", "run_stop"),
        evaluated_after_the_clock=data.get("evaluated_after_the_clock", False),
        evaluations=read_schedule(data["evaluations"]) if "evaluations" in data else None,
        tolerance=tolerance,
    )


def _target(data: Mapping[str, Mapping[str, float]]) -> dict[str, Bounds]:
    return {metric: Bounds(**bounds) for metric, bounds in data.items()}
