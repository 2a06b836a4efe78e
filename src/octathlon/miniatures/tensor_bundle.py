"""TensorFlow 1 checkpoints ("tensor bundles"): `<prefix>.index`, a sorted string table, and one data file.

The table has LevelDB's format (github.com/google/leveldb, doc/table_format.md); its values are the protocol buffers
BundleHeaderProto and BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import numpy as np

MAGIC = 0xDB4775248B80FB57
DTYPES = {np.dtype("<f4"): 1, np.dtype("<i8"): 9}
"""The numbers of tensorflow/core/framework/types.proto."""

RESTART_INTERVAL = 16
"""Every 16th key of a block is stored whole; the others leave out what they share with the one before."""


def index_file(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The `.index` file of tensors that `data_file` holds."""
    entries, offset = [(b"", _header())], 0
    for name, tensor in sorted(tensors.items()):
        entries.append((name.encode(), _entry(tensor, offset)))
        offset += tensor.nbytes
    content = bytearray()
    data = _append(content, _block(entries))
    metaindex = _append(content, _block([]))
    index = _append(content, _block([(entries[-1][0], data)]))
    footer = (metaindex + index).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    return bytes(content) + footer


def data_file(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The `.data-00000-of-00001` file: the tensors' values, one after the other."""
    return b"".join(tensor.tobytes() for _, tensor in sorted(tensors.items()))


def _header() -> bytes:
    return _field(1, 1) + _field(3, _field(1, 1))  # one data file, little-endian; written by version 1


def _entry(tensor: np.ndarray, offset: int) -> bytes:
    shape = b"".join(_field(2, _field(1, size)) for size in tensor.shape)
    checksum = bytes([6 << 3 | 5]) + struct.pack("<I", _masked_crc32c(tensor.tobytes()))
    place = (_field(4, offset) if offset else b"") + _field(5, tensor.nbytes)
    return _field(1, DTYPES[tensor.dtype]) + _field(2, shape) + place + checksum


def _field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: a number, or a string or message."""
    if isinstance(value, int):
        return bytes([number << 3]) + _varint(value)
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    content = bytearray()
    while value >= 0x80:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def _block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    content, restarts, last = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % RESTART_INTERVAL:
            shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), len(last))
        elif number:
            restarts.append(len(content))
        content += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    return bytes(content) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _append(content: bytearray, block: bytes) -> bytes:
    """Append an uncompressed block with its trailer; returns its handle."""
    handle = _varint(len(content)) + _varint(len(block))
    content += block + b"\0" + struct.pack("<I", _masked_crc32c(block + b"\0"))
    return handle


def _masked_crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C = _crc_table()
