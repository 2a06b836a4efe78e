"""Just enough of Protocol Buffers' wire format to read messages of known fields.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

FIELDS = 1 << 10
"""Of a message; those that are read here have up to 32, a tensor's axes."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def split(message: bytes) -> tuple[dict[int, int], dict[int, bytes]]:
    """The numbers and the byte strings of a message by their fields; of a repeated field, the last.

    Raises:
        ValueError: if it is not a message.
    """
    numbers, strings = {}, {}
    for number, value in fields(message):
        if isinstance(value, int):
            numbers[number] = value
        else:
            strings[number] = value
    return numbers, strings


def strings(message: bytes, number: int) -> Iterator[bytes]:
    """The byte strings of a repeated field.

    Raises:
        ValueError: if it is not a message.
    """
    return (value for found, value in fields(message) if found == number and isinstance(value, bytes))


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a message; a value is a varint, or the bytes of anything else.

    Raises:
        ValueError: if it is not a message.
    """
    place = 0
    for _ in range(FIELDS):
        if place >= len(message):
            return
        tag, place = varint(message, place)
        kind = tag & 7
        if kind == VARINT:
            value, place = varint(message, place)
            yield tag >> 3, value
            continue
        size = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            size, place = varint(message, place)
        if size is None or place + size > len(message):
            raise ValueError("not a message")
        yield tag >> 3, message[place : place + size]
        place += size
    if place < len(message):
        raise ValueError(f"a message of more than {FIELDS:,} fields")


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and where it has ended.

    Raises:
        ValueError: if there is none.
    """
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number is cut short")
