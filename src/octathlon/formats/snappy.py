"""Snappy -> bytes (github.com/google/snappy, format_description.txt)."""

from __future__ import annotations

from octathlon.formats.protobuf import varint

LITERAL, NEAR, FAR = 0, 1, 2


def decompress(content: bytes, limit: int) -> bytes:
    """What `content` was before it was compressed.

    Raises:
        ValueError: if it is damaged, or would be longer than `limit` bytes.
    """
    length, place = varint(content, 0)
    if length > limit:
        raise ValueError("a compressed block is too large")
    out = bytearray()
    while place < len(content):
        kind = content[place] & 3
        if kind == LITERAL:
            size, place = _literal(content, place)
            out += content[place : place + size]
            place += size
            continue
        size, back, place = _copy(content, place)
        if not 0 < back <= len(out) or len(out) + size > length:
            raise ValueError("a compressed block is damaged")
        start = len(out) - back
        piece = out[start : start + size]
        out += (piece * (size // len(piece) + 1))[:size]  # a copy may reach into what it writes
    if len(out) != length:
        raise ValueError("a compressed block is damaged")
    return bytes(out)


def _literal(content: bytes, place: int) -> tuple[int, int]:
    """A literal's size, and where it begins."""
    size, width = content[place] >> 2, 0
    if size >= 60:
        width = size - 59
        size = int.from_bytes(content[place + 1 : place + 1 + width], "little")
    return size + 1, place + 1 + width


def _copy(content: bytes, place: int) -> tuple[int, int, int]:
    """A copy's size, how far back it begins, and where the next element is."""
    tag = content[place]
    kind, size = tag & 3, (tag >> 2) + 1
    width = {NEAR: 1, FAR: 2}.get(kind, 4)
    back = int.from_bytes(content[place + 1 : place + 1 + width], "little")
    if kind == NEAR:
        size, back = (tag >> 2 & 7) + 4, tag >> 5 << 8 | back
    return size, back, place + 1 + width
