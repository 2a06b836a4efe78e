"""Shapes: a line that differs from a known one in digits alone is known; what it might hide is not."""

import pytest

from octathlon.scoring.logs import parse_line
from octathlon.scoring.shapes import DIGITS, Shapes

LINE = b'0: :::MLLOG {"time_ms": 1636000000123, "key": "x", "value": [1.5, 20], "metadata": {"lineno": 73, "epoch": 4}}'


def found(learned, text):
    shapes = Shapes()
    shapes.learn(learned, parse_line(learned, 1))
    return shapes.find(text.translate(DIGITS), text)


def test_a_line_with_other_digits_is_the_event_that_parsing_gives():
    other = LINE.replace(b"1636000000123", b"1712345678901").replace(b"20", b"97").replace(b"4}", b"8}")
    shape = found(LINE, other)
    assert shape.event(other, 7) == parse_line(other, 7)
    assert (shape.key, shape.names) == ("x", {"lineno", "epoch"})
    assert shape.time_ms(other) == 1712345678901


def test_the_content_is_all_but_the_time():
    later = LINE.replace(b"1636000000123", b"1636000099999")
    assert found(LINE, later).content(later) == found(LINE, LINE).content(LINE)
    other = LINE.replace(b"73", b"74")
    assert found(LINE, other).content(other) != found(LINE, LINE).content(LINE)


@pytest.mark.parametrize("old", [b"20", b"73", b"1636000000123"])
def test_a_needless_zero_is_no_number(old):
    """Its line has the outline of a good one, and is none: JSON has no such numbers."""
    damaged = LINE.replace(old, b"0" + old[1:])
    assert parse_line(damaged, 1) is None
    assert found(LINE, damaged) is None


@pytest.mark.parametrize(
    "text",
    [
        LINE.replace(b"0: ", b'{"time_ms": 1} '),  # whose time?
        LINE.replace(b'"x"', b'"x1"'),  # a name with a digit may be another one
        LINE.replace(b'"x"', b'"\\u0041"'),  # escapes hide what is meant
        LINE.replace(b"[1.5, 20]", b'{"value": 1}'),
        LINE.replace(b'"x"', b'"%b"' % (b"x" * 5000)),  # not worth its memory
    ],
)
def test_what_digits_may_change_the_meaning_of_is_not_learned(text):
    assert parse_line(text, 1) is not None
    assert found(text, text) is None
