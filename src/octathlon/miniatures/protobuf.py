"""Fields of Protocol Buffers (protobuf.dev/programming-guides/encoding)."""

from __future__ import annotations

import struct


def field(number: int, value: int | bytes) -> bytes:
    """A field with a number, or with a string or message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fixed32(number: int, value: int) -> bytes:
    """A field with a number of four bytes."""
    return varint(number << 3 | 5) + struct.pack("<I", value)


def varint(value: int) -> bytes:
    """Seven bits in each byte, the lowest first."""
    content = bytearray()
    while value >= 0x80:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])
