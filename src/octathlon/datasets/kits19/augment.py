"""Random crops and augmentation of the MLPerf U-Net reference, with its constants.

Source: data_loading/pytorch_loader.py of mlcommons/training (image_segmentation/pytorch). A box or crop has one
range of voxels per axis; volumes are tensors of shape (D, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

FLIP_PROBABILITY = 1 / 3
"""Of each axis by itself."""
BRIGHTNESS_PROBABILITY = NOISE_PROBABILITY = 0.1
BRIGHTNESS = (0.7, 1.3)
"""Added to 1 to give the factor, as the reference does: it lies between 1.7 and 2.3."""
NOISE_STD = (0.0, 0.1)

SLAB = 8
"""Slices that a processor's cache holds."""

Box = Sequence[Sequence[int]]
"""Per axis: first voxel and end."""


def random_crop(shape: Sequence[int], size: int, rng: np.random.Generator) -> list[int]:
    """The first voxel, per axis, of a cube of side `size` anywhere in a volume (the last place is never taken)."""
    return [int(rng.integers(length - size)) if length > size else 0 for length in shape]


def foreground_crop(
    shape: Sequence[int], size: int, boxes: Mapping[str, Sequence[Box]], rng: np.random.Generator
) -> list[int]:
    """Like `random_crop`, but the cube holds a whole component (or, of one that is larger, nothing else).

    Args:
        boxes: per class that is there, the boxes of its largest components; a class is drawn, then one of its boxes.
    """
    if not boxes:
        return random_crop(shape, size, rng)
    choices = boxes[sorted(boxes)[rng.integers(len(boxes))]]
    box = choices[rng.integers(len(choices))]
    return [_around(*edges, length, size, rng) for edges, length in zip(box, shape, strict=True)]


def _around(first: int, end: int, length: int, size: int, rng: np.random.Generator) -> int:
    """The first voxel of a range of `size` voxels, within `length`, that holds [first, end) or is held by it."""
    room = size - (end - first)
    offset = int(rng.integers(abs(room))) if room else 0
    if room < 0:
        return first + offset
    return min(max(first - offset, 0), length - size)


def augment(
    image: Tensor, label: Tensor, rng: np.random.Generator, new_image: Tensor, new_label: Tensor
) -> None:
    """Flip both, brighten and roughen the image, into the new ones."""
    axes = [axis for axis in range(3) if rng.random() < FLIP_PROBABILITY]
    for volume, new in ((image, new_image), (label, new_label)):
        _flip(volume, axes, new) if axes else new.copy_(volume)
    if rng.random() < BRIGHTNESS_PROBABILITY:
        new_image *= 1 + rng.uniform(*BRIGHTNESS)
    if rng.random() < NOISE_PROBABILITY:
        _roughen(new_image, rng.uniform(*NOISE_STD), int(rng.integers(1 << 63)))


def _flip(volume: Tensor, axes: Sequence[int], new: Tensor) -> None:
    """Slab by slab: a copy of the whole on the way would cost more than the flips, for its fresh memory."""
    for first in range(0, len(volume), SLAB):
        part = volume[first : first + SLAB]
        end = first + len(part)
        place = slice(len(volume) - end, len(volume) - first) if 0 in axes else slice(first, end)
        new[place] = part.flip(axes)


def _roughen(image: Tensor, std: float, seed: int) -> None:
    """Add normal noise. PyTorch draws it in half of NumPy's time, a slice at a time stays in the cache."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.empty_like(image[0])
    for part in image:
        part += noise.normal_(0, std, generator=generator)
