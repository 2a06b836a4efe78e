"""What the rules of a round make of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from octathlon.scoring.findings import Finding
from octathlon.scoring.rules import Quality, Round, Task
from octathlon.scoring.runs import MOST_EVALUATIONS, Evaluation, Log

MILLISECONDS = 60_000.0
"""Of a minute."""
CLOCK_SKEW = 1000.0
"""Milliseconds by which the clocks and the log lines of one run may disagree."""


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


def judge(log: Log, rules: Round, task: Task, division: str, findings: Sequence[Finding] = ()) -> Run:
    """Apply a round's rules to one log.

    A run converged if it ran from run_start to a run_stop with status success, kept the limit of the untimed
    initialisation, one evaluation met the round's target (closed division) or there is an evaluation at
    all (open division, where each submission has its own target), and there is no error among the `findings`
    of the log's check. training_rules.adoc, sections "Timing" and "Results".
    """
    batch_size = log.numbers.get("global_batch_size")
    named = [(each, named_quality(each.quality, task)) for each in evaluations(log, task)]
    passed = next((each for each in named if task.reached(each[1], batch_size)), None)
    decisive = passed if division == "closed" else (named[-1] if named else None)
    stop_ms = _stop(log, task, passed)
    init_minutes = _span(log.init_start_ms, log.init_stop_ms)
    minutes = _span(log.start_ms, stop_ms)
    reason = (
        _failure(log, rules, task, division, stop_ms, init_minutes)
        or ("" if decisive else _missed(log, named, task, division))
        or (_broken(findings) if rules.check_decides else "")
    )
    return Run(
        log=log,
        converged=not reason,
        reason=reason,
        minutes=minutes,
        init_minutes=init_minutes,
        epoch=progress(decisive[0], task) if decisive else None,
        quality=decisive[1] if decisive else {},
        anomalies=tuple(
            _anomalies(log)
            + _percentages(named, task)
            + (_contradictions(log, task, passed) if division == "closed" else [])
        ),
    )


def evaluations(log: Log, task: Task) -> list[Evaluation]:
    """The evaluations since run_start in order; the metrics of one checkpoint together."""
    logged = log.errors if task.evaluation == "eval_error" else log.evaluations
    found = sorted((each for each in logged if each.time_ms >= log.start_ms), key=lambda each: each.time_ms)
    return _checkpoints(found, task) if task.checkpoint else found


def _checkpoints(found: Sequence[Evaluation], task: Task) -> list[Evaluation]:
    """Evaluations that each give one metric of a checkpoint, joined; in order of the checkpoints."""
    joined: dict[float, Evaluation] = {}
    for each in found:
        checkpoint = each.step if task.checkpoint == "step_num" else each.samples
        if checkpoint is not None and (each.metric in task.target or isinstance(each.quality, dict)):
            before = joined[checkpoint].quality if checkpoint in joined else {}
            joined[checkpoint] = each._replace(quality={**before, **_metric(each)})
    return [joined[checkpoint] for checkpoint in sorted(joined)]


def _metric(each: Evaluation) -> Quality:
    return each.quality if isinstance(each.quality, dict) else {each.metric: each.quality}


def progress(each: Evaluation, task: Task) -> float | None:
    """How far the run has come, in the unit of `task.progress`."""
    if task.checkpoint == "step_num":
        return each.step
    return each.samples if task.progress == "samples_count" and each.samples is not None else each.epoch


def named_quality(quality: Quality | float, task: Task) -> Quality:
    """`quality` as metric -> value, where a bare number is the task's (first) metric."""
    if isinstance(quality, dict):
        return quality
    return {next(iter(task.target)): quality}


def _stop(log: Log, task: Task, passed: tuple[Evaluation, Quality] | None) -> float:
    """When the clock stopped; infinity: never."""
    if task.stopped_by == "eval_result" and passed is not None:
        seconds = [seconds for iteration, seconds in log.checkpoints if iteration == passed[0].epoch]
        if seconds:
            return log.start_ms + min(seconds) * 1000
    return log.stop_ms


def _span(start_ms: float, stop_ms: float) -> float | None:
    minutes = (stop_ms - start_ms) / MILLISECONDS
    return minutes if 0 <= minutes < math.inf else None


def _failure(
    log: Log, rules: Round, task: Task, division: str, stop_ms: float, init_minutes: float | None
) -> str:
    """Why the run does not count, whatever its quality; empty if it does."""
    if log.unreadable:
        return log.unreadable
    logged = rules.task(log.identity.get("benchmark", task.name))
    if logged is not None and logged is not task:
        return f"the log is one of {logged.name}"
    if not log.starts:
        return f"no run_start{_lost(log, 'run_start')}"
    if stop_ms == math.inf:
        return f"no run_stop{_lost(log, 'run_stop')}"
    if len(log.statuses) > 1:
        return f"run_stop has different statuses: {', '.join(log.statuses)}"
    if log.statuses and log.statuses[0] != "success":
        return f"status {log.statuses[0]}"
    if log.resumed and division == "closed":
        return "resumed from a checkpoint"
    if stop_ms <= log.start_ms:
        return "run_stop is not after run_start"
    limit = rules.init_limits["open" if division == "open" else "closed"]
    if init_minutes is not None and init_minutes >= limit:
        return f"initialisation took {init_minutes:.1f} minutes (limit {limit:g})"
    return ""


def _lost(log: Log, key: str) -> str:
    if key not in log.lost:
        return ""
    return (
        f" (line {log.lost[key]} has it, but is damaged, or goes on with another event, which alone is read)"
    )


def _missed(log: Log, named: list[tuple[Evaluation, Quality]], task: Task, division: str) -> str:
    values = [quality[metric] for _, quality in named for metric in task.target if metric in quality]
    if not values or division != "closed":
        return f"no evaluation{_lost(log, 'eval_accuracy')}"
    best = max(values) if task.higher_is_better else min(values)
    return f"target not met (best {best:g})"


def _broken(findings: Iterable[Finding]) -> str:
    errors = [f"{finding.rule}: {finding.words}" for finding in findings if finding.severity == "error"]
    more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
    return f"breaks a rule: {errors[0]}{more}" if errors else ""


def _anomalies(log: Log) -> list[str]:
    """What is odd about a log, in words."""
    found = []
    if log.restarted:
        found.append("two runs in one log: the first counts")
    elif log.resumed:
        found.append("interrupted, and resumed from a checkpoint")
    elif log.starts > 1:
        found.append("several run_start events: the earliest counts")
    if log.stops > 1 and not log.restarted:
        found.append("several run_stop events: the earliest counts")
    if log.bad_lines:
        found.append("lines that are not quite events")
    if not log.all_evaluations:
        found.append(f"evaluations beyond the first {MOST_EVALUATIONS} not read")
    return found


def _percentages(named: list[tuple[Evaluation, Quality]], task: Task) -> list[str]:
    fractions = {metric for metric, bounds in task.target.items() if bounds.below == 1}
    wrong = [
        f"{metric} {value:g}"
        for _, quality in named
        for metric, value in quality.items()
        if metric in fractions and value > 1
    ]
    return [f"{wrong[0]}: in percent? The rules want a fraction"] if wrong else []


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
