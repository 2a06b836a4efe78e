"""JSON -> values, if they won't need many times the memory of their text."""

from __future__ import annotations

from typing import Any

import orjson

from octathlon.formats.errors import FormatError

FREE = 1 << 22
"""Bytes of a text that may hold anything."""
PER_OBJECT, PER_LIST = 32, 12
"""Bytes of a text that each object and each list in it needs at least, on average: empty ones have two, and take 64 and
56 in memory. COCO's annotations have hundreds for an object, and dozens for a list."""


def read_json(content: bytes, where: str) -> Any:
    """What a JSON text says.

    Args:
        where: names the text in messages.

    Raises:
        FormatError: if it is no JSON, or of little more than brackets.
    """
    objects, lists = content.count(b"{"), content.count(b"[")
    if len(content) > FREE and objects * PER_OBJECT + lists * PER_LIST > len(content):
        raise FormatError(
            f"{where}: {objects + lists:,} objects and lists in {len(content):,} bytes; fetch it again"
        )
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{where}: no JSON ({error}); fetch it again") from None
