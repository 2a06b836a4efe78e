"""Volumes to one voxel spacing, with the arithmetic of the MLPerf U-Net reference, to the last bit.

Source: preprocess_dataset.py of mlcommons/training (image_segmentation/pytorch), which calls PyTorch's
`interpolate` on a CPU: trilinear with aligned corners for images, nearest for labels. Axes are slices, rows
and columns; `shape` is always the new one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPACING = (1.6, 1.2, 1.2)
"""Millimetres between voxels, from slice to slice, row to row and column to column."""
BLOCK, VOXELS = 16, 1 << 22
"""Columns interpolated at a time: the intermediate results stay in the processor's cache. Fewer, if they are large
enough to need much memory."""

Shape = tuple[int, ...]


def target_shape(shape: Sequence[int], spacing: Sequence[float]) -> Shape:
    """The voxels of each axis at `SPACING`: cut off, not rounded, in double precision."""
    return tuple((np.asarray(spacing, np.float64) / SPACING * shape).astype(int).tolist())


def resample_image(image: np.ndarray, shape: Shape) -> np.ndarray:
    """Trilinear between aligned corners: of any real type -> float32 of shape `shape`."""
    resampled = np.empty(shape, np.float32)
    low, high, weight = _neighbours(image.shape[2], shape[2])
    columns_at_once = min(BLOCK, VOXELS // max(image.shape[0] * image.shape[1], shape[0] * shape[1]) or 1)
    for start in range(0, shape[2], columns_at_once):
        block = slice(start, start + columns_at_once)
        # Stored by column, row, slice, as NIfTI files are: what is taken here lies together.
        left, right = (image.T[indices[block]].astype(np.float32) for indices in (low, high))
        columns = _blend(left, right, weight[block, None, None])
        rows = _linear(columns, 1, shape[1])
        resampled[:, :, block] = _linear(rows, 2, shape[0]).T
    return resampled


def resample_label(label: np.ndarray, shape: Shape) -> np.ndarray:
    """The nearest voxel below: of any type -> the same of shape `shape`."""
    return label[np.ix_(*(_nearest(old, new) for old, new in zip(label.shape, shape, strict=True)))]


def _nearest(size: int, new_size: int) -> np.ndarray:
    """Source indices, int64 of shape (new_size,), in single precision as PyTorch computes them."""
    indices = np.arange(new_size, dtype=np.float32) * (np.float32(size) / np.float32(new_size))
    return np.minimum(indices.astype(np.int64), size - 1)


def _linear(block: np.ndarray, axis: int, new_size: int) -> np.ndarray:
    """Interpolate one axis of a float32 block of three axes."""
    low, high, weight = _neighbours(block.shape[axis], new_size)
    weight = np.expand_dims(weight, tuple({0, 1, 2} - {axis}))
    return _blend(block.take(low, axis), block.take(high, axis), weight)


def _neighbours(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The source indices on both sides of each new voxel, int64, and the float32 weight of the higher one."""
    step = np.float32(size - 1) / np.float32(max(new_size - 1, 1))
    position = np.arange(new_size, dtype=np.float32) * step
    low = np.minimum(position.astype(np.int64), size - 1)
    weight = np.clip(position - low.astype(np.float32), 0, 1)
    return low, np.minimum(low + 1, size - 1), weight


def _blend(low: np.ndarray, high: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """low * (1 - weight) + high * weight, the second product rounded to float32 before the sum, the first not.

    That is the fused multiply-add of PyTorch's kernel.
    """
    total = np.multiply(low, np.float32(1) - weight, dtype=np.float64)
    total += high * weight
    return total.astype(np.float32)
