"""The lines of a log that may hold wanted events, found by a search over bytes before anything is parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

BLOCK = 1 << 20
"""Bytes read at once; also the longest line that is read whole (real events stay below 4 KiB)."""
TAIL = 1 << 16
"""Bytes kept of a longer line: its last event, if it is one."""
USUAL = b'"key": "'
"""How mllog writes it; searched twice as fast as with any spaces."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line with a marker that is not an event as the format defines it."""

    line: int
    reason: str
    text: str
    key: str = ""
    """Of an event that stands in the line, damaged or before another one, which alone is read."""


Report = Callable[[BadLine], None]


@cache
def line_patterns(keys: frozenset[str]) -> dict[bytes, re.Pattern[bytes]]:
    """What finds the lines of `keys`, with the key as its group: one pattern a format.

    Each stands under the literal that it begins with: such a pattern is searched some ten times faster than
    one that is a choice between formats. The repetitions are bounded, so that no line can make the search
    quadratic.
    """
    names = b"|".join(re.escape(key).encode() for key in sorted(keys))
    return {
        USUAL: re.compile(rb'"key": "(%b)"' % names),
        b'"key"': re.compile(rb'"key"\s{0,9}:\s{0,9}"(%b)"' % names),
        b":::MLL ": re.compile(rb":::MLL [0-9.]{1,40} (%b):" % names),
        b":::MLPv": re.compile(rb":::MLPv[^\r\n]{0,500}\) (%b)\b" % names),
        b"MLPerf: ": re.compile(rb"MLPerf: [^\r\n]{0,100}\], (%b)\b" % names),
    }


def positions(patterns: dict[bytes, re.Pattern[bytes]], block: bytes) -> list[tuple[int, bytes]]:
    """Where in the block the wanted lines are, in order, with their keys; one position or more a line."""
    keys = block.count(b'"key"')
    needless = {b'"key"' if keys == block.count(USUAL) else USUAL}
    found = [pattern for literal, pattern in patterns.items() if literal in block and literal not in needless]
    return sorted((match.start(), match[1]) for pattern in found for match in pattern.finditer(block))


def blocks(file: BinaryIO, report: Report, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """Whole lines in blocks of about `size` bytes, each with the number of its first line."""
    line, rest = 1, b""
    while data := file.read(size):
        data = rest + data
        cut = data.rfind(b"\n") + 1 or data.rfind(b"\r") + 1
        block, rest = data[:cut], data[cut:]
        if len(rest) > BLOCK:
            report(BadLine(line + block.count(b"\n"), f"longer than {BLOCK} bytes: only its end is read", ""))
            rest = rest[-TAIL:]
        if block:
            yield line, block
            line += block.count(b"\n")
    if rest:
        yield line, rest


def line_bounds(block: bytes, position: int) -> tuple[int, int]:
    start = block.rfind(b"\n", 0, position) + 1
    start = max(start, block.rfind(b"\r", start, position) + 1)
    end = block.find(b"\n", position)
    end = len(block) if end < 0 else end
    carriage_return = block.find(b"\r", position, end)
    return start, end if carriage_return < 0 else carriage_return
