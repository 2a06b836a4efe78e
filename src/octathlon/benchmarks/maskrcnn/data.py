"""Batches for Mask R-CNN: images of their own sizes, padded to one, and what is in them.

Rules and constants: mlcommons/training, object_detection/pytorch (data/transforms, data/samplers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from octathlon.benchmarks.maskrcnn.masks import Outlines, Polygons
from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.loader import Split
from octathlon.nn.pixels import subtract
from octathlon.nn.shared_memory import empty

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
    """(N, 3, H, W); uint8 RGB as loaded, then BGR with the mean subtracted; 0 beyond an image's size"""
    sizes: Tensor
    """height and width of each, without the padding, int64 (N, 2)"""

    def pin_memory(self) -> Images:
        """For DataLoader."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> Images:
        """With both tensors changed."""
        return Images(change(self.pixels), change(self.sizes))

    def normalised(self, mean: Tensor, memory_format: torch.memory_format) -> Images:
        """BGR from 0 to 255 minus the mean (3, 1, 1), see `pixels.subtract`."""
        pixels, sizes = subtract(self.pixels.flip(1), mean, memory_format), self.sizes[:, :, None]
        rows, columns = (torch.arange(count, device=mean.device) for count in pixels.shape[2:])
        inside = (rows < sizes[:, 0])[:, :, None] & (columns < sizes[:, 1])[:, None]
        return Images(pixels.mul_(inside[:, None]), self.sizes)


@dataclass
class Truth:
    """The objects of one image; crowds are left out."""

    boxes: Tensor
    """float32 (G, 4), in pixels of the resized image, see `boxes`"""
    labels: Tensor
    """int64 (G,), from 1 on"""
    polygons: list[Polygons]
    """in pixels of the resized image"""


@dataclass
class Objects:
    """The objects of N images, as the losses take them."""

    boxes: Tensor
    """(N, G, 4), see `Truth`, filled up with zeros"""
    labels: Tensor
    """(N, G), 0 where a box only fills up"""
    outlines: Outlines
    """of the N * G objects, the fillers among them"""
    counts: list[int]
    """objects of each image"""

    @classmethod
    def of(cls, truth: Sequence[Truth]) -> Objects:
        """Of several images."""
        counts = [len(each.labels) for each in truth]
        polygons = [
            parts for each in truth for parts in (*each.polygons, *[[]] * (max(counts) - len(each.polygons)))
        ]
        boxes, labels = (
            pad_sequence([getattr(each, name) for each in truth], batch_first=True)
            for name in ("boxes", "labels")
        )
        return cls(boxes, labels, Outlines.of(polygons), counts)

    def of_images(self) -> list[Tensor]:
        """Each image's boxes, without those that fill up."""
        return [boxes[:count] for boxes, count in zip(self.boxes, self.counts, strict=True)]

    def map(self, change: Callable[[Tensor], Tensor]) -> Objects:
        """With all tensors changed."""
        return Objects(change(self.boxes), change(self.labels), self.outlines.map(change), self.counts)


@dataclass
class Batch:
    """What a training step takes."""

    images: Images
    objects: Objects
    weight: float = 1.0
    """its images as part of those of this rank's update"""

    def pin_memory(self) -> Batch:
        """For DataLoader."""
        return self._map(Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return self._map(partial(Tensor.to, device=device, non_blocking=True))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(self.images.map(change), self.objects.map(change), self.weight)


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
        images, truth = zip(*samples, strict=True)
        return Batch(collate(images), Objects.of(truth), weight)

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
    # A decoder leaves a pixel's channels together; of `image[None]` PyTorch can't tell, and takes five times as long.
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return interpolate(batch, (height, width), mode="bilinear", antialias=True)[0]


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
    """Images into one tensor, channels last as they are, at the top left of it."""
    sizes = [(image.shape[1], image.shape[2]) for image in images]
    height, width = (-(-max(sides) // MULTIPLE) * MULTIPLE for sides in zip(*sizes, strict=True))
    pixels = empty((len(images), height, width, 3), torch.uint8).permute(0, 3, 1, 2)
    for padded, image, (bottom, right) in zip(pixels, images, sizes, strict=True):
        padded[:, :bottom, :right] = image
        padded[:, :bottom, right:] = padded[:, bottom:] = 0
    return Images(pixels, torch.tensor(sizes))


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
