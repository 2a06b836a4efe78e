"""Prepared KiTS19 -> crops to train on and whole volumes to evaluate, for any number of workers and ranks.

One item of the training set is a whole batch: the sampler says which cases, a worker reads and augments a crop of
each. A crop depends on the run's seed, the epoch and its place in the epoch alone, so neither workers nor ranks
change what is trained on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.kits19.augment import augment, foreground_crop, random_crop
from octathlon.datasets.kits19.shards import map_shard
from octathlon.errors import OctathlonError

Batch = tuple[Tensor, Tensor]
"""Images, float32 of shape (N, 1, D, H, W), and labels, uint8 of shape (N, D, H, W)."""
Key = tuple[int, Sequence[int], Sequence[int]]
"""What identifies a batch: the epoch, the places in its order, and the numbers of the cases there."""


class Cases:
    """The cases of one split, by number. Shards are opened at the first read, by the process that reads."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        self.facts: list[dict[str, Any]] = manifest["splits"][split]
        self._folder = folder
        self._shards: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}

    def __len__(self) -> int:
        return len(self.facts)

    def volumes(self, number: int) -> tuple[Tensor, Tensor]:
        """Image, float32, and label, uint8, both of shape (D, H, W). They are read when they are used, never written.

        Raises:
            OctathlonError: if the shard is missing or damaged.
        """
        name, shard = self.facts[number]["name"], self.facts[number]["shard"]
        if shard not in self._shards:
            mapped = map_shard(self._folder, shard)
            self._shards[shard] = {
                case: (_tensor(image), _tensor(label)) for case, (image, label) in mapped.items()
            }
        if name not in self._shards[shard]:
            raise OctathlonError(f"{self._folder}: no {name} in shard {shard}; prepare kits19 again")
        return self._shards[shard][name]


def _tensor(volume: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(volume)


class Crops(Dataset[Batch]):
    """A data set of training batches.

    Args:
        size: voxels of a crop's side.
        oversampling: the part of the crops that aim at a foreground class.
        empty: makes the tensors that a batch fills, called as `torch.empty` is.
    """

    def __init__(
        self,
        cases: Cases,
        size: int,
        oversampling: float,
        seed: int,
        empty: Callable[..., Tensor] = torch.empty,
    ) -> None:
        self._cases = cases
        self._size = size
        self._oversampling = oversampling
        self._seed = seed
        self._empty = empty

    def __getitem__(self, key: Key) -> Batch:
        epoch, places, numbers = key
        shape = (len(numbers), self._size, self._size, self._size)
        images, labels = self._empty(shape), self._empty(shape, dtype=torch.uint8)
        for position, (place, number) in enumerate(zip(places, numbers, strict=True)):
            rng = np.random.default_rng([self._seed, epoch, place])
            augment(*self._crop(number, rng), rng, images[position], labels[position])
        return images.unsqueeze(1), labels

    def _crop(self, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        facts = self._cases.facts[number]
        if rng.random() < self._oversampling:
            corner = foreground_crop(facts["shape"], self._size, facts["boxes"], rng)
        else:
            corner = random_crop(facts["shape"], self._size, rng)
        place = tuple(slice(first, first + self._size) for first in corner)
        image, label = self._cases.volumes(number)
        return image[place], label[place]


class Volumes(Dataset[Batch]):
    """A data set of whole volumes, as batches of one; for `empty` see `Crops`."""

    def __init__(self, cases: Cases, empty: Callable[..., Tensor] = torch.empty) -> None:
        self._cases = cases
        self._empty = empty

    def __getitem__(self, number: int) -> Batch:
        image, label = (
            self._empty(volume.shape, dtype=volume.dtype).copy_(volume)
            for volume in self._cases.volumes(number)
        )
        return image[None, None], label[None]
