"""What benchmarks train, beyond the rules of one round: `rounds/tasks.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octathlon.scoring import rule_data
from octathlon.scoring.rules import Round, Task, load_round

NOTHING: Mapping[str, Any] = {}


def facts(benchmark: str, rules: Round) -> Mapping[str, Any]:
    """What holds of a benchmark's task in a round; empty if nothing is known."""
    begun = [fact for since, fact in _history(benchmark) if since <= rules.since]
    return begun[-1] if begun else NOTHING


def _history(benchmark: str) -> list[tuple[float, Mapping[str, Any]]]:
    """When a benchmark's facts begin to hold, in milliseconds since the Unix epoch, and they; oldest first."""
    known = rule_data.load("tasks").get(benchmark, NOTHING)
    return sorted(((load_round(name).since, fact) for name, fact in known.items()), key=lambda each: each[0])


def first_name(benchmark: str) -> str:
    """The name under which a benchmark's task was first trained."""
    earlier = [fact["was"] for _, fact in _history(benchmark) if "was" in fact]
    return first_name(earlier[0]) if earlier else benchmark


def changes(old_name: str, old: Round, new_name: str, new: Round) -> list[str]:
    """Why a benchmark's results in two rounds cannot be compared, in words; empty if they can.

    Args:
        old_name: the benchmark's name in the earlier round.
        old: the earlier round.
        new_name: its name in the later one.
        new: the later round.
    """
    facts_between = [
        fact
        for name in dict.fromkeys((old_name, new_name))
        for since, fact in _history(name)
        if old.since < since <= new.since
    ]
    words = [fact["changed"] for fact in facts_between if "changed" in fact]
    before, after = old.task(old_name), new.task(new_name)
    if before is not None and after is not None and _thresholds(before) != _thresholds(after):
        words.append(f"another target: {_target(after)} instead of {_target(before)}")
    return words


def _thresholds(task: Task) -> dict[str, float]:
    """Metric -> its bound; BLEU stands in percent or as a fraction."""
    bounds = {metric: each.threshold for metric, each in task.target.items()}
    return {
        metric: bound / 100 if metric == "BLEU" and bound > 1 else bound for metric, bound in bounds.items()
    }


def _target(task: Task) -> str:
    return ", ".join(f"{metric} {bound:g}" for metric, bound in _thresholds(task).items())
