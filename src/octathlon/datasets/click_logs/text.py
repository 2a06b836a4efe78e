"""The upstream text: gzipped lines of 40 fields between tabs, read in large pieces.

Fields: label (0 or 1), 13 decimal integers, 26 hashes in hexadecimal; any but the label may be empty. Each
piece is parsed by polars; only when that fails, or its result doesn't add up, are its lines looked at one
by one, to name the row. Polars takes memory for each field: it gets no piece whose rows aren't of the right
size and number of fields.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from octathlon.datasets.click_logs.rows import COLUMNS, FIRST_CATEGORY
from octathlon.errors import OctathlonError
from octathlon.formats.gzips import open_gzip

PIECE = 16 << 20
"""Bytes of text in memory at a time, some 65,000 rows; larger pieces are no faster (measured)."""
PART = 4 << 20
"""Bytes of it that are parsed at once. Where all fields are empty, it has six times as many rows as real text, and
polars takes memory for each field."""
DAY_LIMIT = 200 << 30
"""No day unpacks to more; upstream's have some 50 GB."""
NAMES = [f"c{number}" for number in range(COLUMNS)]
SCHEMA = {name: pl.Int32 if number < FIRST_CATEGORY else pl.String for number, name in enumerate(NAMES)}
ROW_LIMIT = 1 + (FIRST_CATEGORY - 1) * 11 + (COLUMNS - FIRST_CATEGORY) * 8 + COLUMNS
"""Bytes of the longest row, its line end included."""
LENIENT = (b"+", b" ", b"\r")
"""What polars takes in numbers or between lines, but no archive has."""

LABEL = re.compile(rb"[01]")
INTEGER = re.compile(rb"-?[0-9]{1,10}")
HASH = re.compile(rb"([0-9a-fA-F]{1,8})?")
SOUND = re.compile(
    rb"[01](?:\t(?:-?[0-9]{1,9})?){%d}(?:\t[0-9a-fA-F]{0,8}){%d}"
    % (FIRST_CATEGORY - 1, COLUMNS - FIRST_CATEGORY)
)
"""A row of which nothing needs a closer look."""


def read_day(path: Path, max_ind_range: int, piece: int = PIECE) -> Iterator[pl.DataFrame]:
    """The rows of a day in order, some at a time: 40 columns without missing entries, named as in NAMES.

    Labels and integers are as they stand, missing ones 0; hashes are taken modulo `max_ind_range`, and a
    missing one is the value 0, which is a value like any other.

    Raises:
        OctathlonError: naming the row (1-based), if it is not of that format, or if the file is damaged.
    """
    hashes = pl.col(NAMES[FIRST_CATEGORY:]).str.to_integer(base=16, dtype=pl.UInt32)
    values = [pl.col(NAMES[:FIRST_CATEGORY]).fill_null(0), hashes.fill_null(0) % max_ind_range]
    first = 1
    for text in _pieces(path, piece):
        try:
            frame = pl.concat([_parse(part).select(values) for part in _parts(text)])
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise _complaint(path, text, first, error) from None
        yield frame
        first += frame.height


def _pieces(path: Path, piece: int) -> Iterator[bytes]:
    """The text in pieces that end with a line; a missing line feed at the end is added."""
    rest = b""
    with open_gzip(path, DAY_LIMIT) as stream:
        while block := stream.read(piece):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            elif len(rest) <= piece:
                rest += block
            else:
                raise OctathlonError(f"{path}: not lines of text; fetch it again")
    if rest:
        yield rest + b"\n"


def _parts(text: bytes) -> Iterator[bytes]:
    """The text in parts of PART bytes that end with a line."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + PART) + 1 or len(text)
        yield text[start:end]
        start = end


def _parse(text: bytes) -> pl.DataFrame:
    """Raises a PolarsError or a ValueError if the text is not as it should be."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    longest = np.diff(ends, prepend=-1).max()
    # polars pads short rows, and skips empty ones.
    if longest > ROW_LIMIT or text.count(b"\t") != len(ends) * (COLUMNS - 1):
        raise ValueError("the number of fields")
    frame = pl.read_csv(text, separator="\t", has_header=False, schema=SCHEMA, quote_char=None)
    if frame.height != len(ends):
        raise ValueError("the number of rows")
    if (
        any(character in text for character in LENIENT)
        or not frame[NAMES[0]].is_between(0, 1).all()
        or frame[NAMES[0]].has_nulls()
    ):
        raise ValueError("a label or a character")
    return frame


def _complaint(path: Path, text: bytes, first: int, error: Exception) -> OctathlonError:
    """What is wrong with the first row that is wrong."""
    for number, line in enumerate(io.BytesIO(text), start=first):
        if problem := _problem(line.removesuffix(b"\n")):
            return OctathlonError(f"{path}: row {number:,} has {problem}; use the archive as it is published")
    return OctathlonError(f"{path}: cannot be parsed from row {first:,} on ({error}); fetch it again")


def _problem(row: bytes) -> str:
    if SOUND.fullmatch(row):
        return ""
    columns = row.count(b"\t") + 1
    if columns != COLUMNS:
        return f"{columns:,} columns instead of {COLUMNS}"
    for number, field in enumerate(row.split(b"\t")):
        text = repr(field[:20].decode("ascii", "replace"))
        if number == 0 and not LABEL.fullmatch(field):
            return f"the label {text} instead of 0 or 1"
        if 0 < number < FIRST_CATEGORY and field and not _is_int32(field):
            return f"{text} in column {number + 1}, which should be an integer of 32 bits or empty"
        if number >= FIRST_CATEGORY and not HASH.fullmatch(field):
            return f"{text} in column {number + 1}, which should be up to 8 hexadecimal digits or empty"
    return ""


def _is_int32(field: bytes) -> bool:
    return bool(INTEGER.fullmatch(field)) and -(2**31) <= int(field) < 2**31
