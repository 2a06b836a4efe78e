"""Lines that logs repeat but for the digits in them: parsed once, known again without parsing.

A log has a thousand events, and most differ from one before them in numbers only: times, steps, losses. All
lines of one shape (the line with every digit made equal) are events of the same key, with the same names in
their metadata, and as well-formed as the first was. That is all that most rules ask for.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from octathlon.scoring.logs import Event

MOST = 20_000
"""Shapes that are remembered; more are not worth their memory."""
DIGITS = bytes.maketrans(b"123456789", b"000000000")

_TIME = re.compile(rb'"time_ms": (\d{1,14})[,}]')
_CLOSE = re.compile(rb"[:,][\d-]")
_DIGIT = re.compile(r"\d")
_LEADING = re.compile(rb"[ \[-]0\d")


def leading_zero(text: bytes) -> bool:
    """Whether a number may begin with a needless zero, which is no JSON, and not seen in the shape."""
    return (b" 0" in text or b"-0" in text or b"[0" in text) and _LEADING.search(text) is not None


class Shape(NamedTuple):
    """What all events of a shape have in common."""

    key: str
    start: int
    """Where in the line the digits of the time begin."""
    end: int
    value: Any
    fixed: bool
    """Whether they all have that value."""
    names: frozenset[str]
    """Those in the metadata."""


class Shapes:
    """The shapes seen so far."""

    def __init__(self) -> None:
        self._known: dict[bytes, Shape] = {}

    def find(self, outline: bytes, text: bytes) -> Shape | None:
        """The shape of a line, and its text with DIGITS made equal; None if no such line was learned."""
        shape = self._known.get(outline)
        return None if shape is None or leading_zero(text) else shape

    def learn(self, text: bytes, event: Event) -> None:
        """Remember the shape of a line that is one plain event."""
        times = _TIME.findall(text)
        names = frozenset(event.metadata)
        if (
            len(times) != 1
            or text.count(b'"time_ms"') != 1
            or text.count(b'"metadata": {') != 1
            or text.count(b'"value": ') != 1
            or b"\\" in text
            or _CLOSE.search(text)
            or any(_DIGIT.search(name) for name in (event.key, *names))
            or len(self._known) >= MOST
        ):
            return
        match = _TIME.search(text)
        fixed = not _DIGIT.search(repr(event.value))
        self._known[text.translate(DIGITS)] = Shape(event.key, *match.span(1), event.value, fixed, names)
