"""TensorFlow's checkpoints ("tensor bundles") -> arrays, without TensorFlow.

`<prefix>.index` is a sorted table in LevelDB's format (github.com/google/leveldb, doc/table_format.md), with blocks
that may be compressed by Snappy. It maps the names of tensors to BundleEntryProto
(tensorflow/core/protobuf/tensor_bundle.proto): type, shape, place in `<prefix>.data-00000-of-00001`, and checksum.
The files are untrusted: nothing in them is code, every length is checked before it is used, and so is every checksum
of a block and of a tensor that is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path

import numpy as np

from octathlon.formats.crc32c import masked_crc32c
from octathlon.formats.errors import FormatError
from octathlon.formats.protobuf import split, strings, varint
from octathlon.formats.snappy import decompress

MAGIC, FOOTER, TRAILER = 0xDB4775248B80FB57, 48, 5
"""The last eight bytes of a table, bytes of its footer, and bytes behind a block: compression and checksum."""
LIMIT, BLOCK_LIMIT = 1 << 20, 1 << 22
"""Bytes of an index, and of a block of one once it is unpacked; bert's index, of 1,197 tensors, has 17 kB."""
TENSORS, NAME_LIMIT = 10_000, 1 << 10
"""Tensors of an index (entries of a block, too), and bytes of a name."""
RANK, SIDE = 32, 1 << 40
"""No tensor has more axes, none of them is longer."""
TYPES = {1: np.dtype("<f4"), 9: np.dtype("<i8")}
"""DT_FLOAT and DT_INT64 of tensorflow/core/framework/types.proto."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor as the index describes it."""

    dtype: np.dtype | None
    """None: neither float32 nor int64."""
    shape: tuple[int, ...]
    offset: int
    size: int
    """Bytes."""
    checksum: int
    """Masked CRC-32C of the bytes."""


def read_index(content: bytes | np.ndarray, source: Path) -> dict[str, Entry]:
    """The tensors that an index lists.

    Args:
        content: the index; bytes or uint8.
        source: the file that it comes from, for messages.

    Raises:
        FormatError: if it is not such a file, or damaged, or lists parts of tensors or several data files.
    """
    with _naming(source, "cannot read the index of a TensorFlow checkpoint"):
        if len(content) > LIMIT:
            raise ValueError("it is too large")
        table = list(islice(_table(bytes(content)), TENSORS + 1))
        if len(table) > TENSORS:
            raise ValueError(f"it lists more than {TENSORS:,} tensors")
        return {key.decode(): _entry(value) for key, value in table if key}


def read_tensors(
    entries: Mapping[str, Entry], data: bytes | np.ndarray, source: Path
) -> dict[str, np.ndarray]:
    """The tensors of some entries, sorted by name: views of `data`, which may be a mapped file.

    Args:
        data: the data file; bytes or uint8.
        source: the file that it comes from, for messages.

    Raises:
        FormatError: if one isn't as its entry describes it, or has values that are no numbers.
    """
    with _naming(source, "cannot read the tensors of a TensorFlow checkpoint"):
        _check_apart(entries)
        values = np.frombuffer(data, np.uint8)
        return {name: _tensor(name, entry, values) for name, entry in sorted(entries.items())}


def mapped(path: Path) -> np.ndarray:
    """The bytes of a file, uint8, read as they are needed.

    Raises:
        FormatError: if it can't be read.
    """
    with _naming(path, "cannot read it"):
        return np.memmap(path, np.uint8, mode="r")


@contextmanager
def _naming(source: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise FormatError(f"{source}: {what} ({error}); fetch it again") from error


def _check_apart(entries: Mapping[str, Entry]) -> None:
    """No byte belongs to two tensors: a thousand names for the same ones would be a thousand times as many."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].offset, item[1].size)):
        if entry.offset < end:
            raise ValueError(f"{name} lies upon another tensor")
        end = entry.offset + entry.size


def _tensor(name: str, entry: Entry, values: np.ndarray) -> np.ndarray:
    if entry.dtype is None:
        raise ValueError(f"{name} is neither of float32 nor of int64")
    if entry.size != prod(entry.shape) * entry.dtype.itemsize:
        raise ValueError(f"{name} has not the size of its shape")
    if entry.offset + entry.size > len(values):
        raise ValueError(f"it ends before {name}")
    content = values[entry.offset : entry.offset + entry.size]
    if masked_crc32c(content) != entry.checksum:
        raise ValueError(f"{name} is damaged")
    tensor = content.view(entry.dtype).reshape(entry.shape)
    if not np.isfinite(tensor).all():
        raise ValueError(f"{name} has values that are no numbers")
    return tensor


def _entry(value: bytes) -> Entry:
    numbers, parts = split(value)
    if numbers.get(3) or 7 in parts:
        raise ValueError("a tensor is cut into slices or lies in another file")
    if 6 not in parts:
        raise ValueError("a tensor has no checksum")
    shape = tuple(split(axis)[0].get(1, 0) for axis in strings(parts.get(2, b""), 2))
    if len(shape) > RANK or any(size > SIDE for size in shape):
        raise ValueError("a tensor has too many axes or too long ones")
    checksum = int.from_bytes(parts[6], "little")
    return Entry(TYPES.get(numbers.get(1)), shape, numbers.get(4, 0), numbers.get(5, 0), checksum)


# The table -------------------------------------------------------------------------------------------------


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All (key, value) of a table."""
    footer = content[-FOOTER:]
    if len(footer) < FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise ValueError("its last bytes are not those of a table")
    _, _, place = _handle(footer, 0)
    _unpacked(content, footer)  # a block of statistics, which is empty: its checksum counts
    end = 0
    for _, handle in _block(content, footer[place:]):
        offset, size, _ = _handle(handle, 0)
        if offset < end:
            raise ValueError("a block lies upon another one")
        end = offset + size
        yield from _block(content, handle)


def _block(content: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) of a block; each key leaves out what it shares with the one before."""
    block = _unpacked(content, handle)
    end = len(block) - 4
    end -= 4 * int.from_bytes(block[end:], "little") if end >= 0 else 0  # places where to begin a search
    if end < 0:
        raise ValueError("a block is cut short")
    place, key = 0, b""
    for _ in range(TENSORS):
        if place >= end:
            return
        shared, place = varint(block, place)
        added, place = varint(block, place)
        length, place = varint(block, place)
        if shared > len(key) or place + added + length > end:
            raise ValueError("a block ends within an entry")
        if shared + added > NAME_LIMIT:
            raise ValueError(f"a name has more than {NAME_LIMIT:,} bytes")
        key = key[:shared] + block[place : place + added]
        place += added
        yield key, block[place : place + length]
        place += length
    if place < end:
        raise ValueError(f"a block has more than {TENSORS:,} entries")


def _unpacked(content: bytes, handle: bytes) -> bytes:
    """A block as it was before it was compressed."""
    offset, size, _ = _handle(handle, 0)
    block, trailer = content[offset : offset + size], content[offset + size : offset + size + TRAILER]
    if len(trailer) < TRAILER:
        raise ValueError("it is cut short")
    compression, checksum = struct.unpack("<BI", trailer)
    if masked_crc32c(block + trailer[:1]) != checksum:
        raise ValueError("a block is damaged")
    if compression > 1:
        raise ValueError(f"compression {compression} is unknown")
    return decompress(block, BLOCK_LIMIT) if compression else block


def _handle(content: bytes, place: int) -> tuple[int, int, int]:
    """Where a block begins, its bytes, and where the handle has ended."""
    offset, place = varint(content, place)
    size, place = varint(content, place)
    return offset, size, place
