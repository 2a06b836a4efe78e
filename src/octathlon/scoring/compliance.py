"""Does a log keep the rules of its round? Each broken rule is named, with its line.

The rules are data (`rounds/compliance_<round>.yaml`), after the official checker of that time; rounds without
such a file have no rules for logs here. What published results broke and were accepted all the same is listed
as `waived` in `rounds/<round>.yaml`, and is a warning.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data
from octathlon.scoring.constraints import describe, problem
from octathlon.scoring.descriptions import division
from octathlon.scoring.findings import Finding
from octathlon.scoring.logs import BadLine, Event, read_events
from octathlon.scoring.rules import load_round

Rules = Mapping[str, dict[str, Any]]
LAYER_KEYS = ("submission_division", "submission_benchmark", "opt_name")
"""Their first values choose the rules of a log."""


@dataclass(frozen=True, slots=True)
class Filed:
    """Where a log is filed; empty: not known."""

    entry: str = ""
    """Its folder's path in the tree."""
    division: str = ""
    benchmark: str = ""


def has_rules(round_name: str) -> bool:
    """Whether there are rules for the logs of a round."""
    return (rule_data.ROUNDS / f"compliance_{round_name}.yaml").is_file()


def check_log(path: Path, round_name: str, filed: Filed = Filed()) -> list[Finding]:
    """What breaks the rules of a round in a log, errors first. Never raises: a file that cannot be read is a
    finding."""
    try:
        first = _first_values(path)
        checker = _Checker(round_name, rules_of(round_name, *_as_filed(first, filed)))
        for event in read_events(path, report=checker.unreadable):
            checker.see(event)
    except OctathlonError as error:
        return [Finding("error", "log.file", str(error))]
    checker.finish()
    checker.compare(first, filed)
    found = [waive(finding, round_name, filed.entry) for finding in checker.findings.values()]
    return sorted(found, key=lambda finding: finding.severity)


def _as_filed(first: tuple[Any, ...], filed: Filed) -> tuple[Any, ...]:
    """What chooses the rules: the log's own words, but for a log that is filed in the open division."""
    return ("open" if filed.division == "open" else first[0], *first[1:])


def waive(finding: Finding, round_name: str, entry: str) -> Finding:
    """A finding about an entry, as a warning if it is an error that the round waived."""
    name = load_round(round_name).waiver(finding.rule, entry) if finding.severity == "error" else ""
    if not name:
        return finding
    return replace(
        finding, severity="warning", words=f"{finding.words} (waived in {round_name})", waived=name
    )


@cache
def layers(round_name: str) -> Mapping[str, Rules]:
    """The rules of a round: those of its `base`, if it has one, with its own in place of them."""
    data = rule_data.load(f"compliance_{round_name}")
    base = layers(data["base"]) if "base" in data else {}
    own = data["layers"]
    return {name: {**base.get(name, {}), **own.get(name, {})} for name in (*base, *own)}


@cache
def either(round_name: str) -> list[list[str]]:
    """Keys of which a log must have one, by its round."""
    data = rule_data.load(f"compliance_{round_name}")
    return data["either"] if "either" in data else either(data["base"])


def rules_of(round_name: str, division: Any, benchmark: Any, optimizer: Any) -> Rules:
    """The rules for a log: all layers that apply, later entries in place of earlier ones."""
    names = ("common", f"{division}", f"{division}_{benchmark}", f"{division}_{benchmark}_{optimizer}")
    rules = {key: rule for name in names for key, rule in layers(round_name).get(name, {}).items()}
    numbers = rule_data.load(round_name)
    return {key: _with_numbers(rule, benchmark, numbers) for key, rule in rules.items() if rule is not None}


def _with_numbers(rule: dict[str, Any], benchmark: Any, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A rule that names numbers of the round (target, limits) with these in place."""
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

    round_name: str
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
            self._add("log.empty", f"no event of a {self.round_name} log")
        for key, rule in self.rules.items():
            tally = self.tallies.get(key, _Tally())
            self._judge_count(key, rule, tally)
            if tally.count and "reached" in rule and not tally.reached:
                self._add(f"{key}.reached", f"no value is {describe(rule['reached'])}", tally.line)
            if "tensors" in rule and tally.count:
                self._judge_tensors(key, rule)
        for keys in either(self.round_name):
            if not any(key in self.tallies for key in keys):
                self._add(f"{keys[0]}.count", f"no {' and no '.join(keys)}: one of them is required")

    def compare(self, first: tuple[Any, ...], filed: Filed) -> None:
        """Compare the log's first values with where it is filed."""
        logged, benchmark = (value if isinstance(value, str) else "" for value in first[:2])
        if benchmark and filed.benchmark not in ("", benchmark):
            words = f"a log of {benchmark:.60} among those of {filed.benchmark}"
            self._add("submission_benchmark.alike", words)
        if logged and filed.division not in ("", division(logged)):
            words = f"{logged:.60}, but {filed.division} in the description"
            kind = {"severity": "warning" if filed.division == "open" else "error"}  # open is less strict
            self._add("submission_division.alike", words, rule=kind)

    def _problems(self, event: Event, rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "value" in rule and (wrong := problem(event.value, rule["value"])):
            yield "value", wrong
        if "metadata" in rule and (wrong := problem(event.metadata, {"fields": rule["metadata"]})):
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
