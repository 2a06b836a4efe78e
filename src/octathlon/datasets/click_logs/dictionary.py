"""Consecutive numbers for the values of a column, in the order in which they first appear.

Plain arrays with an entry for each possible value, below a limit: their memory does not grow with the rows,
and no hash table is as fast.
"""

from __future__ import annotations

import mmap

import numba
import numpy as np
from numpy.typing import DTypeLike


class Appearances:
    """The distinct values of a column in the order of their first appearance."""

    def __init__(self, limit: int) -> None:
        # a bit for each value, so that they stay near the processor
        self._seen = np.zeros(limit // 8 + 1, np.uint8)
        self._parts = [np.empty(0, np.int32)]

    def add(self, values: np.ndarray) -> None:
        """Go on with more of the column, int32."""
        new = np.empty(len(values), np.int32)
        if count := _unseen(values, self._seen, new):
            self._parts.append(new[:count].copy())

    def values(self) -> np.ndarray:
        """Those so far, int32."""
        return np.concatenate(self._parts)


@numba.njit(cache=True, no_cfunc_wrapper=True, nogil=True)
def _unseen(values: np.ndarray, seen: np.ndarray, new: np.ndarray) -> int:
    """Note which values were seen, and put into `new` those that were not; how many."""
    count = 0
    for value in values:
        byte, bit = value >> 3, 1 << (value & 7)
        if not seen[byte] & bit:
            seen[byte] |= bit
            new[count] = value
            count += 1
    return count


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
