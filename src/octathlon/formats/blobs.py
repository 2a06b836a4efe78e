"""Detectron's models -> arrays: pickles of NumPy arrays by their Caffe2 names, by Python 2 or 3."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from octathlon.formats.pickles import StandIn, load, weights_file

CODES = ("f4", "f8", "i4", "i8")


def read_blobs(path: Path) -> dict[str, np.ndarray]:
    """The arrays, as float32.

    Together they have no more bytes than the file: contents that many arrays share would otherwise make gigabytes of a
    few bytes.

    Raises:
        FormatError: if it is no such file, damaged, or hostile.
    """
    with weights_file(path) as file:
        return _read(file)


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    content = load(file, NAMES)
    blobs = {name: blob for name, blob in content.get("blobs", content).items() if type(blob) is _Array}
    if sum(blob.nbytes() for blob in blobs.values()) > file.tell():
        raise ValueError("its arrays have more bytes than the file")
    return {name: blob.array() for name, blob in blobs.items()}


class _Text(StandIn):
    """How protocol 2 of Python 3 spells bytes: a text and its encoding."""

    def __init__(self, text: Any, *_: Any) -> None:
        self.text = text


class _Dtype(StandIn):
    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        """The type, if it is one of numbers."""
        if type(self.code) is not str or type(self.order) is not str or self.code not in CODES:
            raise ValueError("an array of something other than numbers")
        return np.dtype(("<" if self.order in "<=|" else ">") + self.code)


class _Array(StandIn):
    """What NumPy's arrays are pickled as: made empty, then told what they hold."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def nbytes(self) -> int:
        """Bytes of the array, which its shape and its type agree upon with its content."""
        _, shape, dtype, _, content = self.state
        content = content.text if type(content) is _Text else content
        sizes = type(shape) is tuple and len(shape) <= 32 and {*map(type, shape)} <= {int}
        if not sizes or type(content) not in (str, bytes) or min(shape, default=0) < 0:
            raise ValueError("an array without numbers")
        if max(shape, default=0) > len(content) or prod(shape) * dtype.dtype().itemsize != len(content):
            raise ValueError("an array that is not of its shape")
        return len(content)

    def array(self) -> np.ndarray:
        _, shape, dtype, columns_first, content = self.state
        content = content.text if type(content) is _Text else content
        content = content.encode("latin1") if type(content) is str else content
        array = np.frombuffer(content, dtype.dtype()).reshape(shape, order="F" if columns_first else "C")
        return np.ascontiguousarray(array, dtype=np.float32)


NAMES = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Text,
}
