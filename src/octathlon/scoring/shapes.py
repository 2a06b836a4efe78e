"""Lines that logs repeat but for the digits in them: parsed once, known again without parsing.

A log has a thousand events, and most differ from one before them in numbers only: times, steps, losses. All
lines of one shape (the line with every digit made equal) are events of the same key, with the same names in
their metadata, and as well-formed as the first was, unless a number begins with a needless zero, which is no
JSON: each of them is looked at for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from octathlon.scoring.logs import MLLOG, Event
from octathlon.scoring.throughput import rate_places

MOST = 20_000
"""Shapes that are remembered; more are not worth their memory."""
LONGEST = 4096
"""Bytes of a line whose shape is remembered; real events are shorter."""
DIGITS = bytes.maketrans(b"123456789", b"000000000")
ZERO = ord("0")

_TIME = re.compile(rb'"time_ms": (\d{1,14})[,}]')
_CLOSE = re.compile(rb"[:,][\d-]")
_DIGIT = re.compile(r"\d")
_LONG = re.compile(rb"[ \[-](?=0\d)")

Firsts = Callable[[bytes], Any]
"""The first digits of the numbers in a line that have several: ZERO among them is a needless one."""


class Shape(NamedTuple):
    """What all events of a shape have in common."""

    key: str
    start: int
    """Where in the line the digits of the time begin."""
    end: int
    object: int
    """Where the JSON begins."""
    names: frozenset[str]
    """Those in the metadata."""
    firsts: Firsts
    rates: tuple[slice, ...]
    """Where throughputs stand."""

    def time_ms(self, text: bytes) -> float:
        """That of an event of this shape."""
        return float(text[self.start : self.end])

    def sound(self, text: bytes) -> bool:
        """Whether a line with the outline of this shape is of it: no number begins with a needless zero."""
        return ZERO not in self.firsts(text)

    def content(self, text: bytes) -> bytes:
        """All of an event of this shape but its time."""
        return text[: self.start] + text[self.end :]

    def event(self, text: bytes, line: int) -> Event:
        """The event in a line of this shape.

        Raises:
            ValueError: if it has a number that is none in JSON.
        """
        fields = orjson.loads(text[self.object :])
        return Event(line, self.time_ms(text), self.key, fields["value"], fields["metadata"])


class Shapes:
    """The shapes seen so far."""

    def __init__(self) -> None:
        self._known: dict[bytes, Shape] = {}

    def find(self, outline: bytes, text: bytes) -> Shape | None:
        """The shape of a line, and its text with DIGITS made equal; None if no such line was learned."""
        shape = self._known.get(outline)
        return shape if shape is not None and shape.sound(text) else None

    def learn(self, text: bytes, event: Event) -> None:
        """Remember the shape of a line that is one plain event."""
        times = _TIME.findall(text)
        names = frozenset(event.metadata)
        if (
            len(text) > LONGEST
            or len(times) != 1
            or text.count(b'"time_ms"') != 1
            or text.count(b'"metadata": {') != 1
            or text.count(b'"value": ') != 1
            or b"\\" in text
            or _CLOSE.search(text)
            or any(_DIGIT.search(name) for name in (event.key, *names))
            or len(self._known) >= MOST
        ):
            return
        outline = text.translate(DIGITS)
        time, start = _TIME.search(text).span(1), text.rfind(MLLOG) + len(MLLOG)
        self._known[outline] = Shape(
            event.key, *time, start, names, _firsts(outline), tuple(rate_places(text))
        )


def _firsts(outline: bytes) -> Firsts:
    places = [match.end() for match in _LONG.finditer(outline)]
    return itemgetter(*places, places[0]) if places else itemgetter(slice(0))
