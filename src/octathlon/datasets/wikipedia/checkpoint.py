"""TensorFlow 1 checkpoints -> safetensors, without TensorFlow.

`<prefix>.index` is a sorted table in LevelDB's format (github.com/google/leveldb, doc/table_format.md), with blocks
that may be compressed by Snappy (github.com/google/snappy, format_description.txt). It maps the names of tensors to
BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto): type, shape and place in the data file. The file is
untrusted: nothing in it is code, and every length is checked before it is used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

MAGIC, FOOTER = 0xDB4775248B80FB57, 48
INDEX_LIMIT = 64 << 20
"""No index has more bytes; the reference's has 17 kB."""
FLOAT = 1
"""DT_FLOAT of tensorflow/core/framework/types.proto."""
SLOTS = re.compile(r".*/(LAMB|LAMB_1|adam_m|adam_v)|beta[12]_power|global_step|_CHECKPOINTABLE_OBJECT_GRAPH")
"""What belongs to the optimizer, which starts anew."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies in the data file."""

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int


def convert(index: Path, data: Path, out: Path) -> dict[str, list[int]]:
    """Write the checkpoint's weights, under their names there, as `out`; returns their shapes.

    Raises:
        OctathlonError: if the files are damaged, or don't belong together.
    """
    from safetensors.numpy import save_file

    entries = {name: entry for name, entry in read_index(index).items() if not SLOTS.fullmatch(name)}
    for name, entry in entries.items():
        if entry.dtype != FLOAT or entry.size != 4 * np.prod(entry.shape, dtype=np.int64):
            raise OctathlonError(f"{index}: {name} is not an array of 32-bit numbers; fetch it again")
        if entry.offset < 0 or entry.offset + entry.size > data.stat().st_size:
            raise OctathlonError(f"{data}: ends before {name}; fetch it again")
    values = np.memmap(data, "<u1", mode="r")
    tensors = {
        name: values[entry.offset : entry.offset + entry.size].view("<f4").reshape(entry.shape)
        for name, entry in sorted(entries.items())
    }
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise OctathlonError(f"{data}: {name} has values that are no numbers; fetch it again")
    with publish(out) as temporary:
        save_file(tensors, temporary)
    return {name: list(entry.shape) for name, entry in sorted(entries.items())}


def read_index(path: Path) -> dict[str, Entry]:
    """The tensors that an index lists.

    Raises:
        OctathlonError: if it is not such a file, or damaged.
    """
    try:
        if path.stat().st_size > INDEX_LIMIT:
            raise ValueError("it is too large")
        table = list(_table(path.read_bytes()))
        return {key.decode(): _entry(value) for key, value in table if key}
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise OctathlonError(
            f"{path}: not a TensorFlow checkpoint's index ({error}); fetch it again"
        ) from error


def _entry(value: bytes) -> Entry:
    fields = dict(_message(value))
    if fields.get(3) or 7 in fields:
        raise ValueError("a tensor is cut into slices or lies in another file")
    shape = tuple(
        dict(_message(dim)).get(1, 0) for number, dim in _message(fields.get(2, b"")) if number == 2
    )
    return Entry(fields.get(1, 0), shape, fields.get(4, 0), fields.get(5, 0))


# The table ---------------------------------------------------------------------------------------------


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All (key, value) of a table."""
    footer = content[-FOOTER:]
    if len(footer) < FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("its last bytes are not those of a table")
    _, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    for _, handle in _block(content, index):
        yield from _block(content, _handle(handle, 0)[0])


def _block(content: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) of a block; each key leaves out what it shares with the one before."""
    offset, size = handle
    block, compression = content[offset : offset + size], content[offset + size]
    if compression == 1:
        block = _unsnappy(block)
    elif compression:
        raise ValueError(f"compression {compression} is unknown")
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        added, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + added + length > end:
            raise ValueError("a block ends within an entry")
        key = key[:shared] + block[position : position + added]
        position += added
        yield key, block[position : position + length]
        position += length


def _handle(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = _varint(content, position)
    size, position = _varint(content, position)
    return (offset, size), position


def _unsnappy(content: bytes) -> bytes:
    length, position = _varint(content, 0)
    if length > INDEX_LIMIT:
        raise ValueError("a block is too large")
    out = bytearray()
    while position < len(content):
        tag = content[position]
        kind, position = tag & 3, position + 1
        if kind == 0:
            size = (tag >> 2) + 1
            if size > 60:
                more = size - 60
                size = int.from_bytes(content[position : position + more], "little") + 1
                position += more
            out += content[position : position + size]
            position += size
            continue
        if kind == 1:
            size, back, width = (tag >> 2 & 7) + 4, tag >> 5 << 8 | content[position], 1
        else:
            width = 2 if kind == 2 else 4
            size, back = (tag >> 2) + 1, int.from_bytes(content[position : position + width], "little")
        position += width
        if not 0 < back <= len(out) or len(out) + size > length:
            raise ValueError("a compressed block is damaged")
        for _ in range(size):  # the copy may overlap what it writes
            out.append(out[-back])
    if len(out) != length:
        raise ValueError("a compressed block is damaged")
    return bytes(out)


# Protocol buffers --------------------------------------------------------------------------------------


def _message(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: (number, value)."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(content, position)
        elif kind == 2:
            size, position = _varint(content, position)
            value, position = content[position : position + size], position + size
        elif kind == 5:
            value, position = content[position : position + 4], position + 4
        else:
            raise ValueError(f"wire type {kind} is unknown")
        yield tag >> 3, value


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits per byte, and the position behind it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is too long")
