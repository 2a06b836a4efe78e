"""Consecutive numbers for the values of a column, in the order in which they first appear.

Plain arrays with an entry for each possible value, below a limit: their memory does not grow with the rows,
and no hash table is as fast.
"""

from __future__ import annotations

import mmap

import numpy as np
import polars as pl
from numpy.typing import DTypeLike


class Appearances:
    """The distinct values of a column in the order of their first appearance."""

    def __init__(self, limit: int) -> None:
        self._seen = _zeros(limit, bool)
        self._parts = [np.empty(0, np.int32)]

    def add(self, values: np.ndarray) -> None:
        """Go on with more of the column."""
        unseen = values[~self._seen[values]]
        if len(unseen):
            new = pl.Series(unseen).unique(maintain_order=True).to_numpy()
            self._seen[new] = True
            self._parts.append(new.astype(np.int32))

    def values(self) -> np.ndarray:
        """Those so far, int32."""
        return np.concatenate(self._parts)


class Numbers:
    """The numbers of a column's values: where each stands in `values`."""

    def __init__(self, values: np.ndarray, limit: int) -> None:
        self._numbers = _zeros(limit, np.int32)  # counted from 1; 0: unknown
        self._numbers[values] = np.arange(1, len(values) + 1)

    def of(self, values: np.ndarray) -> np.ndarray:
        """int32, -1 for an unknown value."""
        return self._numbers[values] - 1


def _zeros(size: int, dtype: DTypeLike) -> np.ndarray:
    """Zeros whose pages become real when they are written: a column of few values costs a few small pages."""
    mapping = mmap.mmap(-1, size * np.dtype(dtype).itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # Linux; a huge page for each value would fill the memory
        mapping.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(mapping, dtype)
