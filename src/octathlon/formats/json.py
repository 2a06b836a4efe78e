"""JSON -> records, each made into values when it is asked for: until then there is only its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from octathlon.formats.errors import FormatError

FREE = 1 << 22
"""Bytes of a text that may hold anything."""
PER_OBJECT, PER_LIST = 32, 12
"""Bytes of a text that each object and each list in it needs at least, on average: empty ones have two, and take 64 and
56 in memory. COCO's annotations have hundreds for an object, and dozens for a list."""
RECORD_LIMIT = 1 << 24
"""Bytes of a record's text: what it says takes up to eleven times as many. A million run lengths have fewer."""


class Records(Sequence[dict[str, Any]]):
    """The objects of a list in a JSON text.

    One that is no JSON, or too long, raises a FormatError when it is asked for.
    """

    def __init__(self, texts: Sequence[msgspec.Raw], where: str) -> None:
        self._texts, self._where = texts, where

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, number: int) -> dict[str, Any]:  # type: ignore[override] - nobody takes slices
        text = memoryview(self._texts[number])
        if len(text) > RECORD_LIMIT:
            raise FormatError(f"{self._where}: a record of {len(text):,} bytes; fetch it again")
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise _no_json(self._where, error) from None


class _Object(msgspec.Struct, gc=False):
    """Any object: what is in it is skipped."""


def read_records(content: bytes, where: str, keys: Sequence[str]) -> list[Records]:
    """The lists of objects that a JSON text, itself an object, has under `keys`.

    Args:
        where: names the text in messages.

    Raises:
        FormatError: if it is no JSON, lacks a list or has anything else in one, or is of little more than brackets.
    """
    objects, lists = content.count(b"{"), content.count(b"[")
    if len(content) > FREE and objects * PER_OBJECT + lists * PER_LIST > len(content):
        raise FormatError(
            f"{where}: {objects + lists:,} objects and lists in {len(content):,} bytes; fetch it again"
        )
    try:
        _document(content, keys, _Object)  # texts of numbers would take many times their memory
        document = _document(content, keys, msgspec.Raw)
    except msgspec.ValidationError as error:
        raise FormatError(
            f"{where}: not of the shape that it should have ({error}); fetch it again"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(where, error) from None
    return [Records(getattr(document, key), where) for key in keys]


def _document(content: bytes, keys: Sequence[str], kind: type) -> msgspec.Struct:
    shape = msgspec.defstruct("Document", [(key, list[kind]) for key in keys])
    return msgspec.json.decode(content, type=shape)


def _no_json(where: str, error: Exception) -> FormatError:
    return FormatError(f"{where}: no JSON ({error}); fetch it again")
