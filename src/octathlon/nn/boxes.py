"""Boxes as corners: left, top, right, bottom."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair of boxes: (..., G, 4) and (..., B, 4) -> (..., G, B).

    torchvision's function to the digit, but one axis at a time: with both in one tensor it takes twice the memory.
    """
    area, other_area = (
        (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]) for boxes in (first, second)
    )
    intersection = _side(first, second, 0).mul_(_side(first, second, 1))
    union = (area[..., None] + other_area[..., None, :]).sub_(intersection)
    return intersection.div_(union)


def _side(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """The length of each intersection along an axis."""
    end = torch.minimum(first[..., axis + 2, None], second[..., None, :, axis + 2])
    return end.sub_(torch.maximum(first[..., axis, None], second[..., None, :, axis])).clamp_(0)


def take(boxes: Tensor, index: Tensor) -> Tensor:
    """Each row's boxes (N, B, 4) at its places (N, K): (N, K, 4)."""
    return boxes.gather(1, index[..., None].expand(-1, -1, 4))
