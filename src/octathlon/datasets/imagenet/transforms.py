"""Crops and resizing with the arithmetic of the MLPerf ResNet reference, to the pixel of a decoded image.

Source: imagenet_preprocessing.py of mlcommons/training (image_classification/tensorflow2), and the
TensorFlow kernels that it calls: sample_distorted_bounding_box and the legacy (not half-pixel, not
anti-aliased) bilinear resize. Images are uint8 tensors of shape (3, height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

ASPECT_RATIOS = (0.75, 1.33)
MIN_AREA = 0.05
MIN_COVERED = 0.1
"""A crop must cover this part of the object's box; the records have no boxes, so of the whole image."""
ATTEMPTS = 100


class Crop(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def cut(self) -> tuple[slice, slice, slice]:
        """The index of its pixels in an image."""
        return (
            slice(None),
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )


class View(NamedTuple):
    """What is to be seen of a picture."""

    crop: Crop
    flipped: bool


class Picture(Protocol):
    """A uint8 tensor of shape (3, height, width), or what can be cut like one."""

    @property
    def shape(self) -> Sequence[int]: ...

    def __getitem__(self, cut: tuple[slice, slice, slice]) -> Tensor: ...


def random_view(height: int, width: int, rng: np.random.Generator) -> View:
    """A random crop of a picture of that size, flipped half of the time."""
    return View(random_crop(height, width, rng), rng.random() < 0.5)


def train_transform(picture: Picture, size: int, view: View) -> Tensor:
    """The view, squashed to `size` x `size`: uint8 of shape (3, size, size)."""
    image = picture[view.crop.cut]
    return resize(image.flip(-1) if view.flipped else image, size, size)


def eval_transform(picture: Picture, size: int, short_side: int) -> Tensor:
    """The central `size` x `size` pixels of the image whose shorter side is resized to `short_side`: float32 of shape
    (3, size, size), not rounded."""
    _, height, width = picture.shape
    scale = np.float32(short_side) / np.float32(min(height, width))
    new_height, new_width = int(np.float32(height) * scale), int(np.float32(width) * scale)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    rows, columns = _sources(top, size, height, new_height), _sources(left, size, width, new_width)
    pixels = picture[:, rows, columns].permute(1, 2, 0)
    # what the centre does not need stays black
    padded = torch.zeros((1, height + 1, width + 1, 3), device=pixels.device)
    _convert(pixels, padded[0, rows, columns])
    return _resize(padded, new_height, new_width)[:, top : top + size, left : left + size]


def _sources(first: int, count: int, source_size: int, size: int) -> slice:
    """The source indices that so many destination indices from `first` on lie between, and one more on either side."""
    ratio = source_size / size
    return slice(max(int(first * ratio) - 1, 0), min(int((first + count - 1) * ratio) + 3, source_size))


def rounded(exact: Tensor) -> Tensor:
    """Of 0 to 255, to whole levels: uint8."""
    levels = torch.empty_like(exact, dtype=torch.uint8)
    _convert(exact.round(), levels)
    return levels


def _convert(pixels: Tensor, to: Tensor) -> None:
    """Fill a tensor of another type."""
    if pixels.device.type == "cpu":
        to.numpy()[...] = pixels.numpy()  # a third of the time of PyTorch's conversion
    else:
        to.copy_(pixels)


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with source coordinate = destination index * (source size / destination size), edges clamped.

    Args:
        image: float32, or uint8, which on a CPU takes a third of the time: PyTorch then rounds to whole levels after
            each of both directions, so that a fifth of the values is one off what rounding once would give. On a GPU
            it interpolates no bytes, so there they are rounded once.

    Returns:
        Of the same type.
    """
    if image.dtype == torch.uint8 and image.device.type != "cpu":
        return rounded(resize(image.float(), height, width))
    channels, source_height, source_width = image.shape
    padded = image.new_empty((1, source_height + 1, source_width + 1, channels))
    padded[0, :-1, :-1] = image.permute(1, 2, 0)
    return _resize(padded, height, width)


def _resize(padded: Tensor, height: int, width: int) -> Tensor:
    """From shape (1, source height + 1, source width + 1, channels), where the last row and column are to spare, to
    (channels, height, width).

    The rule is PyTorch's align_corners, (n - 1) source steps on (m - 1) destination steps, for an image that is one
    pixel larger on both sides: the added source pixels repeat the edge, the added destination pixels go.
    """
    padded[0, -1, :-1] = padded[0, -2, :-1]
    padded[0, :, -1] = padded[0, :, -2]
    resized = torch.nn.functional.interpolate(
        padded.permute(0, 3, 1, 2), size=(height + 1, width + 1), mode="bilinear", align_corners=True
    )
    return resized[0, :, :-1, :-1]


def random_crop(height: int, width: int, rng: np.random.Generator) -> Crop:
    """Of a uniform aspect ratio and then a uniform height; the whole image if no attempt succeeds."""
    for _ in range(ATTEMPTS):
        crop = _attempt(height, width, *rng.random(4).tolist())
        if crop is not None and crop.height * crop.width >= MIN_COVERED * height * width:
            return crop
    return Crop(0, 0, height, width)


def _attempt(height: int, width: int, shape: float, size: float, down: float, across: float) -> Crop | None:
    """One attempt from four numbers in [0, 1), in float32 as the kernel; None if such a crop does not fit."""
    aspect_ratio = np.float32(ASPECT_RATIOS[0] + shape * (ASPECT_RATIOS[1] - ASPECT_RATIOS[0]))
    max_area = np.float32(height * width)
    min_area = np.float32(MIN_AREA) * max_area
    tallest = _tallest(height, width, aspect_ratio, max_area)
    lowest = min(round(np.sqrt(min_area / aspect_ratio)), tallest)
    crop_height = lowest + int(size * (tallest - lowest + 1))
    crop_width = round(crop_height * aspect_ratio)
    if crop_width * crop_height < min_area:
        crop_height += 1
    elif crop_width * crop_height > max_area:
        crop_height -= 1
    crop_width = round(crop_height * aspect_ratio)
    if not min_area <= crop_width * crop_height <= max_area or crop_height > height or crop_width > width:
        return None
    top, left = int(down * (height - crop_height)), int(across * (width - crop_width))
    return Crop(top, left, crop_height, crop_width)


def _tallest(height: int, width: int, aspect_ratio: np.float32, max_area: np.float32) -> int:
    """The greatest height of a crop of this aspect ratio that fits into the image."""
    tallest = round(np.sqrt(max_area / aspect_ratio))
    if round(tallest * aspect_ratio) > width:
        tallest = int((width + 0.5 - 1e-7) / float(aspect_ratio))
        tallest -= round(tallest * aspect_ratio) > width
    return min(tallest, height)
