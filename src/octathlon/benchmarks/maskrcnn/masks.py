"""Masks between outlines, squares of 28 pixels and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as rle
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.models.detection.roi_heads import expand_boxes

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

    As in the reference each mask gets a frame of zeros, is stretched to its box and cut at one half. Only the box is
    looked at: a picture of zeros around it would take most of the time.

    Args:
        masks: of shape (K, 28, 28).
        boxes: first to last pixel, (K, 4).
        size: height and width of the picture.
    """
    if not len(masks):
        return []
    framed = pad(masks, (1, 1, 1, 1)).cpu()
    corners = (
        expand_boxes(boxes, (SIDE + 2) / SIDE).long().tolist()
    )  # rounded as in the reference: towards zero
    counts = [_run_lengths(mask, box, size) for mask, box in zip(framed, corners, strict=True)]
    return rle.frPyObjects([{"size": list(size), "counts": each} for each in counts], *size)


def _run_lengths(mask: Tensor, box: Sequence[int], size: tuple[int, int]) -> list[int]:
    """COCO's uncompressed run lengths, column by column, of one mask in the picture."""
    (left, top, right, bottom), (height, width) = box, size
    sides = max(bottom - top + 1, 1), max(right - left + 1, 1)
    stretched = interpolate(mask[None, None], sides, mode="bilinear", align_corners=False)[0, 0] > 0.5
    inside = stretched[max(-top, 0) : height - top, max(-left, 0) : width - left].numpy()
    rows, columns = inside.shape
    strips = np.zeros((columns, rows + 1), bool)  # one pixel more, so that every run ends within its column
    strips[:, :-1] = inside.T
    column, row = np.divmod(np.flatnonzero(np.diff(strips.ravel(), prepend=False)), rows + 1)
    changes = (column + max(left, 0)) * height + row + max(top, 0)
    joined = np.flatnonzero(
        changes[1:] == changes[:-1]
    )  # a run down to the last row, the next from the first one on
    changes = np.delete(changes, np.concatenate([joined, joined + 1]))
    inner = changes[changes < height * width]  # the last run ends with the picture
    return np.diff(inner, prepend=0, append=height * width).tolist()
