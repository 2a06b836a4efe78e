"""One log, one run: what the log says (`read_log`) and what the rules make of it (`judge`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring.logs import UNSTATED, BadLine, Event, read_events
from octathlon.scoring.rules import Quality, Round, Task

MILLISECONDS = 60_000.0
"""Of a minute."""
CLOCK_SKEW = 1000.0
"""Milliseconds by which the clocks and the log lines of one run may disagree."""
LARGEST = 1e100
"""No quality, epoch, seed or size is larger; sums of such numbers stay finite."""
MOST_EVALUATIONS = 20_000
"""Evaluations kept of one log, so that memory does not grow with it (the published logs have at most 600)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One `eval_accuracy`."""

    time_ms: float
    epoch: float | None
    """Its `epoch_num`; samples for bert."""
    quality: Quality | float


@dataclass(slots=True)
class Log:
    """What one log says, before any round's rules are applied."""

    path: Path
    marker: str = ""
    """What its lines begin with, which tells the format."""
    starts: int = 0
    stops: int = 0
    start_ms: float = math.inf
    """The earliest run_start: the clock starts before any part of the system touches the data."""
    stop_ms: float = math.inf
    """The earliest run_stop: the clock may stop when any part knows that the target is met."""
    statuses: list[str] = field(default_factory=list)
    """The different status words of run_stop; none in formats that have none."""
    init_start_ms: float = math.inf
    init_stop_ms: float = -math.inf
    evaluations: list[Evaluation] = field(default_factory=list)
    all_evaluations: bool = True
    """False if there were more than are kept."""
    checkpoints: list[tuple[Any, float]] = field(default_factory=list)
    """MiniGo's passing models: iteration, and seconds since run_start."""
    identity: dict[str, str] = field(default_factory=dict)
    """The submission_* values, first occurrence, without the prefix."""
    numbers: dict[str, float] = field(default_factory=dict)
    """global_batch_size, seed, train_samples and eval_samples, first occurrence."""
    bad_lines: int = 0
    unreadable: str = ""
    """Why the file could not be read."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the rules see it."""

    log: Log
    converged: bool
    reason: str
    """Why it did not converge; empty if it did."""
    minutes: float | None
    """Its time on the clock, whether it converged or not."""
    init_minutes: float | None
    epoch: float | None
    """`epoch_num` of the first evaluation that met the target, or (open division) of the last one."""
    quality: Quality
    """Of that evaluation."""
    anomalies: tuple[str, ...]


def read_log(path: Path) -> Log:
    """Read what scoring needs of a log. Never raises: a file that cannot be read says so in `unreadable`."""
    log = Log(path)
    try:
        for event in read_events(path, _HANDLERS, lambda bad: _count_bad(log, bad), once=_FIRST):
            _HANDLERS[event.key](log, event)
    except OctathlonError as error:
        log.unreadable = str(error)
    return log


def _count_bad(log: Log, _bad: BadLine) -> None:
    log.bad_lines += 1


def _on_start(log: Log, event: Event) -> None:
    log.marker = log.marker or event.marker
    log.starts += 1
    log.start_ms = min(log.start_ms, event.time_ms)


def _on_stop(log: Log, event: Event) -> None:
    log.stops += 1
    log.stop_ms = min(log.stop_ms, event.time_ms)
    status = event.metadata.get("status")
    if status is not UNSTATED and str(status)[:40] not in log.statuses and len(log.statuses) < 3:
        log.statuses.append(str(status)[:40])


def _on_init_start(log: Log, event: Event) -> None:
    log.init_start_ms = min(log.init_start_ms, event.time_ms)


def _on_init_stop(log: Log, event: Event) -> None:
    log.init_stop_ms = max(log.init_stop_ms, event.time_ms)


def _on_evaluation(log: Log, event: Event) -> None:
    if len(log.evaluations) == MOST_EVALUATIONS:
        log.all_evaluations = False
    elif (quality := _quality(event.value)) is not None:
        log.evaluations.append(Evaluation(event.time_ms, _number(event.metadata.get("epoch_num")), quality))


def _on_checkpoint(log: Log, event: Event) -> None:
    seconds = _number(event.metadata.get("timestamp"))
    if seconds is not None and len(log.checkpoints) < MOST_EVALUATIONS:
        log.checkpoints.append((event.metadata.get("iteration"), seconds))


def _on_identity(log: Log, event: Event) -> None:
    if isinstance(event.value, str):
        log.identity.setdefault(event.key.removeprefix("submission_"), event.value[:200])


def _on_number(log: Log, event: Event) -> None:
    number = _number(event.value)
    if number is not None:
        log.numbers.setdefault(event.key, number)


_IDENTITY = tuple(f"submission_{name}" for name in ("org", "platform", "division", "status", "benchmark"))
_NUMBERS = ("global_batch_size", "seed", "train_samples", "eval_samples")
_FIRST = ("init_start", *_IDENTITY, *_NUMBERS)
"""Of these, the first event counts."""
_HANDLERS: dict[str, Callable[[Log, Event], None]] = {
    "run_start": _on_start,
    "run_stop": _on_stop,
    "init_start": _on_init_start,
    "init_stop": _on_init_stop,
    "eval_accuracy": _on_evaluation,
    "eval_result": _on_checkpoint,
    **dict.fromkeys(_IDENTITY, _on_identity),
    **dict.fromkeys(_NUMBERS, _on_number),
}


def _number(value: Any) -> float | None:
    """A finite number of sensible size, or one in a string, as some submitters logged them."""
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if type(value) in (int, float) and abs(value) < LARGEST else None


def _quality(value: Any) -> Quality | float | None:
    """An evaluation's value: a number, an object of them, or a list (v0.6: box and mask of maskrcnn, in this
    order)."""
    if isinstance(value, list):
        value = dict(zip(("BBOX", "SEGM"), value, strict=False)) if len(value) == 2 else None
    if isinstance(value, dict) and value.keys() == {"accuracy"}:
        value = value["accuracy"]
    if isinstance(value, dict):
        numbers = {str(name)[:40]: _number(number) for name, number in list(value.items())[:8]}
        return {name: number for name, number in numbers.items() if number is not None} or None
    return _number(value)


def judge(log: Log, rules: Round, task: Task, division: str) -> Run:
    """Apply a round's rules to one log.

    A run converged if it ran from run_start to a run_stop with status success, kept the limit of the untimed
    initialisation, and one evaluation met the round's target (closed division) or there is an evaluation at
    all (open division, where each submission has its own target). training_rules.adoc, sections "Timing" and
    "Results".
    """
    batch_size = log.numbers.get("global_batch_size")
    on_the_clock = (each for each in log.evaluations if each.time_ms >= log.start_ms)
    evaluations = sorted(on_the_clock, key=lambda each: each.time_ms)
    named = [(each, named_quality(each.quality, task)) for each in evaluations]
    passed = next((each for each in named if task.reached(each[1], batch_size)), None)
    decisive = passed if division == "closed" else (named[-1] if named else None)
    stop_ms = _stop(log, task, passed)
    init_minutes = _span(log.init_start_ms, log.init_stop_ms)
    minutes = _span(log.start_ms, stop_ms)
    reason = _failure(log, rules, task, stop_ms, init_minutes) or (
        "" if decisive else _missed(named, task, division)
    )
    return Run(
        log=log,
        converged=not reason,
        reason=reason,
        minutes=minutes,
        init_minutes=init_minutes,
        epoch=decisive[0].epoch if decisive else None,
        quality=decisive[1] if decisive else {},
        anomalies=tuple(
            _anomalies(log) + (_contradictions(log, task, passed) if division == "closed" else [])
        ),
    )


def named_quality(quality: Quality | float, task: Task) -> Quality:
    """`quality` as metric -> value, where a bare number is the task's (first) metric."""
    if isinstance(quality, dict):
        return quality
    return {next(iter(task.target)): quality}


def _stop(log: Log, task: Task, passed: tuple[Evaluation, Quality] | None) -> float:
    """When the clock stopped; infinity: never."""
    if task.stopped_by != "eval_result" or log.stops or passed is None:
        return log.stop_ms
    seconds = [seconds for iteration, seconds in log.checkpoints if iteration == passed[0].epoch]
    return log.start_ms + min(seconds, default=math.inf) * 1000


def _span(start_ms: float, stop_ms: float) -> float | None:
    minutes = (stop_ms - start_ms) / MILLISECONDS
    return minutes if 0 <= minutes < math.inf else None


def _failure(log: Log, rules: Round, task: Task, stop_ms: float, init_minutes: float | None) -> str:
    """Why the run does not count, whatever its quality; empty if it does."""
    if log.unreadable:
        return log.unreadable
    logged = rules.task(log.identity.get("benchmark", task.name))
    if logged is not None and logged is not task:
        return f"the log is one of {logged.name}"
    if not log.starts:
        return "no run_start"
    if stop_ms == math.inf:
        return "no run_stop"
    if len(log.statuses) > 1:
        return f"run_stop has different statuses: {', '.join(log.statuses)}"
    if log.statuses and log.statuses[0] != "success":
        return f"status {log.statuses[0]}"
    if stop_ms <= log.start_ms:
        return "run_stop is not after run_start"
    if init_minutes is not None and init_minutes >= rules.init_limit_minutes:
        return f"initialisation took {init_minutes:.1f} minutes (limit {rules.init_limit_minutes:g})"
    return ""


def _missed(named: list[tuple[Evaluation, Quality]], task: Task, division: str) -> str:
    values = [quality[metric] for _, quality in named for metric in task.target if metric in quality]
    if not values or division != "closed":
        return "no evaluation"
    best = max(values) if task.higher_is_better else min(values)
    return f"target not met (best {best:g})"


def _anomalies(log: Log) -> list[str]:
    """What is odd about a log, in words."""
    found = []
    if log.starts > 1:
        found.append("several run_start events: the earliest counts")
    if log.stops > 1:
        found.append("several run_stop events: the earliest counts")
    if log.bad_lines:
        found.append("lines that are not quite events")
    if not log.all_evaluations:
        found.append(f"evaluations beyond the first {MOST_EVALUATIONS} not read")
    return found


def _contradictions(log: Log, task: Task, passed: tuple[Evaluation, Quality] | None) -> list[str]:
    """Where the status, the clock and the round's target do not go together."""
    if passed is None:
        return ["status success without the round's target"] if log.statuses == ["success"] else []
    found = []
    if log.statuses and log.statuses[0] != "success":
        found.append(f"status {log.statuses[0]} with the round's target met")
    if passed[0].time_ms > log.stop_ms + CLOCK_SKEW and not task.evaluated_after_the_clock:
        found.append("target met only after run_stop")
    return found
