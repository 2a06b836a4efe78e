"""Images as a loader brings them -> what convolutions take, and how both lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from octathlon.settings import ImageSettings


def layout(settings: ImageSettings, last: torch.memory_format = torch.channels_last) -> torch.memory_format:
    """Of images, or of volumes with `last` for them, and of the weights that are applied to them."""
    return last if settings.channels_last else torch.contiguous_format


def subtract(images: Tensor, mean: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Images minus a mean, in one pass and rounded once: to the type in which autocast computes convolutions.

    Args:
        images: uint8 of shape (N, 3, H, W), of which that type holds every value.
        mean: float32 of shape (3, 1, 1).

    Returns:
        Of the same shape; float32 where there is no autocast.
    """
    device = images.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else mean.dtype
    out = torch.empty_like(images, dtype=dtype, memory_format=memory_format)
    return torch.sub(images, mean, out=out)
