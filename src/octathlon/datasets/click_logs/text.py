"""The upstream text: gzipped lines of 40 fields between tabs, read in large pieces.

Fields: label (0 or 1), 13 decimal integers, 26 hashes in hexadecimal; any but the label may be empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np

from octathlon.datasets.ahead import ahead
from octathlon.datasets.click_logs.rows import COLUMNS, DTYPE, FIRST_CATEGORY
from octathlon.errors import OctathlonError
from octathlon.formats.gzips import open_gzip

PIECE = 16 << 20
"""Bytes of text in memory at a time, some 65,000 rows; larger pieces are no faster (measured)."""
AHEAD = 2
"""Pieces that a thread unpacks before they are parsed, which takes longer."""
DAY_LIMIT = 200 << 30
"""No day unpacks to more; upstream's have some 50 GB."""
SHORTEST_ROW = len("0\n") + COLUMNS - 1
"""Bytes, where all fields but the label are empty."""
DIGITS, HEXADECIMAL_DIGITS = 10, 8
"""No field has more."""

LABEL = re.compile(rb"[01]")
INTEGER = re.compile(rb"(-?[0-9]{1,10})?")
HASH = re.compile(rb"[0-9a-fA-F]{0,8}")
TAB, LINE_FEED, MINUS, ZERO, NINE = b"\t\n-09"
VALUES = np.full(256, 16, np.uint8)
"""Of the characters that are hexadecimal digits."""
for _digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
    VALUES[list(_digits)] = range(16)
kernel = numba.njit(cache=True, no_cfunc_wrapper=True, nogil=True)


def read_day(path: Path, max_ind_range: int, piece: int = PIECE) -> Iterator[np.ndarray]:
    """The rows of a day in order, some at a time: int32 of shape (N, 40).

    Missing and negative integers are 0; hashes are taken modulo `max_ind_range`, and a missing one is the value 0,
    which is a value like any other.

    Raises:
        OctathlonError: naming the row (1-based), if it is not of that format, or if the file is damaged.
    """
    first = 1
    for text in ahead(_pieces(path, piece), AHEAD):
        rows = np.empty((len(text) // SHORTEST_ROW + 1, COLUMNS), DTYPE)
        count, place = _parse(text, VALUES, max_ind_range, rows)
        if place < len(text):
            problem = _problem(bytes(text[place:]).partition(b"\n")[0])
            raise OctathlonError(
                f"{path}: row {first + count:,} has {problem}; use the archive as it is published"
            )
        yield rows[:count]
        first += count


def _pieces(path: Path, piece: int) -> Iterator[np.ndarray]:
    """The text in pieces that end with a line, uint8; a missing last line feed is added."""
    buffer = bytearray(3 * piece + 1)
    kept = 0
    with open_gzip(path, DAY_LIMIT) as stream:
        while count := stream.readinto(memoryview(buffer)[kept : kept + piece]):
            end = buffer.rfind(b"\n", kept, kept + count) + 1
            if end:
                yield np.frombuffer(buffer, np.uint8, end).copy()
            buffer[: kept + count - end] = buffer[end : kept + count]
            kept += count - end
            if kept > 2 * piece:
                raise OctathlonError(f"{path}: not lines of text; fetch it again")
    if kept:
        buffer[kept] = LINE_FEED
        yield np.frombuffer(buffer, np.uint8, kept + 1)


@kernel
def _parse(text: np.ndarray, values: np.ndarray, modulus: int, rows: np.ndarray) -> tuple[int, int]:
    """Fill `rows` with those of a text that ends with a line feed.

    Returns how many there are before the first that is none, and where that begins: else, where the text ends.
    """
    count = start = 0
    while start < len(text):
        place = start + 1
        sound = ZERO <= text[start] <= ZERO + 1 and text[place] == TAB
        rows[count, 0] = text[start] == ZERO + 1
        for column in range(1, COLUMNS):
            if sound:
                read = (
                    _integer(text, place + 1) if column < FIRST_CATEGORY else _hash(text, place + 1, values)
                )
                place, value, sound = read
                sound &= text[place] == (TAB if column < COLUMNS - 1 else LINE_FEED)
                if sound:
                    rows[count, column] = value % modulus if column >= FIRST_CATEGORY else value
        if not sound:
            break
        start = place + 1
        count += 1
    return count, start


@kernel
def _integer(text: np.ndarray, place: int) -> tuple[int, int, bool]:
    """Where a decimal number ends, what it is, but 0 if it is negative or empty, and whether it has 32 bits."""
    negative = text[place] == MINUS
    first = place = place + negative
    value = 0
    while ZERO <= text[place] <= NINE:
        value = value * 10 + int(text[place]) - ZERO
        place += 1
    sound = place - first <= DIGITS and value < 2**31 + negative and place >= first + negative
    return place, 0 if negative else value, sound


@kernel
def _hash(text: np.ndarray, place: int, values: np.ndarray) -> tuple[int, int, bool]:
    """The same of a hexadecimal number of up to 8 digits."""
    first, value = place, 0
    while values[text[place]] < 16:
        value = value << 4 | int(values[text[place]])
        place += 1
    return place, value, place - first <= HEXADECIMAL_DIGITS


def _problem(row: bytes) -> str:
    """What keeps a row from being one."""
    if (columns := row.count(b"\t") + 1) != COLUMNS:
        return f"{columns:,} columns instead of {COLUMNS}"
    label, *fields = row.split(b"\t")
    integers, hashes = fields[: FIRST_CATEGORY - 1], fields[FIRST_CATEGORY - 1 :]
    if not LABEL.fullmatch(label):
        return f"the label {_short(label)} instead of 0 or 1"
    for number, field in enumerate(integers, start=2):
        if not INTEGER.fullmatch(field) or not -(2**31) <= int(field or 0) < 2**31:
            return f"{_short(field)} in column {number}, which should be an integer of 32 bits or empty"
    number, field = next(
        (number, field)
        for number, field in enumerate(hashes, start=FIRST_CATEGORY + 1)
        if not HASH.fullmatch(field)
    )
    return f"{_short(field)} in column {number}, which should be up to 8 hexadecimal digits or empty"


def _short(field: bytes) -> str:
    return repr(field[:20].decode("ascii", "replace"))
