"""Images as a loader brings them -> what convolutions take."""

from __future__ import annotations

import torch
from torch import Tensor


def subtract(images: Tensor, mean: Tensor) -> Tensor:
    """Images minus a mean, in one pass and rounded once: to the type in which autocast computes convolutions.

    Args:
        images: uint8 of shape (N, 3, H, W), of which that type holds every value.
        mean: float32 of shape (3, 1, 1).

    Returns:
        Of the same shape, channels last; float32 where there is no autocast.
    """
    device = images.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else mean.dtype
    out = torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
    return torch.sub(images, mean, out=out)
