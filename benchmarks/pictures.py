"""Made-up pictures for the scripts that need some."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(rng: np.random.Generator, size: tuple[int, int], quality: int = 95) -> bytes:
    """A JPEG of so many rows and columns whose detail falls off with its frequency as a photograph's does."""
    down, across = np.meshgrid(np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1]), indexing="ij")
    spectrum = np.fft.rfft2(rng.standard_normal((3, *size))) / np.maximum(
        np.hypot(down, across), 1 / max(size)
    )
    pixels = np.fft.irfft2(spectrum, s=size)
    pixels = 128 + 50 * pixels / pixels.std()
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels.clip(0, 255).astype(np.uint8), 0, 2)).save(
        buffer, "JPEG", quality=quality
    )
    return buffer.getvalue()
