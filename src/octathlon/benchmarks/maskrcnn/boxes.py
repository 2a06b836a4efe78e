"""Boxes as [left, top, right, bottom] in pixels, where right and bottom are the edges after the last pixel.

The reference (mlcommons/training, object_detection/pytorch) writes the last pixel itself and adds 1 whenever it needs
a width. In the convention here, one more on the right and below, that 1 is nowhere, and torchvision's functions
compute what the reference computes. `inclusive` goes back where the reference doesn't add 1: pooling, and masks.

Nothing here makes a tensor from numbers of the host, or one whose size the device decides: either would wait for it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST = math.log(1000 / 16)
"""The greatest logarithm of a size that is decoded."""


def inclusive(boxes: Tensor) -> Tensor:
    """The coordinates of the first and the last pixel."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - 1], -1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Move corners (N, K, 4) into images of height and width (N, 2); a box outside becomes one pixel at the border, and
    a corner that a diverged network puts nowhere (NaN) counts as 0."""
    end = sizes.flip(1)[:, None]
    boxes = boxes.nan_to_num()
    first = torch.minimum(boxes[..., :2].clamp(min=0), end - 1)
    return torch.cat([first, torch.minimum(boxes[..., 2:].clamp(min=1), end)], -1)


def encode(truth: Tensor, boxes: Tensor, weights: tuple[float, float]) -> Tensor:
    """True boxes as shifts from and ratios to boxes, both (..., 4), times the weights of centres and of sizes."""
    (centre, size), (true_centre, true_size) = _centre_and_size(boxes), _centre_and_size(truth)
    return torch.cat(
        [weights[0] * (true_centre - centre) / size, weights[1] * torch.log(true_size / size)], -1
    )


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, float]) -> Tensor:
    """The inverse of `encode`; sizes grow at most by a factor of 62.5."""
    centre, size = _centre_and_size(boxes)
    centre = deltas[..., :2] / weights[0] * size + centre
    half = 0.5 * (torch.exp((deltas[..., 2:] / weights[1]).clamp(max=LARGEST)) * size)
    return torch.cat([centre - half, centre + half], -1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def sample(labels: Tensor, count: int, positive_share: float) -> tuple[Tensor, Tensor]:
    """Choose at random among each image's labelled boxes: at most `count * positive_share` positives (above 0), the
    rest negatives (0).

    Args:
        labels: of shape (N, B).

    Returns:
        indices in rising order, int64 of shape (N, K) with K = min(count, B), and their labels, of the same shape: -1
        where an image has fewer to choose from.
    """
    draws = torch.rand(labels.shape, device=labels.device)  # the highest win
    count = min(count, labels.shape[1])
    positive = draws.masked_fill(labels <= 0, -1).topk(min(int(count * positive_share), count))
    negative = draws.masked_fill(labels != 0, -1).topk(count)
    ranks = torch.cat(
        [positive.values + positive.values.ge(0), negative.values], 1
    )  # positives before all others
    best = ranks.topk(count)
    index = torch.cat([positive.indices, negative.indices], 1).gather(1, best.indices)
    label = labels.gather(1, index).masked_fill(best.values < 0, -1)
    index, order = index.sort(1)
    return index, label.gather(1, order)
