"""TensorFlow checkpoints (format "tensor bundle") -> arrays, without TensorFlow.

`.index` is a sorted table of LevelDB's format whose values are BundleEntryProto messages; `.data-00000-of-00001` holds
the tensors' bytes. Formats: tensorflow/core/protobuf/tensor_bundle.proto, leveldb doc/table_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np

from octathlon.datasets.minigo_models.proto import fields, varint

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
TRAILER_BYTES = 5
TYPES = {1: np.dtype("<f4"), 9: np.dtype("<i8")}
"""DT_FLOAT, DT_INT64"""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int | None


def read_bundle(index: bytes, data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint of one shard, by name; those of other types than float32 and int64 are left out.

    Raises:
        ValueError: if one of the files is damaged.
    """
    tensors = {}
    for name, entry in _entries(index):
        content = data[entry.offset : entry.offset + entry.size]
        if len(content) != entry.size or prod(entry.shape) * entry.dtype.itemsize != entry.size:
            raise ValueError(f"tensor {name} is cut short")
        if entry.checksum is not None and masked_crc32c(content) != entry.checksum:
            raise ValueError(f"tensor {name} is damaged")
        tensors[name] = np.frombuffer(content, entry.dtype).reshape(entry.shape)
    return tensors


def _entries(index: bytes) -> Iterator[tuple[str, Entry]]:
    footer = index[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("not an index of a TensorFlow checkpoint")
    place = 0
    for _ in range(2):  # the handle of the block of statistics, which is empty
        _, place = varint(footer, place)
    for _, handle in _block(index, footer[place:]):
        for key, value in _block(index, handle):
            message = dict(fields(value))
            if key and message.get(1) in TYPES:
                yield key.decode(), _entry(value, message)


def _entry(value: bytes, message: Mapping[int, int | bytes]) -> Entry:
    if message.get(3, 0) or 7 in message:
        raise ValueError("a checkpoint of several shards or slices")
    shape = message.get(2, b"")
    dimensions = [dict(fields(part)).get(1, 0) for number, part in fields(shape) if number == 2]
    checksum = struct.unpack("<I", message[6])[0] if 6 in message else None
    return Entry(TYPES[message[1]], tuple(dimensions), message.get(4, 0), message.get(5, 0), checksum)


def _block(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block. A key gives only what differs from the one before."""
    offset, place = varint(handle, 0)
    size, _ = varint(handle, place)
    block = index[offset : offset + size + TRAILER_BYTES]
    if len(block) < size + TRAILER_BYTES or size < 4:
        raise ValueError("the index is cut short")
    if block[size] or masked_crc32c(block[: size + 1]) != struct.unpack("<I", block[size + 1 :])[0]:
        raise ValueError("the index is damaged or compressed")
    end = size - 4 * (1 + struct.unpack("<I", block[size - 4 : size])[0])
    key, place = b"", 0
    while place < end:
        shared, place = varint(block, place)
        own, place = varint(block, place)
        length, place = varint(block, place)
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def masked_crc32c(data: bytes) -> int:
    """The CRC-32C of `data`, disguised as TensorFlow and LevelDB store it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table
