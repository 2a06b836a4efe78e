"""Random crops and augmentation of the MLPerf U-Net reference, with its constants.

Source: data_loading/pytorch_loader.py of mlcommons/training (image_segmentation/pytorch). A box or crop has one
range of voxels per axis; volumes are NumPy arrays of shape (D, H, W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

FLIP_PROBABILITY = 1 / 3
"""Of each axis by itself."""
BRIGHTNESS_PROBABILITY = NOISE_PROBABILITY = 0.1
BRIGHTNESS = (0.7, 1.3)
"""Added to 1 to give the factor, as the reference does: it lies between 1.7 and 2.3."""
NOISE_STD = (0.0, 0.1)

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


def augment(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flip both, brighten and roughen the image; the results are views or new arrays."""
    for axis in range(3):
        if rng.random() < FLIP_PROBABILITY:
            image, label = np.flip(image, axis), np.flip(label, axis)
    if rng.random() < BRIGHTNESS_PROBABILITY:
        image = image * np.float32(1 + rng.uniform(*BRIGHTNESS))
    if rng.random() < NOISE_PROBABILITY:
        std = np.float32(rng.uniform(*NOISE_STD))
        noise = rng.standard_normal(image.shape, np.float32)
        noise *= std
        image = np.add(image, noise, out=noise)
    return image, label
