"""Prepared click logs -> batches of rows, for any number of workers and ranks.

A batch is a run of neighbouring rows, which the preparation has shuffled: one read, 160 bytes a row. Rows
travel as they are and become features on the training device, where they have fewer bytes to get to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.click_logs.rows import COLUMNS, FIRST_CATEGORY, ROW_BYTES
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError

Key = tuple[int, int]
"""A batch: the number of its first row, and how many it has."""


class Features(NamedTuple):
    """What a model sees of N rows."""

    integers: Tensor
    """ln(integer + 1), float32 of shape (N, 13)"""
    indices: Tensor
    """Into the embedding tables, int32 of shape (N, 26)"""
    labels: Tensor
    """0 or 1, float32 of shape (N,)"""


def features(rows: Tensor) -> Features:
    """The features of rows, int32 of shape (N, 40), on whatever device they are."""
    integers = rows[:, 1:FIRST_CATEGORY].float().add_(1).log_()
    return Features(integers, rows[:, FIRST_CATEGORY:], rows[:, 0].float())


class Batches(Dataset[Tensor]):
    """The rows of one split by (first, count): int32 of shape (count, 40). Nothing is kept in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        names = manifest["splits"][split]
        self._shards = Shards([folder / name for name in names])
        self._ends = np.cumsum([manifest["shards"][name]["bytes"] // ROW_BYTES for name in names])

    def __getitem__(self, key: Key) -> Tensor:
        """
        Raises:
            OctathlonError: if a file is missing or cut short.
        """
        first, count = key
        rows = torch.empty((count, COLUMNS), dtype=torch.int32)
        done = 0
        while done < count:  # from one file to the next
            shard = int(np.searchsorted(self._ends, first + done, side="right"))
            part = rows[done : done + int(self._ends[shard]) - first - done]
            self._read(shard, first + done - int(self._ends[shard]), part)
            done += len(part)
        return rows

    def _read(self, shard: int, row: int, part: Tensor) -> None:
        """Fill `part` with what begins at `row` of a file, counted from its end."""
        rows = int(self._ends[shard] - (self._ends[shard - 1] if shard else 0))
        try:
            self._shards.fill(shard, (rows + row) * ROW_BYTES, part.numpy())
        except OSError as error:
            raise OctathlonError(
                f"{self._shards.paths[shard]}: cannot read it ({error}); prepare click_logs again"
            ) from error
