"""Prepared Wikipedia -> batches without padding, for any number of workers and ranks.

A batch is the samples' pieces one after the other; what a model needs to find its way in them comes along. An item of
a data set here is a whole batch, which the sampler names by shards and rows.

Neighbouring samples come from the same text, so each batch is drawn from many shards at a time. A shard is read as a
whole; a rank reads from its part of those that are open, and keeps two more at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.wikipedia.samples import Samples
from octathlon.datasets.wikipedia.shards import read_shard

OPEN_SHARDS = 16
"""From how many places in the order of the shards each batch is drawn, by all ranks together. The reference reads 8
files at a time, each a part of the text; shards of one part may meet here, so that of 16 more than 8 differ."""

Key = Sequence[tuple[str, np.ndarray]]
"""What identifies a batch: shards, and the rows of each."""


class Batch(NamedTuple):
    """`samples` samples with `tokens` pieces in all. Tensors are int64 where nothing else is said."""

    pieces: Tensor
    """(tokens,)"""
    segments: Tensor
    """(tokens,) 0 or 1"""
    positions: Tensor
    """(tokens,) each piece's position in its sample"""
    offsets: Tensor
    """(samples + 1,) int32: where each sample begins, and where the last one ends"""
    masked: Tensor
    """(masked,) which of the pieces are to be predicted"""
    labels: Tensor
    """(masked,) their true numbers"""
    random_next: Tensor
    """(samples,) 1 if segment 1 does not follow segment 0"""
    lengths: Sequence[int]
    """Pieces of each sample, on the host: nothing has to wait for the device to know a shape."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self[:-1]), self.lengths)


def collate(samples: Samples) -> Batch:
    """The batch of some samples."""
    fields = samples.fields
    lengths, bounds = fields["input_ids"].lengths, fields["input_ids"].bounds
    starts, masked = bounds[:-1], fields["masked_lm_positions"]

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array.astype(np.int64, copy=False))

    return Batch(
        pieces=tensor(fields["input_ids"].flat),
        segments=tensor(fields["segment_ids"].flat),
        positions=tensor(np.arange(bounds[-1]) - np.repeat(starts, lengths)),
        offsets=torch.from_numpy(bounds.astype(np.int32)),
        masked=tensor(masked.flat + np.repeat(starts, masked.lengths)),
        labels=tensor(fields["masked_lm_ids"].flat),
        random_next=tensor(samples.next_sentence_labels),
        lengths=lengths.tolist(),
    )


class Batches(Dataset[Batch]):
    """A data set of batches that keeps the `limit` shards that it read from last."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._open: dict[str, Samples] = {}

    def __getitem__(self, key: Key) -> Batch:
        parts = [self._read(name).take(rows) for name, rows in key]
        return collate(parts[0] if len(parts) == 1 else Samples.join(parts))

    def _read(self, name: str) -> Samples:
        shard = self._open.pop(name, None)
        if shard is None:
            while len(self._open) >= self._limit:
                del self._open[next(iter(self._open))]  # the one that was not used for longest
            shard = read_shard(self._folder / name)
        self._open[name] = shard
        return shard


def training_keys(
    shards: Mapping[str, int],
    seed: int,
    epoch: int,
    local_batch: int,
    rank: int,
    world: int,
    accumulation: int = 1,
) -> Iterator[Key]:
    """This rank's part of each micro-batch of an epoch.

    The shards, in random order one behind the other, are cut into OPEN_SHARDS streams of equal length, and the samples
    of a shard are in random order. The batch of an update takes the next few samples of every stream; its micro-batches
    and ranks take neighbouring ones, so that a rank reads from few streams and stays with them.

    Every sample comes once, but for those that don't fill a last batch. N ranks together see the same batches as one
    rank with N times the local batch, and the same micro-batches as one rank with N times the accumulation.

    Args:
        shards: the samples of each shard, by name.
        accumulation: micro-batches of an update.
    """
    names = list(shards)
    order = np.random.default_rng([seed, epoch]).permutation(len(names))
    bounds = np.cumsum([0, *(shards[names[number]] for number in order)])

    @lru_cache(2 * OPEN_SHARDS)
    def rows(number: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch, number]).permutation(shards[names[number]])

    def key(samples: np.ndarray) -> Key:
        places = np.searchsorted(bounds, samples, side="right") - 1
        parts = ((place, samples[places == place] - bounds[place]) for place in np.unique(places))
        return [(names[order[place]], rows(int(order[place]))[part]) for place, part in parts]

    total, size = int(bounds[-1]), local_batch * world * accumulation
    for first in range(0, total - size + 1, size):
        batch = _from_all_streams(first, size, total)
        for part in range(rank * accumulation, (rank + 1) * accumulation):
            yield key(batch[part * local_batch : (part + 1) * local_batch])


def _from_all_streams(first: int, count: int, total: int) -> np.ndarray:
    """Which of `total` samples come as the `first` and the next ones, a sample of each stream in turn; sorted."""
    row, stream = np.divmod(np.arange(first, first + count), OPEN_SHARDS)
    length, longer = divmod(total, OPEN_SHARDS)  # the first streams have one more
    return np.sort(stream * length + np.minimum(stream, longer) + row)


def open_batches(folder: Path, world: int = 1) -> Batches:
    """The batches of one of `world` ranks that share the open shards."""
    return Batches(
        folder, -(-OPEN_SHARDS // world) + 2
    )  # a rank's share may begin and end between two streams


def evaluation_batches(folder: Path, manifest: Mapping[str, Any], share: range, size: int) -> list[Batch]:
    """A share of the evaluation set in batches of at most `size` samples, alike in length to save time."""
    (name,) = manifest["splits"]["eval"]
    samples = read_shard(folder / name).take(np.array(share, dtype=np.int64))
    order = np.argsort(samples.fields["input_ids"].lengths, kind="stable")
    return [collate(samples.take(order[start : start + size])) for start in range(0, len(order), size)]
