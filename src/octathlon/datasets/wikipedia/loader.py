"""Prepared Wikipedia -> batches without padding, for any number of workers and ranks.

A batch is the samples' pieces one after the other; what a model needs to find its way in them comes along. An item of
a data set here is a whole batch, which the sampler names by shards and rows. A shard is read as a whole and at most
one is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from octathlon.datasets.wikipedia.samples import Samples
from octathlon.datasets.wikipedia.shards import read_shard

Key = Sequence[tuple[str, np.ndarray]]
"""What identifies a batch: shards, and the rows of each."""


class Batch(NamedTuple):
    """`samples` samples with `tokens` pieces in all. Tensors are int64."""

    pieces: Tensor
    """(tokens,)"""
    segments: Tensor
    """(tokens,) 0 or 1"""
    positions: Tensor
    """(tokens,) each piece's position in its sample"""
    places: Tensor
    """(tokens,) each piece's place in a padded grid of samples x longest"""
    lengths: Tensor
    """(samples,)"""
    masked: Tensor
    """(masked,) which of the pieces are to be predicted"""
    labels: Tensor
    """(masked,) their true numbers"""
    random_next: Tensor
    """(samples,) 1 if segment 1 does not follow segment 0"""
    longest: int
    """Pieces of the longest sample."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self[:-1]), self.longest)


def collate(samples: Samples) -> Batch:
    """The batch of some samples."""
    fields = samples.fields
    lengths, starts = fields["input_ids"].lengths, fields["input_ids"].bounds[:-1]
    longest, tokens = int(lengths.max()), int(lengths.sum())
    positions = np.arange(tokens) - np.repeat(starts, lengths)
    places = positions + np.repeat(np.arange(len(samples)) * longest, lengths)
    masked = fields["masked_lm_positions"]
    arrays = (
        fields["input_ids"].flat,
        fields["segment_ids"].flat,
        positions,
        places,
        lengths,
        masked.flat + np.repeat(starts, masked.lengths),
        fields["masked_lm_ids"].flat,
        samples.next_sentence_labels,
    )
    return Batch(*(torch.from_numpy(array.astype(np.int64, copy=False)) for array in arrays), longest)


class Batches(Dataset[Batch]):
    """A data set of batches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name, self._shard = "", None

    def __getitem__(self, key: Key) -> Batch:
        parts = [self._read(name).take(rows) for name, rows in key]
        return collate(parts[0] if len(parts) == 1 else Samples.join(parts))

    def _read(self, name: str) -> Samples:
        if name != self._name:
            self._name, self._shard = name, read_shard(self._folder / name)
        return self._shard


def training_keys(
    shards: Mapping[str, int], seed: int, epoch: int, local_batch: int, rank: int, world: int
) -> Iterator[Key]:
    """This rank's part of each global batch of an epoch: shards in random order, and the samples of each.

    Every sample comes once, but for those that don't fill a last batch. N ranks together see the same batches as one
    rank with N times the local batch.

    Args:
        shards: the samples of each shard, by name.
    """
    names = list(shards)
    order = np.random.default_rng([seed, epoch]).permutation(len(names))
    bounds = np.cumsum([0, *(shards[names[number]] for number in order)])

    @cache
    def rows(number: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch, number]).permutation(shards[names[number]])

    size = local_batch * world
    for begin in range(0, int(bounds[-1]) - size + 1, size):
        start, stop = begin + rank * local_batch, begin + (rank + 1) * local_batch
        first, last = np.searchsorted(bounds, [start, stop - 1], side="right") - 1
        key = []
        for place in range(first, last + 1):
            number = int(order[place])
            part = rows(number)[max(start - bounds[place], 0) : stop - bounds[place]]
            if len(part):
                key.append((names[number], part))
        yield key


def load(folder: Path, keys: Iterable[Key], *, workers: int, pin_memory: bool) -> DataLoader[Batch]:
    """The batches in the order of `keys`, read ahead by `workers` processes, or here if there are none."""
    return DataLoader(
        Batches(folder), batch_size=None, sampler=keys, num_workers=workers, pin_memory=pin_memory
    )


def evaluation_batches(folder: Path, manifest: Mapping[str, Any], share: range, size: int) -> list[Batch]:
    """A share of the evaluation set in batches of at most `size` samples, alike in length to save time."""
    (name,) = manifest["splits"]["eval"]
    samples = read_shard(folder / name).take(np.array(share, dtype=np.int64))
    order = np.argsort(samples.fields["input_ids"].lengths, kind="stable")
    return [collate(samples.take(order[start : start + size])) for start in range(0, len(order), size)]
