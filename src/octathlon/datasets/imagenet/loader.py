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
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.imagenet.jpegs import open_jpeg
from octathlon.datasets.imagenet.shards import read_index, shard_files
from octathlon.datasets.imagenet.transforms import (
    Crop,
    Picture,
    View,
    eval_transform,
    random_view,
    rounded,
    train_transform,
)
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError

MEAN_RGB = (123.68, 116.78, 103.94)
"""Of the reference. Batches don't have it subtracted yet: they are a quarter as large as bytes."""

Batch = tuple[Tensor, Tensor]
Made = TypeVar("Made")
Key = tuple[int, Sequence[int]]
"""What identifies a batch: the epoch and the numbers of the images."""


class Transform(Protocol):
    """A picture -> what the network sees of it, in two steps, which may be done in two processes."""

    @property
    def size(self) -> int:
        """Pixels of a side."""
        ...

    def draw(self, height: int, width: int, epoch: int, number: int) -> View:
        """What is to be seen in an epoch of the image of that number, which has that size."""
        ...

    def apply(self, picture: Picture, view: View) -> Tensor:
        """It: uint8 of shape (3, size, size)."""
        ...


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
        return self.read_file(number, lambda content: transform(open_jpeg(content)))

    def read_file(self, number: int, use: Callable[[np.ndarray], Made]) -> tuple[Made, int]:
        """What `use` makes of the bytes of an image's file, and the image's label.

        Raises:
            OctathlonError: as above, and where `use` raises what decoders do.
        """
        shard = self._shard(number)
        offset, size, label = self._indices[shard][number - self._ends[shard]].item()  # counted from the end
        try:
            content = np.empty(size, dtype=np.uint8)
            self._shards.fill(shard, offset, content)
            return use(content), label
        except (OSError, ValueError, RuntimeError) as error:
            raise unreadable(self.path(number), number, error) from error

    def path(self, number: int) -> Path:
        """The file that has an image."""
        return self._shards.paths[self._shard(number)]

    def _shard(self, number: int) -> int:
        return int(np.searchsorted(self._ends, number, side="right"))


def unreadable(path: Path, number: int, error: Exception) -> OctathlonError:
    """What is said of an image that cannot be read, or decoded."""
    return OctathlonError(f"{path}: cannot read image {number} ({error}); prepare imagenet again")


class BatchesOf(Dataset[Made]):
    """A data set of batches, in whatever form.

    Args:
        empty: makes the tensor for the images, called as `torch.empty` is.
    """

    def __init__(
        self, images: Images, transform: Transform, empty: Callable[..., Tensor] = torch.empty
    ) -> None:
        self._images = images
        self._transform = transform
        self._empty = empty


class Batches(BatchesOf[Batch]):
    """Of images, uint8 of shape (N, 3, size, size), and labels, int64 of shape (N,)."""

    def __getitem__(self, key: Key) -> Batch:
        epoch, numbers = key
        images = empty_images(len(numbers), self._transform.size, self._empty)
        labels = torch.empty(len(numbers), dtype=torch.int64)
        for position, number in enumerate(numbers):
            transform = partial(self._transformed, epoch, number)
            images[position], labels[position] = self._images.read(number, transform)
        return images, labels

    def _transformed(self, epoch: int, number: int, picture: Picture) -> Tensor:
        view = self._transform.draw(*picture.shape[1:], epoch, number)
        return self._transform.apply(picture, view)


def empty_images(count: int, size: int, empty: Callable[..., Tensor], **options: Any) -> Tensor:
    """A tensor for images, uint8 of shape (count, 3, size, size), a pixel's channels together as a decoder leaves
    them."""
    return empty((count, size, size, 3), dtype=torch.uint8, **options).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class RandomCrops:
    """The training transform: an image looks different in each epoch and in each run."""

    size: int
    seed: int

    def draw(self, height: int, width: int, epoch: int, number: int) -> View:
        return random_view(height, width, np.random.default_rng([self.seed, epoch, number]))

    def apply(self, picture: Picture, view: View) -> Tensor:
        return train_transform(picture, self.size, view)


@dataclass(frozen=True)
class CentralCrop:
    """The evaluation transform: the same in each epoch, rounded to whole levels of 0 to 255."""

    size: int
    short_side: int

    def draw(self, height: int, width: int, epoch: int, number: int) -> View:
        """All of it, whatever the epoch: `apply` finds the centre."""
        return View(Crop(0, 0, height, width), flipped=False)

    def apply(self, picture: Picture, view: View) -> Tensor:
        return rounded(eval_transform(picture, self.size, self.short_side))
