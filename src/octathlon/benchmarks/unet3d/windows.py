"""Sliding-window inference: patches with overlap, their logits blended by a Gaussian.

Source: runtime/inference.py of mlcommons/training (image_segmentation/pytorch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor
from torch.nn.functional import pad

PADDING = -2.2
"""About the darkest that a prepared image is. The reference's, and not the preparation's way to pad."""
SIGMA = 0.125
"""Standard deviation of the Gaussian, in patches."""


def sliding_window(
    predict: Callable[[Tensor], Tensor], image: Tensor, patch: int, stride: int, batch: int
) -> Tensor:
    """Blended logits, float32 of shape (1, classes, D, H, W), of an image (1, 1, D, H, W) whose axes fit.

    Args:
        predict: (N, 1, patch, patch, patch) -> (N, classes, patch, patch, patch).
        batch: patches that are predicted together, the last one repeated until there are as many; makes no difference
            to the result.
    """
    padded, inside = _pad(image, patch, stride)
    weight = gaussian(patch).to(image.device)
    total, weights = None, padded.new_zeros(padded.shape)
    windows = list(product(*(range(0, size - patch + 1, stride) for size in padded.shape[2:])))
    places = [(..., *(slice(start, start + patch) for start in corner)) for corner in windows]
    for first in range(0, len(places), batch):
        group = places[first : first + batch]
        whole = group + group[-1:] * (batch - len(group))
        logits = predict(torch.cat([padded[place] for place in whole])).float()
        if total is None:
            total = logits.new_zeros((1, logits.shape[1], *padded.shape[2:]))
        for place, patch_logits in zip(group, logits, strict=False):
            total[place] += patch_logits * weight
            weights[place] += weight
    return (total / weights)[(..., *inside)]


def fit(size: int, stride: int) -> slice:
    """The part of an axis that is predicted and scored: less than half a stride too many is cut off, on both sides."""
    rest = size % stride
    if rest >= stride / 2:
        return slice(0, size)
    return slice(rest // 2, size - (rest - rest // 2))


def window_count(shape: Sequence[int], patch: int, stride: int) -> int:
    """The patches of a volume of this shape, after `fit`."""
    sizes = [_padded_size(len(range(size)[fit(size, stride)]), patch, stride) for size in shape]
    return prod((size - patch) // stride + 1 for size in sizes)


def gaussian(patch: int) -> Tensor:
    """The weight of each voxel of a patch, float32 of shape (patch, patch, patch), at most 1.

    The cube root of the product of three Gaussians: the product itself vanishes in the corners.
    """
    distance = (torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2) / (SIGMA * patch)
    line = torch.exp(-(distance**2) / 6)
    cube = line[:, None, None] * line[:, None] * line
    return (cube / cube.max()).float()


def _padded_size(size: int, patch: int, stride: int) -> int:
    return max(-(-size // stride) * stride, patch)


def _pad(image: Tensor, patch: int, stride: int) -> tuple[Tensor, list[slice]]:
    """Axes filled up to whole strides, and where the image is in them."""
    sizes = image.shape[2:]
    missing = [_padded_size(size, patch, stride) - size for size in sizes]
    before = [count // 2 for count in missing]
    widths = [width for count in reversed(missing) for width in (count // 2, count - count // 2)]
    inside = [slice(start, start + size) for start, size in zip(before, sizes, strict=True)]
    return pad(image, widths, value=PADDING), inside
