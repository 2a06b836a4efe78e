"""TensorFlow's checkpoints ("tensor bundles"): `<prefix>.index`, a sorted string table, and one data file.

The table has LevelDB's format (github.com/google/leveldb, doc/table_format.md); its values are the protocol buffers
BundleHeaderProto and BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import numpy as np

from octathlon.miniatures.crc32c import masked_crc32c
from octathlon.miniatures.protobuf import field, fixed32, varint

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
    return field(1, 1) + field(3, field(1, 1))  # one data file, little-endian; written by version 1


def _entry(tensor: np.ndarray, offset: int) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in tensor.shape)
    place = (field(4, offset) if offset else b"") + field(5, tensor.nbytes)
    checksum = fixed32(6, masked_crc32c(tensor.tobytes()))
    return field(1, DTYPES[tensor.dtype]) + field(2, shape) + place + checksum


def _block(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    content, restarts, last = bytearray(), [0], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % RESTART_INTERVAL:
            shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), len(last))
        elif number:
            restarts.append(len(content))
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return bytes(content) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _append(content: bytearray, block: bytes) -> bytes:
    """Append an uncompressed block with its trailer; returns its handle."""
    handle = varint(len(content)) + varint(len(block))
    block += b"\0"
    content += block + struct.pack("<I", masked_crc32c(block))
    return handle
