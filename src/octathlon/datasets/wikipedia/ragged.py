"""Rows of different lengths in one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LONG = 8
"""Rows of more entries than this are faster copied row by row than entry by entry."""


@dataclass(frozen=True)
class Ragged:
    """Row i is `flat[bounds[i] : bounds[i + 1]]`."""

    flat: np.ndarray
    bounds: np.ndarray
    """int64 of shape (rows + 1,), from 0 to len(flat)."""

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], dtype: str) -> Ragged:
        """Join rows."""
        bounds = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        flat = np.concatenate(rows) if len(rows) else np.empty(0)
        return cls(flat.astype(dtype, copy=False), bounds)

    @classmethod
    def join(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of all parts."""
        offsets = np.cumsum([0, *(len(part.flat) for part in parts)])
        bounds = [part.bounds[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
        return cls(np.concatenate([part.flat for part in parts]), np.concatenate([[0], *bounds]))

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.bounds[row] : self.bounds[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """int64 of shape (rows,)"""
        return np.diff(self.bounds)

    def take(self, rows: np.ndarray) -> Ragged:
        """The given rows, in that order."""
        starts, stops = self.bounds[rows], self.bounds[np.asarray(rows) + 1]
        lengths = stops - starts
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        if bounds[-1] > LONG * len(lengths):
            slices = zip(starts.tolist(), stops.tolist(), strict=True)
            return Ragged(np.concatenate([self.flat[start:stop] for start, stop in slices]), bounds)
        places = np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], lengths)
        return Ragged(self.flat[places], bounds)

    def rows(self) -> np.ndarray:
        """The rows as an array of arrays, as HDF5 wants them."""
        views = np.empty(len(self), dtype=object)
        views[:] = np.split(self.flat, self.bounds[1:-1]) if len(self) else []
        return views
