"""Events out of training logs, in every format of the rounds v0.5 to v1.1.

| round | line |
|---|---|
| v0.7 and later | `:::MLLOG {"time_ms": 1, "key": "run_start", "value": null, "metadata": {...}}` |
| v0.6 | `:::MLL 1.234 run_start: {"value": null, "metadata": {...}}` |
| v0.5 | `:::MLPv0.5.0 resnet 1.234 (train.py:10) run_stop: {"success": true}` |
| v0.6, one submission | `MLPerf: resnet [06/13/19 00:30:56], run_start` |

All give the same `Event`. Logs are whatever a terminal caught: the marker may stand anywhere in a line,
several processes may have written into one line (the last marker counts, as in mlperf-logging's parser), and
progress bars end lines with a bare carriage return. A file is read in blocks, so memory does not grow with
it, and a search over bytes finds the wanted lines before anything is parsed.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from octathlon.errors import OctathlonError
from octathlon.scoring.lines import (
    BLOCK,
    TAIL,
    BadLine,
    Report,
    blocks,
    line_bounds,
    line_patterns,
    positions,
)

DEEPEST = 100
"""Levels of lists and objects in an event; deeper ones exhaust the stack of whoever prints or compares them."""
LATEST = 1e14
"""Milliseconds since the Unix epoch, in the year 5138: no log is later."""
UNSTATED = object()
"""The status of a run_stop in a format that has no word for it; told apart by identity: no log can forge
it."""

MLLOG = b":::MLLOG "

_V06 = re.compile(r":::MLL (?P<seconds>[0-9.]+) (?P<key>\w+): (?P<json>.*)", re.ASCII)
_V05 = re.compile(
    r":::MLPv0\.5\.0 \S+ (?P<seconds>[0-9.]+) \((?P<file>.*?):(?P<lineno>\d+)\) (?P<key>\w+)"
    r"(?::(?P<json>.*))?",
    re.ASCII,
)
_BARE = re.compile(r"MLPerf: \S+ \[(?P<date>[^\]]+)\], (?P<key>\w+)(?::(?P<json>.*))?", re.ASCII)
_PERCENT = re.compile(r"([0-9.]+)%")


class Event(NamedTuple):
    """One event, whatever the format. `metadata` holds `epoch_num` and, for run_stop, `status`, in all of
    them."""

    line: int
    """Line of the file, counted from 1."""
    time_ms: float
    """Milliseconds since the Unix epoch."""
    key: str
    value: Any
    metadata: dict[str, Any]
    marker: str = ":::MLLOG"
    """What its line begins with, which tells the format."""


def _ignore(_line: BadLine) -> None:
    pass


def read_events(
    path: Path,
    keys: Iterable[str] | None = None,
    report: Report = _ignore,
    once: Iterable[str] = (),
    size: int = BLOCK,
) -> Iterator[Event]:
    """The events of a log, in file order.

    Args:
        path: the log.
        keys: give only these events, see `Search`; default: all.
        report: is called with each line that has a marker and is not quite an event.
        once: of these `keys`, give only the first event.
        size: how many bytes are read at once.

    Raises:
        OctathlonError: if the file cannot be read.
    """
    search = None if keys is None else Search(keys, report, once)
    for line, block in read_blocks(path, report, size):
        if search is not None:
            yield from search.events(block, line)
            continue
        for number, text in marked_lines(block, line):
            if (event := parse_line(text, number, report)) is not None:
                yield event


def read_blocks(path: Path, report: Report, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """Whole lines of a log in blocks, each with the number of its first line.

    Raises:
        OctathlonError: if the file cannot be read.
    """
    try:
        if not path.is_file():
            raise OctathlonError(f"{path}: not a regular file; give a log")
        with path.open("rb", buffering=0) as file:
            yield from blocks(file, report, size)
    except OSError as error:
        raise OctathlonError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


class Search:
    """Finds the events of certain keys in the blocks of one log; no other line is parsed.

    Args:
        keys: give only these events.
        report: is called with each of their lines that is not quite an event. A line that is readable all the
            same (a Python dictionary where JSON belongs) is reported and given.
        once: of these `keys`, give only the first event (ranks repeat them a thousand times).
    """

    def __init__(self, keys: Iterable[str], report: Report, once: Iterable[str] = ()) -> None:
        self._report = report
        self._once = frozenset(once)
        self.wanted = set(keys)
        """The keys of which the next event is to be given."""
        self._patterns = line_patterns(frozenset(keys))

    def takes(self, key: str) -> bool:
        """Whether an event is wanted that was found without this search; it counts as given then."""
        wanted = key in self.wanted
        if wanted and key in self._once:
            self.wanted.discard(key)
        return wanted

    def events(self, block: bytes, line: int) -> Iterator[Event]:
        """The events in whole lines, of which the first is number `line`."""
        counted = end = 0
        for position, found in positions(self._patterns, block):
            key = found.decode()
            if position < end or key not in self.wanted:
                continue
            start, end = line_bounds(block, position)
            line += block.count(b"\n", counted, start)
            counted = start
            event = parse_line(block[start:end], line, self._report)
            if event is None or event.key != key:
                self._report(BadLine(line, "lost", "", key))
            if event is not None and event.key in self.wanted:
                yield event
                if key in self._once and event.key == key:
                    self.wanted.discard(key)


def marked_lines(block: bytes, line: int) -> Iterator[tuple[int, bytes]]:
    """The lines with a marker among whole lines, of which the first is number `line`, each with its number."""
    bare = b"MLPerf: " in block
    for number, whole in enumerate(block.split(b"\n"), line):
        if b":::ML" in whole or (bare and b"MLPerf: " in whole):
            if b"\r" not in whole[:-1]:
                yield number, whole
                continue
            for text in whole.split(b"\r"):
                if b":::ML" in text or b"MLPerf: " in text:
                    yield number, text


def parse_line(line: bytes, number: int, report: Report = _ignore) -> Event | None:
    """The event of a line (without its end); None, and a report, where the text after the marker is none."""
    start = line.rfind(b":::ML")
    if start < 0:
        start = line.rfind(b"MLPerf: ")
    if start < 0:
        return None
    text = line[start:].strip()
    try:
        parse = _parse_mllog if text.startswith(MLLOG) else _parse_older
        event = parse(text, number, report)
        if text.count(b"[") + text.count(b"{") > DEEPEST and event is not None:
            _refuse_depth([event.value, event.metadata])
        return event
    except (
        ValueError,
        TypeError,
        KeyError,
        ArithmeticError,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        report(BadLine(number, reason, text[:200].decode(errors="replace")))
        return None


def _refuse_depth(level: list[Any]) -> None:
    for _ in range(DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {DEEPEST} levels")


def _parse_mllog(line: bytes, number: int, report: Report) -> Event | None:
    text = line.removeprefix(MLLOG)
    try:
        fields = orjson.loads(text)
    except ValueError:  # NaN and Infinity are allowed in a log, but not in JSON
        fields = _loads(text.decode(errors="replace"), number, report)
    if type(fields) is not dict or type(fields["key"]) is not str:
        raise ValueError("not an object with a key")
    time_ms, metadata = fields.get("time_ms"), fields.get("metadata")
    if type(time_ms) is int and 0 <= time_ms < LATEST and type(metadata) is dict and "value" in fields:
        return Event(number, float(time_ms), fields["key"], fields["value"], metadata)
    if "time_ms" not in fields and "time_s" in fields:
        fields["time_ms"] = float(fields["time_s"]) * 1000
    for name in ("value", "metadata"):
        if name not in fields:
            report(BadLine(number, f"no {name}", text[:200].decode(errors="replace")))
    return Event(
        number,
        _time(fields["time_ms"]),
        fields["key"],
        fields.get("value"),
        _mapping(fields.get("metadata")),
    )


def _parse_older(line: bytes, number: int, report: Report) -> Event | None:
    text = line.decode(errors="replace")
    if match := _V06.match(text):
        fields = _loads(match["json"], number, report)
        metadata = _mapping(fields.get("metadata"))
        return Event(number, _milliseconds(match), match["key"], fields["value"], metadata, ":::MLL")
    if match := _V05.match(text):
        metadata = {"file": match["file"], "lineno": int(match["lineno"])}
        return _v05_event(match, _milliseconds(match), metadata, number, report)
    if match := _BARE.fullmatch(text):
        time = datetime.strptime(match["date"], "%m/%d/%y %H:%M:%S").replace(tzinfo=UTC)
        return _v05_event(match, time.timestamp() * 1000, {}, number, report)
    if text.startswith("MLPerf: "):
        return None
    raise ValueError("not an event of a known format")


def _v05_event(
    match: re.Match[str], time_ms: float, metadata: dict[str, Any], number: int, report: Report
) -> Event:
    """An event without metadata: what later rounds keep there stands in its value."""
    text = (match["json"] or "").strip()
    value = _scalar_or_object(text, number, report) if text else None
    if match["key"] == "eval_accuracy" and isinstance(value, dict):
        metadata["epoch_num"] = value.get("epoch")
        value = value.get("value")
    if match["key"] == "run_stop":
        metadata["status"] = _v05_status(value)
    marker = ":::MLPv0.5.0" if "file" in metadata else "MLPerf:"
    return Event(number, time_ms, match["key"], value, metadata, marker)


def _v05_status(value: Any) -> Any:
    if not isinstance(value, dict) or "success" not in value:
        return UNSTATED
    return "success" if str(value["success"]).lower() == "true" else "aborted"


def _scalar_or_object(text: str, number: int, report: Report) -> Any:
    """The JSON of a v0.5 line; a bare word is itself."""
    percent = _PERCENT.sub(lambda match: str(float(match[1]) / 100), text)
    return _loads(percent, number, report) if text[0] in '{["' else _number(text)


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _loads(text: str, number: int, report: Report) -> Any:
    """JSON, or (reported) a Python literal in its place, as some v0.6 and v0.7 logs have it."""
    try:
        return json.loads(text)
    except ValueError as error:
        if "'" not in text or len(text) > TAIL:
            raise
        value = _literal(text)
        report(BadLine(number, f"not JSON ({error}); read as a Python literal", text[:200]))
        return value


def _literal(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(_JsonNames().visit(ast.parse(text, mode="eval")))


class _JsonNames(ast.NodeTransformer):
    """JSON's names as Python's constants, so that half-JSON is a literal."""

    CONSTANTS = {"null": None, "true": True, "false": False, "NaN": math.nan, "Infinity": math.inf}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(self.CONSTANTS[node.id]) if node.id in self.CONSTANTS else node


def _milliseconds(match: re.Match[str]) -> float:
    return _time(float(Decimal(match["seconds"]) * 1000))


def _time(value: Any) -> float:
    """A time in milliseconds as a float: a number or a numeric string."""
    time = float(value) if type(value) in (int, float, str) else math.nan
    if not 0 <= time < LATEST:
        raise ValueError("its time is not a number of milliseconds since 1970")
    return time


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
