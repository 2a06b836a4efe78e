"""Masks between outlines, squares of 28 pixels and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as rle
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

Polygons = list[np.ndarray]
"""The outline of one object, in one or more parts, each of shape (corners, 2)."""
SIDE = 28


def mask_targets(boxes: np.ndarray, polygons: Sequence[Polygons]) -> np.ndarray:
    """The part of each object within a box (first to last pixel), stretched to a square and filled as COCO fills
    polygons: float32 of shape (R, 28, 28)."""
    targets = np.empty((len(boxes), SIDE, SIDE), np.float32)
    scales = SIDE / (boxes[:, 2:] - boxes[:, :2]).clip(1)
    for target, corner, scale, parts in zip(targets, boxes[:, :2], scales, polygons, strict=True):
        moved = [((part - corner) * scale).astype(np.float64).ravel().tolist() for part in parts]
        target[:] = rle.decode(rle.merge(rle.frPyObjects(moved, SIDE, SIDE)))
    return targets


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Probabilities within boxes -> masks of the whole picture, in COCO's run lengths.

    Args:
        masks: of shape (K, 28, 28).
        boxes: first to last pixel, (K, 4).
        size: height and width of the picture.
    """
    if not len(masks):
        return []
    pixels = paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5
    return rle.encode(np.asfortranarray(pixels.byte().cpu().numpy().transpose(1, 2, 0)))
