"""Consecutive numbers for the values of a column, in the order in which they first appear."""

from __future__ import annotations

import mmap

import numpy as np
import polars as pl

MANY = 10_000
"""From so many values on, a table of huge pages is filled faster than one of small pages (measured)."""


class Dictionary:
    """Values below `limit` -> 0, 1, 2, ...

    A plain array with an entry for each possible value: its memory does not grow with the rows, and no hash
    table is as fast. It is a mapping whose pages become real when they are first written: a column of few
    values costs a few small pages.
    """

    def __init__(self, limit: int, values: np.ndarray | None = None) -> None:
        """`values`: distinct ones to begin with, numbered as they come."""
        self._mapping = mmap.mmap(-1, limit * 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._numbers = np.frombuffer(self._mapping, dtype=np.int32)  # counted from 1; 0: not seen
        self._values: list[np.ndarray] = []
        self._size = 0
        if values is not None:
            self._append(values)

    def add(self, values: np.ndarray) -> None:
        """Number those of `values` that are new."""
        unseen = values[self._numbers[values] == 0] if self._size else values
        if len(unseen):
            self._append(pl.Series(unseen).unique(maintain_order=True).to_numpy())

    def values(self) -> np.ndarray:
        """The values in the order of their numbers, int32."""
        return np.concatenate([np.empty(0, np.int32), *self._values])

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """The numbers of known values; -1 for an unknown one."""
        return self._numbers[values] - 1

    def _append(self, new: np.ndarray) -> None:
        if not self._size and hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
            self._mapping.madvise(mmap.MADV_HUGEPAGE if len(new) > MANY else mmap.MADV_NOHUGEPAGE)
        self._numbers[new] = np.arange(self._size + 1, self._size + 1 + len(new))
        self._values.append(new.astype(np.int32))
        self._size += len(new)
