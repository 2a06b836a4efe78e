"""Prepared ImageNet -> batches of images and labels, for any number of workers and ranks.

One item of a data set here is a whole batch: the sampler says which images, a worker reads, decodes and
transforms them into one tensor, and nothing is collated afterwards. An image's random crop depends on seed,
epoch and its number in the data set alone, so neither workers nor ranks change what is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.imagenet.jpegs import open_jpeg
from octathlon.datasets.imagenet.shards import read_index, shard_files
from octathlon.datasets.imagenet.transforms import Picture, eval_transform, train_transform
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError

MEAN_RGB = (123.68, 116.78, 103.94)
"""Of the reference. Batches don't have it subtracted yet: they are a quarter as large as bytes."""

Batch = tuple[Tensor, Tensor]
Transform = Callable[[Picture, int, int], Tensor]
"""(image, epoch, number of the image) -> uint8 of shape (3, size, size)"""
Key = tuple[int, Sequence[int]]
"""What identifies a batch: the epoch and the numbers of the images."""


class Images:
    """The images of one split, by number."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        names = manifest["splits"][split]
        self._shards = Shards([folder / shard_files(name)[0] for name in names])
        self._indices = [read_index(folder, name) for name in names]
        self._ends = np.cumsum([len(index) for index in self._indices])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, number: int, transform: Callable[[Picture], Tensor]) -> tuple[Tensor, int]:
        """What `transform` makes of an image, and the image's label.

        Raises:
            OctathlonError: if the shard is missing, cut short or damaged.
        """
        shard = int(np.searchsorted(self._ends, number, side="right"))
        offset, size, label = self._indices[shard][number - self._ends[shard]].item()  # counted from the end
        try:
            content = np.empty(size, dtype=np.uint8)
            self._shards.fill(shard, offset, content)
            return transform(open_jpeg(content)), label
        except (OSError, ValueError, RuntimeError) as error:
            raise OctathlonError(
                f"{self._shards.paths[shard]}: cannot read image {number} ({error}); prepare imagenet again"
            ) from error


class Batches(Dataset[Batch]):
    """A data set of batches: images, uint8 of shape (N, 3, size, size), and labels, int64 of shape (N,).

    Args:
        empty: makes the images' tensor, called as `torch.empty` is.
    """

    def __init__(
        self, images: Images, size: int, transform: Transform, empty: Callable[..., Tensor] = torch.empty
    ) -> None:
        self._images = images
        self._size = size
        self._transform = transform
        self._empty = empty

    def __getitem__(self, key: Key) -> Batch:
        epoch, numbers = key
        shape = (len(numbers), self._size, self._size, 3)  # as pictures are decoded
        images = self._empty(shape, dtype=torch.uint8).permute(0, 3, 1, 2)
        labels = torch.empty(len(numbers), dtype=torch.int64)
        for position, number in enumerate(numbers):
            transform = partial(self._transform, epoch=epoch, number=number)
            images[position], labels[position] = self._images.read(number, transform)
        return images, labels


@dataclass(frozen=True)
class RandomCrops:
    """The training transform: an image looks different in each epoch and in each run."""

    size: int
    seed: int

    def __call__(self, image: Picture, epoch: int, number: int) -> Tensor:
        return train_transform(image, self.size, np.random.default_rng([self.seed, epoch, number]))


@dataclass(frozen=True)
class CentralCrop:
    """The evaluation transform: the same in each epoch, rounded to whole levels of 0 to 255."""

    size: int
    short_side: int

    def __call__(self, image: Picture, epoch: int, number: int) -> Tensor:
        exact = eval_transform(image, self.size, self.short_side)
        return torch.from_numpy(
            exact.numpy().round().astype(np.uint8)
        )  # a third of the time of PyTorch's conversion
