"""MATLAB's level 5 files ("MAT-File Format", mathworks.com) -> struct arrays, by scipy, if they unpack to little."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from octathlon.formats.errors import FormatError

SIZE_LIMIT = 1 << 24
"""Bytes that a file's variables unpack to: 9,000 for each of the 1,860 synsets of upstream's meta.mat."""
MATRIX, COMPRESSED = 14, 15
"""Types of elements: an array, and any other one compressed."""


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
    """Refuse variables that unpack to gigabytes, and arrays that claim more values than they have bytes."""
    order = "<" if content[126:128] == b"IM" else ">"
    total = 0
    for kind, element in _elements(memoryview(content)[128:], order, padded=False):
        if kind == COMPRESSED:
            element = memoryview(zlib.decompressobj().decompress(element, SIZE_LIMIT))
        total += len(element)
        if total >= SIZE_LIMIT:
            raise ValueError(f"unpacks to more than {SIZE_LIMIT:,} bytes")
        for inner, matrix in _elements(element, order) if kind == COMPRESSED else [(kind, element)]:
            _check_matrix(inner, matrix, order)


def _check_matrix(kind: int, matrix: memoryview, order: str) -> None:
    """An array begins with its flags and its axes; cells and structs have arrays in it."""
    if kind != MATRIX or not matrix:
        return
    (_, _), (_, axes), *parts = _elements(matrix, order)
    if prod(struct.unpack(f"{order}{len(axes) // 4}I", axes[: len(axes) // 4 * 4])) > len(matrix):
        raise ValueError("an array of more values than bytes")
    for inner, part in parts:
        _check_matrix(inner, part, order)


def _elements(content: memoryview, order: str, padded: bool = True) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each; those of up to four bytes lie in their tag."""
    place = 0
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, place)
        if kind >> 16:
            yield kind & 0xFFFF, content[place + 4 : place + 4 + min(kind >> 16, 4)]
            place += 8
            continue
        yield kind, content[place + 8 : place + 8 + size]
        place += 8 + size + (-size % 8 if padded else 0)
