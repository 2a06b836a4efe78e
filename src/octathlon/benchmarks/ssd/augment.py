"""What a training image goes through: a crop that keeps objects, a flip, a resize, other colours.

Steps and constants: mlcommons/training, single_stage_detector/ssd/utils.py. The colours differ: brightness,
contrast, saturation and hue, in random order, are affine maps of RGB, so their product is drawn for each image and
applied to a whole batch on the training device. It is clamped once, at the end, and the hue turns around the grey
axis instead of through HSV; the round allows any jitter of similar distribution and magnitude.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

LEAST_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""Modes of the crop: the whole image, or the overlap that the crop must exceed with every box (0.0: any)."""
ANY = LEAST_OVERLAPS[-1]
SHORTEST = 0.3
"""A crop's sides are at least this part of the image's."""
FLIPPED = 0.5
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.125, 0.5, 0.5, 0.05
"""Greatest changes of the factors around 1, and of the hue in turns of the colour circle."""
GREY = np.array([0.299, 0.587, 0.114])


def random_crop(rng: np.random.Generator, boxes: np.ndarray, tries: int) -> tuple[np.ndarray, np.ndarray]:
    """A window and the boxes whose centres are in it.

    Args:
        boxes: left, top, right, bottom as fractions of the image, of shape (G, 4).
        tries: windows that are tried before the mode is drawn anew.

    Returns:
        the window's corners as fractions, of shape (4,), and which boxes it keeps, bool of shape (G,).
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    while True:
        least = LEAST_OVERLAPS[rng.integers(len(LEAST_OVERLAPS))]
        if least is None:
            return np.array([0.0, 0.0, 1.0, 1.0]), np.ones(len(boxes), bool)
        for _ in range(tries):
            width, height = rng.uniform(SHORTEST, 1, 2)
            if not 0.5 <= width / height <= 2:
                continue
            left, top = rng.uniform(0, [1 - width, 1 - height])
            window = np.array([left, top, left + width, top + height])
            if least != ANY and _overlaps(window, boxes).min() <= least:
                continue
            kept = ((centres > window[:2]) & (centres < window[2:])).all(1)
            if kept.any():
                return window, kept


def _overlaps(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a window and each box."""
    sides = (np.minimum(window[2:], boxes[:, 2:]) - np.maximum(window[:2], boxes[:, :2])).clip(0)
    intersection = sides[:, 0] * sides[:, 1]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return intersection / (areas + (window[2] - window[0]) * (window[3] - window[1]) - intersection)


def cut_boxes(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Boxes within a window, as fractions of it."""
    low, high = window[[0, 1, 0, 1]], window[[2, 3, 2, 3]]
    return (boxes.clip(low, high) - low) / (high - low)


def cut_pixels(image: Tensor, window: np.ndarray) -> Tensor:
    """The window's pixels of an image of shape (3, H, W)."""
    height, width = image.shape[1:]
    left, top, right, bottom = (window * [width, height, width, height]).astype(int).tolist()
    return image[:, top:bottom, left:right]


def flip_boxes(boxes: np.ndarray) -> np.ndarray:
    """Mirrored left to right."""
    return np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def resize(image: Tensor, size: int) -> Tensor:
    """uint8 (3, H, W) -> uint8 (3, size, size), antialiased as PIL does it, whatever the aspect ratio."""
    return interpolate(image[None], (size, size), mode="bilinear", antialias=True)[0]


def jitter(rng: np.random.Generator, mean: np.ndarray) -> np.ndarray:
    """Brightness, contrast, saturation and hue in random order, as one affine map.

    Args:
        mean: the image's mean colour, shape (3,); the contrast stretches around its grey.

    Returns:
        float64 of shape (3, 4): a matrix for RGB from 0 to 1, and what is added.
    """
    matrix, shift = np.eye(3), np.zeros(3)
    changes = rng.uniform(-1, 1, 4) * (BRIGHTNESS, CONTRAST, SATURATION, HUE)
    for kind in rng.permutation(4):
        change, added = _change(int(kind), changes[kind], matrix @ mean + shift)
        matrix, shift = change @ matrix, change @ shift + added
    return np.column_stack([matrix, shift])


def _change(kind: int, amount: float, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
    """One of the four as matrix and shift; `mean` is the image's colour before it."""
    if kind == 0:
        return np.eye(3) * (1 + amount), 0.0
    if kind == 1:
        return np.eye(3) * (1 + amount), np.full(3, -amount * (GREY @ mean))
    if kind == 2:
        return np.eye(3) * (1 + amount) - amount * GREY, 0.0
    return _turn(2 * math.pi * amount), 0.0


def _turn(angle: float) -> np.ndarray:
    """The rotation of RGB around the grey axis (Rodrigues' formula)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return np.eye(3) * math.cos(angle) + math.sin(angle) * cross + (1 - math.cos(angle)) / 3


def recolour(images: Tensor, maps: Tensor) -> Tensor:
    """Apply each image's affine map: uint8 (N, 3, H, W) and (N, 3, 4) -> float32 from 0 to 1."""
    with torch.autocast(images.device.type, enabled=False):  # 8 bits of colour need more than bf16's
        found = torch.baddbmm(maps[:, :, 3:], maps[:, :, :3] / 255, images.flatten(2).float())
    return found.clamp_(0, 1).view(images.shape)
