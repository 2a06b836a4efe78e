"""The upstream text: gzipped lines of 40 fields between tabs, read in large pieces.

Fields: label (0 or 1), 13 decimal integers, 26 hashes in hexadecimal; any but the label may be empty. Each
piece is parsed by polars; only when that fails, or its result doesn't add up, are its lines looked at one
by one, to name the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from octathlon.datasets.click_logs.rows import COLUMNS, FIRST_CATEGORY
from octathlon.errors import OctathlonError
from octathlon.formats.gzips import open_gzip

PIECE = 16 << 20
"""Bytes of text in memory at a time, some 65,000 rows; larger pieces are no faster (measured)."""
DAY_LIMIT = 200 << 30
"""No day unpacks to more; upstream's have some 50 GB."""
NAMES = [f"c{number}" for number in range(COLUMNS)]
SCHEMA = {name: pl.Int32 if number < FIRST_CATEGORY else pl.String for number, name in enumerate(NAMES)}
LENIENT = (b"+", b" ", b"\r")
"""What polars takes in numbers or between lines, but no archive has."""

LABEL = re.compile(rb"[01]")
INTEGER = re.compile(rb"-?[0-9]{1,10}")
HASH = re.compile(rb"([0-9a-fA-F]{1,8})?")


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
            frame = _parse(text).select(values)
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


def _parse(text: bytes) -> pl.DataFrame:
    """Raises a PolarsError or a ValueError if the text is not as it should be."""
    frame = pl.read_csv(text, separator="\t", has_header=False, schema=SCHEMA, quote_char=None)
    # polars pads short rows, and skips empty ones.
    lines = text.count(b"\n")
    if frame.height != lines or text.count(b"\t") != lines * (COLUMNS - 1):
        raise ValueError("the number of fields")
    if (
        any(character in text for character in LENIENT)
        or not frame[NAMES[0]].is_between(0, 1).all()
        or frame[NAMES[0]].has_nulls()
    ):
        raise ValueError("a label or a character")
    return frame


def _complaint(path: Path, text: bytes, first: int, error: Exception) -> OctathlonError:
    """What is wrong with the first row that is wrong."""
    for number, line in enumerate(text.removesuffix(b"\n").split(b"\n"), start=first):
        if problem := _problem(line.split(b"\t")):
            return OctathlonError(f"{path}: row {number:,} has {problem}; use the archive as it is published")
    return OctathlonError(f"{path}: cannot be parsed from row {first:,} on ({error}); fetch it again")


def _problem(fields: list[bytes]) -> str:
    if len(fields) != COLUMNS:
        return f"{len(fields)} columns instead of {COLUMNS}"
    for number, field in enumerate(fields):
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
