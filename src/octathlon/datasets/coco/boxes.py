"""Mask R-CNN's boxes: corners as the coordinates of the first and the last pixel."""

from __future__ import annotations

import numpy as np


def inclusive_boxes(
    boxes: np.ndarray, width: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as COCO writes them -> corners, clipped to the image, and which of them have an area.

    Source: mlcommons/training, object_detection/pytorch, structures/bounding_box.py.

    Args:
        boxes: left, top, width, height, of shape (N, 4).
        width, height: of the image, or of each box's image.

    Returns:
        float64 of shape (N, 4): left, top, right, bottom, all four pixels inside; bool of shape (N,).
    """
    corners = boxes.copy()
    corners[:, 2:] = boxes[:, :2] + (boxes[:, 2:] - 1).clip(0)
    last = np.stack(np.broadcast_arrays(np.asarray(width) - 1, np.asarray(height) - 1), axis=-1)
    corners = np.concatenate([corners[:, :2].clip(0, last), corners[:, 2:].clip(0, last)], axis=1)
    return corners, (corners[:, 2:] > corners[:, :2]).all(1)
