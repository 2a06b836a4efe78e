"""One log against the rules of its round, event by event; `compliance` says which rules these are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring.compliance import Filed, RuleSet, either, layers, rules_of, waive
from octathlon.scoring.constraints import describe, fits_one, holds, keeps, problem
from octathlon.scoring.descriptions import division
from octathlon.scoring.findings import Finding
from octathlon.scoring.lines import line_bounds
from octathlon.scoring.logs import MLLOG, BadLine, Event, marked_lines, parse_line, read_blocks
from octathlon.scoring.runs import KEYS, MOST_EVALUATIONS, Log, Recorder
from octathlon.scoring.shapes import DIGITS, Shape, Shapes

CHOICE = ("submission_division", "submission_benchmark", "opt_name")
"""The first values of these keys choose the rules of a log."""
LATEST_CHOICE = 100_000
"""Events after which the rules are chosen, whatever is known, so that memory does not grow with the log."""

MARKER = ":::MLLOG"
NONE: Mapping[str, Any] = {}
BLANK = Event(0, 0.0, "", None, {})
"""An event of which a rule asks only that there is one with certain names in its metadata."""
Shortcut = Callable[[bytes], bool]
"""Takes a line of an outline that was seen before; gives whether that was all that is needed of it."""
UNFILED = Filed()
NO_RULES = RuleSet({})
"""Until they are known."""
_SHAPES = Shapes()
"""Of all logs that this process reads."""


def check_log(path: Path, round_name: str, filed: Filed = UNFILED) -> list[Finding]:
    """What breaks the rules of a round in a log, errors first. Never raises: a file that cannot be read is a
    finding."""
    return read_and_check(path, round_name, filed)[1]


def read_and_check(path: Path, round_name: str, filed: Filed) -> tuple[Log, list[Finding]]:
    """What scoring needs of a log, and what breaks the rules of a round in it, in one reading."""
    reading = _Reading(path, round_name, filed)
    log = reading.recorder.log
    try:
        reading.checker.look_ahead(path)
        for line, block in read_blocks(path, reading.report):
            reading.read(block, line)
    except OctathlonError as error:
        log.unreadable = str(error)
        return log, [Finding("error", "log.file", str(error))]
    found = [waive(finding, round_name, filed.entry) for finding in reading.checker.finish(log.resumed)]
    return log, sorted(found, key=lambda finding: finding.severity)


class _Reading:
    """One reading of a log for two: the recorder, and the checker. Lines that neither needs are passed over."""

    def __init__(self, path: Path, round_name: str, filed: Filed) -> None:
        self.recorder = Recorder(path)
        self.checker = Checker(round_name, filed)
        self.shortcuts: dict[bytes, Shortcut] = {}
        """Those of outlines in this log."""

    def report(self, bad: BadLine) -> None:
        """Take a line that is not quite an event."""
        self.recorder.report(bad)
        self.checker.unreadable(bad)

    def read(self, block: bytes, line: int) -> None:
        """Take whole lines, of which the first is number `line`."""
        shortcuts, ignored, bare = self.shortcuts, self.checker.rules.ignored, b"MLPerf: " in block
        # readlines searches ends of lines faster than split does
        outlines, texts = (BytesIO(each).readlines() for each in (block.translate(DIGITS), block))
        for number, (outline, text) in enumerate(zip(outlines, texts, strict=True), line):
            shortcut = ignored.get(outline) or shortcuts.get(outline)
            if shortcut is not None and shortcut(text):
                continue
            if b":::ML" not in text and not (bare and b"MLPerf: " in text):
                continue
            self.recorder.measure(text)
            if b"\r" in text and b"\r" in text.removesuffix(b"\n")[:-1]:
                for _, part in marked_lines(text, number):
                    self._take(part.translate(DIGITS), part, number)
            else:
                self._take(outline, text, number)

    def _take(self, outline: bytes, text: bytes, number: int) -> None:
        """Take one line with a marker."""
        shape = _SHAPES.find(outline, text)
        if shape is None:
            self._parse(text, number)
            return
        if shape.key in self.recorder.wanted or not self.checker.pass_over(shape, text, number):
            self._take_whole(shape, text, number)
        if outline in self.shortcuts or shape.key in self.recorder.wanted:
            return
        if (shortcut := self.checker.shortcut(shape)) is not None:
            ignored = not (shape.rates or shape.key in KEYS or shape.key in self.checker.rules.by_key)
            shortcuts = self.checker.rules.ignored if ignored else self.shortcuts
            shortcuts[outline] = self._measuring(shortcut, shape.rates) if shape.rates else shortcut

    def _measuring(self, shortcut: Shortcut, places: Sequence[slice]) -> Shortcut:
        """A shortcut that takes the throughputs of the lines that it passes over."""

        def passes_over(text: bytes) -> bool:
            if not shortcut(text):
                return False
            self.recorder.measure(text, places)
            return True

        return passes_over

    def _take_whole(self, shape: Shape, text: bytes, number: int) -> None:
        """Take a line of a known shape with its values."""
        try:
            event = shape.event(text, number)
        except ValueError:  # NaN, or a number that is none
            self._parse(text, number)
            return
        if self.checker.see(event):
            self.checker.rules.remember(shape.content(text), event)
        self.recorder.see(event)

    def _parse(self, text: bytes, number: int) -> None:
        """Parse a line; one that is damaged or has several keys in it may hide events that a search sees otherwise."""
        problems: list[BadLine] = []
        event = parse_line(text, number, problems.append)
        for each in problems if MLLOG in text else ():  # the official parser sees no other lines
            self.checker.unreadable(each)
        if event is not None:
            self.checker.see(event)
        if problems or event is None or event.marker != MARKER or text.count(b'"key"') != 1:
            self.recorder.search(text, number)
            return
        self.recorder.see(event)
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
    rules: RuleSet = NO_RULES
    findings: dict[str, Finding] = field(default_factory=dict)
    tallies: dict[str, _Tally] = field(default_factory=dict)
    tensors: Counter[str] = field(default_factory=Counter)
    joined: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Checkpoint -> metric -> value, where each metric is an event of its own."""

    def look_ahead(self, path: Path) -> None:
        """Find the values that choose the rules, so that no events wait for them.

        Raises:
            OctathlonError: if the file cannot be read.
        """
        for _, block in read_blocks(path, lambda _bad: None):
            for key in CHOICE:
                if key not in self.first and (position := block.find(b'"key": "%b"' % key.encode())) >= 0:
                    start, end = line_bounds(block, position)
                    event = parse_line(block[start:end], 0)
                    if event is not None and event.key == key:
                        self.first[key] = event.value
            self._choose_rules_if_known()
            if self.waiting is None:
                return

    def unreadable(self, bad: BadLine) -> None:
        """Take a line that has a log token and is no proper event."""
        if self.waiting is None:
            self._add("log.format", f"not an event: {bad.reason}", bad.line)
        else:
            self.waiting.append(bad)

    def see(self, event: Event) -> bool:
        """Take the next event; gives whether another one with this content needs no judgement but when it is."""
        if self.waiting is None:
            rule = self.rules.by_key.get(event.key)
            return rule is not None and self._judge(event, rule) and rule["by_content"]
        self.waiting.append(event)
        if event.key in CHOICE:
            self.first.setdefault(event.key, event.value)
            self._choose_rules_if_known()
        elif len(self.waiting) >= LATEST_CHOICE:
            self._choose_rules()
        return False

    def pass_over(self, shape: Shape, text: bytes, line: int) -> bool:
        """Take the next event by its shape, or because its content is known to be right, if that is enough."""
        if self.waiting is not None:
            return False
        rule = self.rules.by_key.get(shape.key)
        if rule is None:
            return True
        if rule["by_shape"]:
            known = BLANK if _has_names(shape, rule) else None
        else:
            known = self.rules.right.get(shape.content(text)) if rule["by_content"] else None
        if known is None:
            return False
        self._take(known._replace(line=line, time_ms=shape.time_ms(text), key=shape.key), rule)
        return True

    def shortcut(self, shape: Shape) -> Shortcut | None:
        """What passes over more lines with the outline of an event that was seen; None: each is to be looked at."""
        rule, tally = self.rules.by_key.get(shape.key), self.tallies.get(shape.key)
        if self.waiting is not None:
            return None
        if rule is None:
            return shape.sound
        known_shape = rule["by_shape"] and _has_names(shape, rule)
        if tally is None or not rule["repeats"] or not (known_shape or rule["by_content"]):
            return None
        if known_shape and not rule["counted"]:
            return shape.sound
        return self._counting(shape, rule, tally, known_shape)

    def _counting(self, shape: Shape, rule: Mapping[str, Any], tally: _Tally, known_shape: bool) -> Shortcut:
        """A shortcut that keeps what later judgements need of the lines that it passes over."""
        right, tallies, tensors = self.rules.right, self.tallies, self.tensors
        before, timed, with_tensors = rule.get("before", ()), rule["timed"], "tensors" in rule

        def passes_over(text: bytes) -> bool:
            known = BLANK if known_shape else right.get(shape.content(text))
            if known is None or not shape.sound(text) or not tallies.keys().isdisjoint(before):
                return False
            if timed:
                tally.time_ms = min(tally.time_ms, shape.time_ms(text))
            if with_tensors:
                tensors[str(known.metadata.get("tensor"))] += 1
            return True

        return passes_over

    def finish(self, resumed: bool = False) -> list[Finding]:
        """Judge what only the whole log shows; gives all findings.

        Args:
            resumed: whether the run was interrupted, which a closed one may not be.
        """
        if self.waiting is not None:
            self._choose_rules()
        if not self.tallies:
            self._add("log.empty", f"no event of a {self.round_name} log")
        for key, rule in self.rules.by_key.items():
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
        if resumed:
            severity = "error" if division(str(self._division())) == "closed" else "warning"
            words = "interrupted, and resumed from a checkpoint"
            self._add("run.resumed", words, rule={"severity": severity})
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

    def _judge(self, event: Event, rule: Mapping[str, Any]) -> bool:
        """Take an event; gives whether its content is right."""
        wrong = "value" in rule and not keeps(event.value, rule["value"])
        if wrong:
            self._broken(event, rule, "value", problem(event.value, rule["value"]))
        misfit = not fits_one(event.metadata, rule["metadata"])
        if misfit:
            words = (problem(event.metadata, {"fields": each}) for each in rule["metadata"])
            self._broken(event, rule, "metadata", " and ".join(words))
        for key, minutes in rule.get("within", NONE).items():
            if key in self.tallies and event.time_ms - self.tallies[key].time_ms >= minutes * 60_000:
                self._broken(event, rule, "within", f"comes {minutes} minutes or more after the first {key}")
        ill_advised = "advice" in rule and not keeps(event.value, rule["advice"])
        if ill_advised:
            words = problem(event.value, rule["advice"])
            self._broken(event, {"severity": "warning"}, "advice", words)
        self._take(event, rule)
        return not (wrong or misfit or ill_advised)

    def _take(self, event: Event, rule: Mapping[str, Any]) -> None:
        """Judge when an event comes, and count it."""
        if rule["ordered"]:
            self._judge_order(event, rule)
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
            tally.reached = keeps(event.value, rule.get("reached", NONE))
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
        return any(keeps(found, rule.get("reached", NONE)) for found in self.joined.values())

    def _judge_relation(self, key: str, expression: str, tally: _Tally) -> None:
        """Judge a value by those of other keys; where one of these is missing, that is said already."""
        others = {name: each.value for name, each in self.tallies.items()}
        if not holds(expression, tally.value, others):
            self._add(f"{key}.holds", f"{tally.value!r:.60} does not keep {expression}", tally.line)

    def _judge_tensors(self, key: str, rule: Mapping[str, Any]) -> None:
        wanted = rule["tensors"]
        if dict(self.tensors) != dict(wanted):
            missing, extra = wanted - self.tensors, self.tensors - wanted
            example = next(iter(missing or extra))
            words = f"{missing.total()} tensors missing, {extra.total()} too many, e.g. {example}"
            self._add(f"{key}.tensors", words, None, rule)

    def _add(
        self, name: str, words: str, line: int | None = None, rule: Mapping[str, Any] | None = None
    ) -> None:
        severity = (rule or {}).get("severity", "error")
        self.findings.setdefault(name, Finding(severity, name, words, line))


def _has_names(shape: Shape, rule: Mapping[str, Any]) -> bool:
    """Whether the metadata of a shape's events have the names that a rule asks for."""
    return any(map(shape.names.issuperset, rule["names"]))
