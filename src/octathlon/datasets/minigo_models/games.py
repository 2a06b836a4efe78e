"""Games of self-play as the reference stores them -> rows.

A file is one game: zlib-compressed records of TFRecord's framing, each a tf.Example with the features x (planes, a byte
each), pi (float32s) and outcome; what else is in it is not trained on (reference: minigo, preprocessing.py).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from octathlon.datasets.minigo_models.rows import PLANES, pack
from octathlon.formats.protobuf import fields, split, strings

LIMIT = 1 << 28
"""No game unpacks to more bytes: a larger one is an attack on memory."""


def read_game(content: bytes, size: int, game: int) -> np.ndarray:
    """The rows of a file's game on a board of `size` lines.

    Raises:
        ValueError: if it is damaged or of another board.
    """
    examples = [_features(record) for record in _records(_inflate(content))]
    if not examples:
        raise ValueError("no position in it")
    points = size * size
    try:
        planes = np.stack([np.frombuffer(example["x"], np.uint8) for example in examples])
        policies = np.stack([np.frombuffer(example["pi"], "<f4") for example in examples])
        outcomes = {float(np.frombuffer(example["outcome"], "<f4")[0]) for example in examples}
    except (KeyError, IndexError) as error:
        raise ValueError(f"a record without {error}") from None
    if planes.shape[1] != PLANES * points or policies.shape[1] != points + 1:
        raise ValueError(f"not a game on a board of {size} lines")
    if planes.max() > 1 or len(outcomes) != 1 or not outcomes <= {1.0, -1.0}:
        raise ValueError("planes or outcome are not what they should be")
    if not (policies >= 0).all() or not np.allclose(policies.sum(1), 1, atol=1e-3):
        raise ValueError("a policy is not a distribution")
    return pack(size, planes, policies, int(outcomes.pop()), game)


def _inflate(content: bytes) -> bytes:
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(content, LIMIT)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not inflater.eof:
        raise ValueError("cut short, or too large")
    return data


def _records(data: bytes) -> Iterator[bytes]:
    """The records: length, its checksum, content, its checksum. zlib has vouched for the bytes already."""
    place = 0
    while place < len(data):
        if place + 12 > len(data):
            raise ValueError("a record is cut short")
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            raise ValueError("a record is cut short")
        yield data[place + 12 : place + 12 + length]
        place += 16 + length


def _features(example: bytes) -> dict[str, bytes]:
    """Name -> raw bytes of the list of values: byte strings, or packed floats."""
    found = {}
    for features in strings(example, 1):
        for entry in strings(features, 1):
            _, pair = split(entry)
            found[pair.get(1, b"").decode()] = _joined(_joined(pair.get(2, b"")))
    return found


def _joined(message: bytes) -> bytes:
    return b"".join(value for _, value in fields(message) if isinstance(value, bytes))
