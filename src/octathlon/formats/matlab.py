"""MATLAB's level 5 files ("MAT-File Format", mathworks.com) -> struct arrays, by scipy, if they unpack to little."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np

from octathlon.formats.errors import FormatError

SIZE_LIMIT = 1 << 24
"""Bytes that a file's variables unpack to; upstream's meta.mat, of 1,860 synsets, has a few hundred thousand."""
COMPRESSED = 15
"""The type of an element that is a compressed one."""


def read_structs(content: bytes, name: str, where: str) -> np.ndarray:
    """The struct array `name`, of shape (structs,); its fields are arrays.

    Args:
        where: names the file in messages.

    Raises:
        FormatError: if there is none, or the file is damaged or too large.
    """
    from scipy.io import loadmat

    try:
        _check_size(content)
        found: Any = loadmat(io.BytesIO(content), variable_names=[name])[name]
        return found.ravel()
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise FormatError(f"{where}: not the struct array `{name}` ({error}); fetch it again") from error


def _check_size(content: bytes) -> None:
    """Refuse variables that unpack to gigabytes."""
    order = "<" if content[126:128] == b"IM" else ">"
    place, total = 128, 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        element = content[place + 8 : place + 8 + size]
        total += len(zlib.decompressobj().decompress(element, SIZE_LIMIT)) if kind == COMPRESSED else size
        if total >= SIZE_LIMIT:
            raise ValueError(f"unpacks to more than {SIZE_LIMIT:,} bytes")
        place += 8 + size
