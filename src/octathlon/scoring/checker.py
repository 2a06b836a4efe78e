"""One log against the rules of its round, event by event; `compliance` says which rules these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring.compliance import Filed, Rules, either, expand, layers, rules_of, waive
from octathlon.scoring.constraints import describe, holds, problem
from octathlon.scoring.descriptions import division
from octathlon.scoring.findings import Finding
from octathlon.scoring.lines import line_bounds
from octathlon.scoring.logs import BadLine, Event, marked_lines, parse_line, read_blocks
from octathlon.scoring.runs import MOST_EVALUATIONS, Log, Recorder
from octathlon.scoring.shapes import DIGITS, Shape, Shapes, leading_zero

CHOICE = ("submission_division", "submission_benchmark", "opt_name")
"""The first values of these keys choose the rules of a log."""
LATEST_CHOICE = 100_000
"""Events after which the rules are chosen, whatever is known, so that memory does not grow with the log."""

MARKER = ":::MLLOG"
NONE: Mapping[str, Any] = {}
UNFILED = Filed()
_SHAPES = Shapes()
"""Of all logs that this process reads."""


def check_log(path: Path, round_name: str, filed: Filed = UNFILED) -> list[Finding]:
    """What breaks the rules of a round in a log, errors first. Never raises: a file that cannot be read is a
    finding."""
    return read_and_check(path, round_name, filed)[1]


def read_and_check(path: Path, round_name: str, filed: Filed) -> tuple[Log, list[Finding]]:
    """What scoring needs of a log, and what breaks the rules of a round in it, in one reading."""
    recorder, checker = Recorder(path), Checker(round_name, filed)
    settled: set[bytes] = set()  # shapes of which more lines change nothing

    def report(bad: BadLine) -> None:
        recorder.report(bad)
        checker.unreadable(bad)

    try:
        for line, block in read_blocks(path, report):
            checker.look_ahead(block)
            for number, text in marked_lines(block, line):
                outline = text.translate(DIGITS)
                if outline in settled and not leading_zero(text):
                    continue
                shape = _SHAPES.find(outline, text)
                if shape is None or recorder.needs(shape.key) or not checker.pass_over(shape, text, number):
                    _read_line(text, number, recorder, checker, learn=shape is None)
                elif checker.is_settled(shape.key):
                    settled.add(outline)
    except OctathlonError as error:
        recorder.log.unreadable = str(error)
        return recorder.log, [Finding("error", "log.file", str(error))]
    found = [waive(finding, round_name, filed.entry) for finding in checker.finish()]
    return recorder.log, sorted(found, key=lambda finding: finding.severity)


def _read_line(text: bytes, number: int, recorder: Recorder, checker: Checker, *, learn: bool) -> None:
    """Parse a line; one that is damaged or has several keys in it may hide events that a search sees otherwise."""
    problems: list[BadLine] = []
    event = parse_line(text, number, problems.append)
    for each in problems:
        checker.unreadable(each)
    if event is not None:
        checker.see(event)
    if problems or event is None or event.marker != MARKER or text.count(b'"key"') != 1:
        recorder.search(text, number)
        return
    recorder.see(event)
    if learn:
        _SHAPES.learn(text, event)


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
class Checker:
    """Takes the events of a log, one after the other, and collects findings: the first of each rule."""

    round_name: str
    filed: Filed
    first: dict[str, Any] = field(default_factory=dict)
    """The first values of the keys of CHOICE."""
    waiting: list[Event | BadLine] | None = field(default_factory=list)
    """What comes before the rules are known; None: they are."""
    rules: Rules = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    tallies: dict[str, _Tally] = field(default_factory=dict)
    tensors: Counter[str] = field(default_factory=Counter)
    joined: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Checkpoint -> metric -> value, where each metric is an event of its own."""

    def look_ahead(self, block: bytes) -> None:
        """Find the values that choose the rules, so that not so many events wait for them."""
        for key in CHOICE if self.waiting is not None else ():
            position = -1 if key in self.first else block.find(b'"key": "%b"' % key.encode())
            start, end = line_bounds(block, position) if position >= 0 else (0, 0)
            event = parse_line(block[start:end], 0)
            if event is not None and event.key == key:
                self.first[key] = event.value
            self._choose_rules_if_known()

    def unreadable(self, bad: BadLine) -> None:
        """Take a line that has a log token and is no proper event."""
        if self.waiting is None:
            self._add("log.format", f"not an event: {bad.reason}", bad.line)
        else:
            self.waiting.append(bad)

    def see(self, event: Event) -> None:
        """Take the next event."""
        if self.waiting is None:
            if (rule := self.rules.get(event.key)) is not None:
                self._judge(event, rule)
            return
        self.waiting.append(event)
        if event.key in CHOICE:
            self.first.setdefault(event.key, event.value)
            self._choose_rules_if_known()
        elif len(self.waiting) >= LATEST_CHOICE:
            self._choose_rules()

    def pass_over(self, shape: Shape, text: bytes, line: int) -> bool:
        """Take the next event by its shape alone, if that is enough."""
        if self.waiting is not None:
            return False
        rule = self.rules.get(shape.key)
        if rule is None:
            return True
        if not rule["by_shape"] or not any(shape.names >= each.keys() for each in rule["metadata"]):
            return False
        if rule.get("count") == "one" and not shape.fixed:
            return False
        event = Event(line, float(text[shape.start : shape.end]), shape.key, shape.value, NONE)
        self._judge_order(event, rule)
        self._count(event, rule)
        return True

    def is_settled(self, key: str) -> bool:
        """Whether nothing depends on how many more such events there are, or when."""
        rule = self.rules.get(key)
        return rule is None or rule["settled_by_one"]

    def finish(self) -> list[Finding]:
        """Judge what only the whole log shows; gives all findings."""
        if self.waiting is not None:
            self._choose_rules()
        if not self.tallies:
            self._add("log.empty", f"no event of a {self.round_name} log")
        for key, rule in self.rules.items():
            tally = self.tallies.get(key, _Tally())
            self._judge_count(key, rule, tally)
            if "joined" in rule:
                tally.reached = self._judge_joined(key, rule)
            if tally.count and "reached" in rule and not tally.reached:
                self._add(f"{key}.reached", f"no value is {describe(rule['reached'])}", tally.line)
            if tally.count and "holds" in rule:
                self._judge_relation(key, rule["holds"], tally)
            if "tensors" in rule and tally.count:
                self._judge_tensors(key, rule)
        for keys in either(self.round_name):
            if not any(key in self.tallies for key in keys):
                self._add(f"{keys[0]}.count", f"no {' and no '.join(keys)}: one of them is required")
        self._compare()
        return list(self.findings.values())

    def _division(self) -> Any:
        """The log's own word, but for a log that is filed in the open division."""
        return "open" if self.filed.division == "open" else self.first.get(CHOICE[0])

    def _choosing(self) -> tuple[str, ...]:
        """The keys of CHOICE that matter; not all benchmarks have rules for each optimizer."""
        if not self.first.keys() >= {*CHOICE[:2]}:
            return CHOICE
        prefix = f"{self._division()}_{self.first[CHOICE[1]]}_"
        return CHOICE if any(name.startswith(prefix) for name in layers(self.round_name)) else CHOICE[:2]

    def _choose_rules_if_known(self) -> None:
        if self.waiting is not None and all(key in self.first for key in self._choosing()):
            self._choose_rules()

    def _choose_rules(self) -> None:
        self.rules = rules_of(self.round_name, self._division(), *(self.first.get(key) for key in CHOICE[1:]))
        waiting, self.waiting = self.waiting, None
        for each in waiting:
            self.unreadable(each) if isinstance(each, BadLine) else self.see(each)

    def _compare(self) -> None:
        """Compare the log's first values with where it is filed."""
        words = (self.first.get(key) for key in CHOICE[:2])
        logged, benchmark = (value if isinstance(value, str) else "" for value in words)
        if benchmark and self.filed.benchmark not in ("", benchmark):
            words = f"a log of {benchmark:.60} among those of {self.filed.benchmark}"
            self._add("submission_benchmark.alike", words)
        if logged and self.filed.division not in ("", division(logged)):
            words = f"{logged:.60}, but {self.filed.division} in the description"
            kind = {
                "severity": "warning" if self.filed.division == "open" else "error"
            }  # open is less strict
            self._add("submission_division.alike", words, rule=kind)

    def _judge(self, event: Event, rule: Mapping[str, Any]) -> None:
        """Written for speed, as is `_count`: logs have a thousand events each, of which nearly all are right."""
        if (value := rule.get("value")) and (wrong := problem(event.value, value)):
            self._broken(event, rule, "value", wrong)
        problems = [problem(event.metadata, {"fields": each}) for each in rule["metadata"]]
        if all(problems):
            self._broken(event, rule, "metadata", " and ".join(problems))
        self._judge_order(event, rule)
        for key, minutes in rule.get("within", NONE).items():
            if key in self.tallies and event.time_ms - self.tallies[key].time_ms >= minutes * 60_000:
                self._broken(event, rule, "within", f"comes {minutes} minutes or more after the first {key}")
        if (advice := rule.get("advice")) and (words := problem(event.value, advice)):
            self._broken(event, {"severity": "warning"}, "advice", words)
        self._count(event, rule)

    def _judge_order(self, event: Event, rule: Mapping[str, Any]) -> None:
        for key in rule.get("after", ()):
            if key not in self.tallies:
                self._broken(event, rule, "order", f"comes before {key}")
        for key in rule.get("before", ()):
            if key in self.tallies:
                self._broken(event, rule, "order", f"comes after {key}")

    def _broken(self, event: Event, rule: Mapping[str, Any], aspect: str, words: str) -> None:
        self._add(f"{event.key}.{aspect}", words, event.line, rule)

    def _count(self, event: Event, rule: Mapping[str, Any]) -> None:
        tally = self.tallies.get(event.key)
        if tally is None:
            tally = self.tallies[event.key] = _Tally(0, event.time_ms, event.value, event.line)
        tally.count += 1
        if event.time_ms < tally.time_ms:
            tally.time_ms = event.time_ms
        if tally.alike and event.value != tally.value:
            tally.alike = False
        if "joined" in rule:
            self._join(event, rule["joined"]["by"])
        elif not tally.reached:
            tally.reached = not problem(event.value, rule.get("reached", NONE))
        if "tensors" in rule:
            self.tensors[str(event.metadata.get("tensor"))] += 1

    def _judge_count(self, key: str, rule: Mapping[str, Any], tally: _Tally) -> None:
        if "count" in rule and not tally.count:
            self._add(f"{key}.count", "missing", None, rule)
        elif rule.get("count") == "one" and tally.count > 1:
            kind = {"severity": "warning"} if tally.alike else rule
            values = "with one value" if tally.alike else "with different values"
            self._add(f"{key}.count", f"stands {tally.count} times {values}, not once", tally.line, kind)

    def _join(self, event: Event, name: str) -> None:
        """Take one metric of a checkpoint, or (no `metric` is said) several."""
        if name in event.metadata and len(self.joined) < MOST_EVALUATIONS:
            metrics = self.joined.setdefault(str(event.metadata[name]), {})
            if "metric" in event.metadata:
                metrics[str(event.metadata["metric"])] = event.value
            elif isinstance(event.value, dict):
                metrics.update(event.value)

    def _judge_joined(self, key: str, rule: Mapping[str, Any]) -> bool:
        """Judge the checkpoints; gives whether one reached the target."""
        metrics, needed = rule["joined"]["metrics"], rule["joined"]["count"]
        if len(self.joined) < needed:
            self._add(f"{key}.count", f"{len(self.joined)} checkpoints, at least {needed} are required")
        for checkpoint, found in self.joined.items():
            if missing := [name for name in metrics if name not in found]:
                self._add(f"{key}.joined", f"no {missing[0]} of the checkpoint {checkpoint:.40}")
        return any(not problem(found, rule.get("reached", NONE)) for found in self.joined.values())

    def _judge_relation(self, key: str, expression: str, tally: _Tally) -> None:
        """Judge a value by those of other keys; where one of these is missing, that is said already."""
        others = {name: each.value for name, each in self.tallies.items()}
        if not holds(expression, tally.value, others):
            self._add(f"{key}.holds", f"{tally.value!r:.60} does not keep {expression}", tally.line)

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
