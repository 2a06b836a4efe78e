"""Does a log keep the rules of ruleset 1.1.0? Each broken rule is named, with its line.

The rules are data (`rounds/compliance_v1.1.yaml`), after the official checker (training_1.1.0 of
mlperf_logging.compliance_checker), but for one thing: missing or other `weights_initialization` events are
warnings, as they were in the round. Today's checker refuses more than half of the published runs for them.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octathlon.scoring import rule_data
from octathlon.scoring.constraints import describe, problem
from octathlon.scoring.findings import Finding
from octathlon.scoring.logs import BadLine, Event, read_events

ROUND = "v1.1"
RULES = f"compliance_{ROUND}"
Rules = Mapping[str, dict[str, Any]]
LAYER_KEYS = ("submission_division", "submission_benchmark", "opt_name")
"""Their first values choose the rules of a log."""


def check_log(path: Path) -> list[Finding]:
    """What breaks the rules in a log, errors first.

    Raises:
        OctathlonError: if the file cannot be read.
    """
    checker = _Checker(rules_of(*_first_values(path)))
    for event in read_events(path, report=checker.unreadable):
        checker.see(event)
    checker.finish()
    return sorted(checker.findings.values(), key=lambda finding: finding.severity)


def rules_of(division: Any, benchmark: Any, optimizer: Any) -> Rules:
    """The rules for a log: all layers that apply, later entries in place of earlier ones."""
    layers = rule_data.load(RULES)["layers"]
    names = ("common", f"{division}", f"{division}_{benchmark}", f"{division}_{benchmark}_{optimizer}")
    rules = {key: rule for name in names for key, rule in layers.get(name, {}).items()}
    return {key: _with_numbers(rule, benchmark) for key, rule in rules.items()}


def _with_numbers(rule: dict[str, Any], benchmark: Any) -> dict[str, Any]:
    """A rule that names numbers of the round (target, limits) with these in place."""
    numbers = rule_data.load(ROUND)
    changes: dict[str, Any] = {}
    if rule.get("reached") == "target":
        target = numbers["benchmarks"][benchmark]["target"]
        changes["reached"] = {"fields": target} if len(target) > 1 else next(iter(target.values()))
    if "within" in rule:
        changes["within"] = {key: numbers[limit] for key, limit in rule["within"].items()}
    return rule | changes if changes else rule


def expand(pattern: str) -> list[str]:
    """The names that a pattern stands for: `{a,b}` and `{0..9}` as in a shell."""
    parts = [_alternatives(part) for part in re.split(r"(\{[^{}]*\})", pattern)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _alternatives(part: str) -> list[str]:
    if not part.startswith("{"):
        return [part]
    if match := re.fullmatch(r"\{(\d+)\.\.(\d+)\}", part):
        return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
    return part[1:-1].split(",")


def _first_values(path: Path) -> tuple[Any, ...]:
    found: dict[str, Any] = {}
    for event in read_events(path, keys=LAYER_KEYS):
        found.setdefault(event.key, event.value)
        if len(found) == len(LAYER_KEYS):
            break
    return tuple(found.get(key) for key in LAYER_KEYS)


@dataclass(slots=True)
class _Tally:
    """What is remembered of the events of one key."""

    count: int = 0
    time_ms: float = 0.0
    value: Any = None
    line: int = 0
    """Value and line are the first event's, the time is the earliest."""
    alike: bool = True
    reached: bool = False


@dataclass(slots=True)
class _Checker:
    """Takes the events of a log, one after the other, and collects findings: the first of each rule."""

    rules: Rules
    findings: dict[str, Finding] = field(default_factory=dict)
    tallies: dict[str, _Tally] = field(default_factory=dict)
    tensors: Counter[str] = field(default_factory=Counter)

    def unreadable(self, bad: BadLine) -> None:
        """Take a line that has a log token and is no proper event."""
        self._add("log.format", f"not an event: {bad.reason}", bad.line)

    def see(self, event: Event) -> None:
        """Take the next event."""
        if (rule := self.rules.get(event.key)) is None:
            return
        for aspect, words in self._problems(event, rule):
            self._add(f"{event.key}.{aspect}", words, event.line, rule)
        if "advice" in rule and (words := problem(event.value, rule["advice"])):
            self._add(f"{event.key}.advice", words, event.line, {"severity": "warning"})
        self._count(event, rule)

    def finish(self) -> None:
        """Judge what only the whole log shows."""
        if not self.tallies:
            self._add("log.empty", "no event of a v1.1 log")
        for key, rule in self.rules.items():
            tally = self.tallies.get(key, _Tally())
            self._judge_count(key, rule, tally)
            if tally.count and "reached" in rule and not tally.reached:
                self._add(f"{key}.reached", f"no value is {describe(rule['reached'])}", tally.line)
            if "tensors" in rule and tally.count:
                self._judge_tensors(key, rule)
        for keys in rule_data.load(RULES)["either"]:
            if not any(key in self.tallies for key in keys):
                self._add(f"{keys[0]}.count", f"no {' and no '.join(keys)}: one of them is required")

    def _problems(self, event: Event, rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if wrong := problem(event.value, rule.get("value", {})):
            yield "value", wrong
        if wrong := problem(event.metadata, {"fields": rule.get("metadata", {})}):
            yield "metadata", wrong
        for key in rule.get("after", ()):
            if key not in self.tallies:
                yield "order", f"comes before {key}"
        for key in rule.get("before", ()):
            if key in self.tallies:
                yield "order", f"comes after {key}"
        for key, minutes in rule.get("within", {}).items():
            if key in self.tallies and event.time_ms - self.tallies[key].time_ms >= minutes * 60_000:
                yield "within", f"comes {minutes} minutes or more after the first {key}"

    def _count(self, event: Event, rule: Mapping[str, Any]) -> None:
        tally = self.tallies.get(event.key)
        if tally is None:
            tally = self.tallies[event.key] = _Tally(0, event.time_ms, event.value, event.line)
        tally.count += 1
        tally.time_ms = min(tally.time_ms, event.time_ms)
        tally.alike &= event.value == tally.value
        tally.reached = tally.reached or not problem(event.value, rule.get("reached", {}))
        if "tensors" in rule:
            self.tensors[str(event.metadata.get("tensor"))] += 1

    def _judge_count(self, key: str, rule: Mapping[str, Any], tally: _Tally) -> None:
        if "count" in rule and not tally.count:
            self._add(f"{key}.count", "missing", None, rule)
        elif rule.get("count") == "one" and tally.count > 1:
            kind = {"severity": "warning"} if tally.alike else rule
            values = "with one value" if tally.alike else "with different values"
            self._add(f"{key}.count", f"stands {tally.count} times {values}, not once", tally.line, kind)

    def _judge_tensors(self, key: str, rule: Mapping[str, Any]) -> None:
        wanted = Counter(name for pattern in rule["tensors"] for name in expand(pattern))
        missing, extra = wanted - self.tensors, self.tensors - wanted
        if missing or extra:
            example = next(iter(missing or extra))
            words = f"{missing.total()} tensors missing, {extra.total()} too many, e.g. {example}"
            self._add(f"{key}.tensors", words, None, rule)

    def _add(
        self, name: str, words: str, line: int | None = None, rule: Mapping[str, Any] | None = None
    ) -> None:
        severity = (rule or {}).get("severity", "error")
        self.findings.setdefault(name, Finding(severity, name, words, line))
