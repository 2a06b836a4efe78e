"""Batches for SSD, made by the loader's workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.benchmarks.ssd import augment
from octathlon.datasets.coco.loader import Split
from octathlon.nn.shared_memory import empty

Key = tuple[int, Sequence[int], float]
"""What identifies a batch: the epoch, the numbers of the images, and the batch's weight."""


@dataclass
class Batch:
    """N images and what is in them."""

    images: Tensor
    """uint8 of shape (N, 3, S, S), RGB"""
    colours: Tensor
    """float32 of shape (N, 3, 4), see `augment.recolour`"""
    boxes: Tensor
    """left, top, right, bottom as fractions, float32 of shape (N, G, 4); filled up with zeros"""
    labels: Tensor
    """int64 of shape (N, G), 0 where a box only fills up"""
    weight: float = 1.0
    """N as part of what this rank has of the global batch"""

    def pin_memory(self) -> Batch:
        """For DataLoader."""
        return self._with(Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return self._with(partial(Tensor.to, device=device, non_blocking=True))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = (self.images, self.colours, self.boxes, self.labels)
        return Batch(*map(change, tensors), self.weight)


@dataclass(frozen=True)
class TrainingBatches(Dataset[Batch]):
    """An image's random changes depend on seed, epoch and its number alone, not on workers or ranks."""

    split: Split
    size: int
    max_samples: int
    seed: int

    def __getitem__(self, key: Key) -> Batch:
        epoch, numbers, weight = key
        samples = [
            self._sample(int(number), np.random.default_rng([self.seed, epoch, number])) for number in numbers
        ]
        images, colours, boxes, labels = zip(*samples, strict=True)
        most = max(map(len, labels))
        return Batch(
            stacked(images),
            torch.from_numpy(np.stack(colours)).float(),
            torch.from_numpy(np.stack([_filled(each, most) for each in boxes])).float(),
            torch.from_numpy(np.stack([_filled(each, most) for each in labels])),
            weight,
        )

    def _sample(
        self, number: int, rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray]:
        image = self.split.image(number)
        boxes, labels = truth(self.split, number)
        window, kept = augment.random_crop(rng, boxes, self.max_samples)
        image, boxes = augment.cut_pixels(image, window), augment.cut_boxes(boxes[kept], window)
        image = augment.resize(image, self.size)
        if rng.random() < augment.FLIPPED:
            image, boxes = image.flip(2), augment.flip_boxes(boxes)
        mean = image.float().mean((1, 2)).double().numpy() / 255
        return image, augment.jitter(rng, mean), boxes, labels[kept]


def truth(split: Split, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The boxes of an image, crowds included: corners as fractions, float64 (G, 4), and labels, int64 (G,)."""
    image, annotations = split.tables.images[number], split.tables.of_image(number)
    left, top, width, height = annotations["box"].T
    corners = np.stack([left, top, left + width, top + height], axis=1)
    sides = np.array([image["width"], image["height"]] * 2)
    return corners / sides, annotations["label"].astype(np.int64)


def _filled(array: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((length - len(array), *array.shape[1:]), array.dtype)])


@dataclass(frozen=True)
class EvaluationBatches(Dataset[Tensor]):
    """Images as they are, resized: uint8 of shape (N, 3, S, S)."""

    split: Split
    size: int

    def __getitem__(self, numbers: Sequence[int]) -> Tensor:
        return stacked([augment.resize(self.split.image(number), self.size) for number in numbers])


def stacked(images: Sequence[Tensor]) -> Tensor:
    """Images of one size as a batch."""
    return torch.stack(list(images), out=empty((len(images), *images[0].shape), images[0].dtype))
