"""Boxes as [left, top, right, bottom] in pixels, where right and bottom are the edges after the last pixel.

The reference (mlcommons/training, object_detection/pytorch) writes the last pixel itself and adds 1 whenever it needs
a width. In the convention here, one more on the right and below, that 1 is nowhere, and torchvision's functions
compute what the reference computes. `inclusive` goes back where the reference doesn't add 1: pooling, and masks.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inclusive(boxes: Tensor) -> Tensor:
    """The coordinates of the first and the last pixel."""
    return boxes - boxes.new_tensor([0, 0, 1, 1])


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Move corners into an image of (height, width); a box outside becomes one pixel at the border, and a corner that
    a diverged network puts nowhere (NaN) counts as 0."""
    height, width = size
    low = boxes.new_tensor([0, 0, 1, 1])
    high = boxes.new_tensor([width - 1, height - 1, width, height])
    return torch.minimum(torch.maximum(boxes.nan_to_num(), low), high)


def sample(labels: Tensor, count: int, positive_share: float) -> Tensor:
    """Choose among labelled boxes: at most `count * positive_share` positives (above 0), the rest negatives (0).

    Returns:
        indices in rising order, int64 of shape (K,).
    """
    positive, negative = (labels > 0).nonzero().flatten(), (labels == 0).nonzero().flatten()
    positives = min(len(positive), int(count * positive_share))
    negatives = min(len(negative), count - positives)
    chosen = [
        group[torch.randperm(len(group), device=labels.device)[:number]]
        for group, number in ((positive, positives), (negative, negatives))
    ]
    return torch.cat(chosen).sort().values
