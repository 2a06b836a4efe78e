"""CRC-32C (RFC 3720, 12.1), disguised as LevelDB and TensorFlow store it."""

from __future__ import annotations

import google_crc32c
import numpy as np


def masked_crc32c(content: bytes | np.ndarray) -> int:
    """The disguised CRC-32C of bytes (or a uint8 array), as a table and a tensor bundle have it.

    Source: github.com/google/leveldb, util/crc32c.h.
    """
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
