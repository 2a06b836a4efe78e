"""CRC-32C (RFC 3720, 12.1), disguised as LevelDB and TensorFlow store it ("masked")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def masked_crc32c(content: bytes) -> int:
    """The checksum of some bytes."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return _masked(crc ^ 0xFFFFFFFF)


def masked_crc32cs(contents: Sequence[bytes]) -> list[int]:
    """The checksums of many byte strings of equal length, all of them together: faster than one by one."""
    table, crcs = np.array(TABLE, np.uint32), np.full(len(contents), 0xFFFFFFFF, np.uint32)
    for column in np.stack([np.frombuffer(content, np.uint8) for content in contents], axis=1):
        crcs = table[(crcs ^ column) & 0xFF] ^ crcs >> 8
    return [_masked(crc) for crc in (~crcs).tolist()]


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()
