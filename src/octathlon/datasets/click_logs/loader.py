"""Prepared click logs -> batches of rows, for any number of ranks.

A batch is a run of neighbouring rows, which the preparation has shuffled: one read, 160 bytes a row. Rows
travel as they are and become features on the training device, where they have fewer bytes to get to. So there is
nothing to compute, and a thread reads them: a process would have to hand over more than it saves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from octathlon.datasets.ahead import ahead
from octathlon.datasets.click_logs.rows import COLUMNS, FIRST_CATEGORY, ROW_BYTES
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError

Key = tuple[int, int]
"""A batch: the number of its first row, and how many it has."""
ITEM_BYTES = 16 << 20
"""Batches that are read into one piece of memory: together so many bytes or, if a single one has more, one."""
AHEAD = 2
"""Such pieces that are read before they are asked for."""


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


class Rows:
    """The rows of one split, by number. Nothing is kept in memory."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        names = manifest["splits"][split]
        self._shards = Shards([folder / name for name in names])
        self._bounds = [0, *accumulate(manifest["shards"][name]["bytes"] // ROW_BYTES for name in names)]

    def fill(self, first: int, buffer: Tensor) -> None:
        """Fill `buffer`, int32 of shape (count, 40), with the rows from `first` on.

        Raises:
            OctathlonError: if a file is missing or cut short.
        """
        shard = bisect_right(self._bounds, first) - 1
        here = self._bounds[shard + 1] - first
        self._read(shard, first - self._bounds[shard], buffer[:here])
        if here < len(buffer):
            self.fill(first + here, buffer[here:])

    def _read(self, shard: int, row: int, buffer: Tensor) -> None:
        try:
            self._shards.fill(shard, row * ROW_BYTES, buffer.numpy())
        except OSError as error:
            raise OctathlonError(
                f"{self._shards.paths[shard]}: cannot read it ({error}); prepare click_logs again"
            ) from error


class Stream(Iterable[Tensor]):
    """Batches of rows, int32 of shape (count, 40), in the order of their keys.

    Each batch stays as it is while somebody has it: memory is taken anew for each piece. PyTorch keeps what was given
    back and, where a GPU copies from it, waits until that is done.

    Args:
        keys: a collection makes a stream that can be iterated again.
        device: where the batches go: for a GPU they lie in memory that it copies from by itself.
        thread: whether one reads ahead, until the iterator ends; else each batch is read when it is asked for.

    Raises:
        OctathlonError: if a file is missing or cut short.
    """

    def __init__(self, rows: Rows, keys: Iterable[Key], device: torch.device, *, thread: bool) -> None:
        self._rows = rows
        self._keys = keys
        self._device = device
        self._thread = thread

    def __iter__(self) -> Iterator[Tensor]:
        if not self._thread:
            for key in self._keys:
                yield from self._read([key])
            return
        items = _grouped(self._keys, ITEM_BYTES // ROW_BYTES)
        for batches in ahead(map(self._read, items), AHEAD, self._begin):
            yield from batches

    def _begin(self) -> None:
        """A thread begins with the first GPU, whose memory it would use."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _read(self, keys: list[Key]) -> tuple[Tensor, ...]:
        counts = [count for _, count in keys]
        buffer = torch.empty(
            (sum(counts), COLUMNS), dtype=torch.int32, pin_memory=self._device.type == "cuda"
        )
        batches = buffer.split(counts)
        for (first, _), batch in zip(keys, batches, strict=True):
            self._rows.fill(first, batch)
        return batches


def _grouped(keys: Iterable[Key], most: int) -> Iterator[list[Key]]:
    """Runs of keys with at most `most` rows, or of one key."""
    group: list[Key] = []
    total = 0
    for key in keys:
        if group and total + key[1] > most:
            yield group
            group, total = [], 0
        group.append(key)
        total += key[1]
    if group:
        yield group
