"""Batches for Mask R-CNN: images of their own sizes, padded to one, and what is in them.

Rules and constants: mlcommons/training, object_detection/pytorch (data/transforms, data/samplers).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from octathlon.benchmarks.maskrcnn.masks import Polygons
from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.loader import Split

MULTIPLE = 32
"""A batch's sides are padded to multiples of the coarsest map's stride."""
FLIPPED = 0.5
MEAN_BGR = (102.9801, 115.9465, 122.7717)

Key = tuple[int, Sequence[int], float]
"""What identifies a batch: the pass over the images, the images' numbers, and the batch's weight."""


@dataclass
class Images:
    """N images, as the network takes them."""

    pixels: Tensor
    """(N, 3, H, W); uint8 RGB as loaded, then float32 BGR with the mean subtracted; 0 beyond an image's size"""
    sizes: list[tuple[int, int]]
    """height and width of each, without the padding"""

    def normalised(self, device: torch.device) -> Images:
        """On the device, BGR from 0 to 255 minus the mean."""
        pixels = self.pixels.to(device, non_blocking=True).flip(1)
        pixels = pixels - torch.tensor(MEAN_BGR, device=device).view(3, 1, 1)
        for image, (height, width) in zip(pixels, self.sizes, strict=True):
            image[:, height:] = 0
            image[:, :, width:] = 0
        return Images(pixels.contiguous(memory_format=torch.channels_last), self.sizes)


@dataclass
class Truth:
    """The objects of one image; crowds are left out."""

    boxes: Tensor
    """float32 (G, 4), in pixels of the resized image, see `boxes`"""
    labels: Tensor
    """int64 (G,), from 1 on"""
    polygons: list[Polygons]
    """in pixels of the resized image"""

    def to(self, device: torch.device) -> Truth:
        """With boxes and labels on another device."""
        return Truth(self.boxes.to(device), self.labels.to(device), self.polygons)


@dataclass
class Batch:
    """What a training step takes."""

    images: Images
    truth: list[Truth]
    weight: float = 1.0
    """its images as part of those of this rank's update"""

    def pin_memory(self) -> Batch:
        """For DataLoader."""
        images = Images(self.images.pixels.pin_memory(), self.images.sizes)
        return Batch(images, self.truth, self.weight)


def resized(width: int, height: int, shortest: int, longest: int) -> tuple[int, int]:
    """The width and height to which an image is resized: the shorter side becomes `shortest`, unless the longer one
    then exceeded `longest` (by more than rounding)."""
    short, long = sorted((width, height))
    side = shortest
    if long / short * side > longest:
        side = round(longest * short / long)
    if short == side:
        return width, height
    return (side, int(side * height / width)) if width < height else (int(side * width / height), side)


@dataclass(frozen=True)
class TrainingBatches(Dataset[Batch]):
    """Whether an image is flipped depends on seed, pass and its number alone, not on workers or ranks."""

    split: Split
    shortest: int
    longest: int
    seed: int

    def __getitem__(self, key: Key) -> Batch:
        turn, numbers, weight = key
        samples = [
            self._sample(int(number), np.random.default_rng([self.seed, turn, number]).random() < FLIPPED)
            for number in numbers
        ]
        return Batch(collate([image for image, _ in samples]), [truth for _, truth in samples], weight)

    def _sample(self, number: int, flipped: bool) -> tuple[Tensor, Truth]:
        image = load_image(self.split, number, self.shortest, self.longest)
        truth = load_truth(self.split, number, image.shape[2], image.shape[1], flipped)
        return (image.flip(2) if flipped else image), truth


@dataclass(frozen=True)
class EvaluationBatches(Dataset[Images]):
    """Images as they are, resized."""

    split: Split
    shortest: int
    longest: int

    def __getitem__(self, numbers: Sequence[int]) -> Images:
        return collate([load_image(self.split, number, self.shortest, self.longest) for number in numbers])


def load_image(split: Split, number: int, shortest: int, longest: int) -> Tensor:
    """An image in the network's size, uint8 (3, h, w), RGB; antialiased as PIL does it."""
    image = split.image(number)
    width, height = resized(image.shape[2], image.shape[1], shortest, longest)
    return interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]


def load_truth(split: Split, number: int, width: int, height: int, flipped: bool) -> Truth:
    """An image's objects, in an image resized to `width` x `height` and then flipped."""
    image, annotations = split.tables.images[number], split.tables.of_image(number)
    annotations = annotations[~annotations["crowd"]]
    boxes, usable = inclusive_boxes(annotations["box"], image["width"], image["height"])
    scale = np.array([width / image["width"], height / image["height"]])
    boxes = boxes[usable] * np.tile(scale, 2)
    polygons = [[part * scale for part in split.tables.polygons(each)] for each in annotations[usable]]
    if flipped:
        boxes = np.stack([width - 1 - boxes[:, 2], boxes[:, 1], width - 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        polygons = [[part * [-1, 1] + [width - 1, 0] for part in parts] for parts in polygons]
    labels = annotations["label"][usable].astype(np.int64)
    return Truth(torch.from_numpy(boxes + [0, 0, 1, 1]).float(), torch.from_numpy(labels), polygons)


def collate(images: Sequence[Tensor]) -> Images:
    """Images into one tensor, at the top left of it."""
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = (-(-max(sides) // MULTIPLE) * MULTIPLE for sides in zip(*sizes, strict=True))
    pixels = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
    for padded, image in zip(pixels, images, strict=True):
        padded[:, : image.shape[1], : image.shape[2]] = image
    return Images(pixels, sizes)


def portrait(split: Split) -> np.ndarray:
    """Whether each image of a split is at least as high as wide: bool of shape (images,)."""
    images = split.tables.images
    return images["height"] >= images["width"]


def grouped_batches(numbers: np.ndarray, upright: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`numbers` in batches of `size`, landscape and portrait images apart, so that little is padded.

    Batches come in the order of their first images; each group's last one may be small.

    Args:
        upright: whether each of `numbers` is a portrait.
    """
    batches = []
    for group in (False, True):
        positions = np.flatnonzero(upright == group)
        batches += [positions[start : start + size] for start in range(0, len(positions), size)]
    for positions in sorted(batches, key=lambda positions: positions[0]):
        yield numbers[positions]
