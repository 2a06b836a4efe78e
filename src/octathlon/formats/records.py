"""Games of self-play: zlib-compressed records of TFRecord's framing, each a tf.Example.

Formats: tensorflow/core/lib/io/record_writer.h and tensorflow/core/example/example.proto.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from octathlon.formats.errors import FormatError
from octathlon.formats.protobuf import fields, split, strings

RECORDS, RECORD_LIMIT = 1 << 11, 1 << 14
"""A position on 19 lines, 13 planes and 362 policies, has 6.2 kB; no game has so many: the board has 361 points."""
GAME_LIMIT = RECORDS * RECORD_LIMIT


def read_examples(content: bytes, where: str) -> list[dict[str, bytes]]:
    """The examples of a file: name of a feature -> raw bytes of its values, byte strings or packed floats.

    Args:
        where: names the file in messages.

    Raises:
        FormatError: if it is damaged, or larger than a game can be.
    """
    try:
        return [_features(record) for record in _records(_inflate(content))]
    except ValueError as error:
        raise FormatError(f"{where} cannot be read ({error}); fetch it again") from None


def _inflate(content: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(content, GAME_LIMIT)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError("cut short, or too large")
    return data


def _records(data: bytes) -> Iterator[bytes]:
    """The records: length, its checksum, content, its checksum. zlib has vouched for the bytes already."""
    place = 0
    for _ in range(RECORDS):
        if place == len(data):
            return
        if place + 12 > len(data):
            raise ValueError("a record is cut short")
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            raise ValueError("a record is cut short")
        if length > RECORD_LIMIT:
            raise ValueError(f"a record of {length:,} bytes")
        yield data[place + 12 : place + 12 + length]
        place += 16 + length
    if place < len(data):
        raise ValueError(f"more than {RECORDS:,} records")


def _features(example: bytes) -> dict[str, bytes]:
    found = {}
    for features in strings(example, 1):
        for entry in strings(features, 1):
            _, pair = split(entry)
            found[pair.get(1, b"").decode()] = _joined(_joined(pair.get(2, b"")))
    return found


def _joined(message: bytes) -> bytes:
    return b"".join(value for _, value in fields(message) if isinstance(value, bytes))
