"""Made-up photos, for data sets that stand for real ones in a rehearsal."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

QUALITY = 90


def photo(rng: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG in colour that takes about as long to decode as a real one: patches of all sizes, with some grain."""
    coarse = Image.fromarray(
        rng.integers(256, size=(max(height // 24, 2), max(width // 24, 2), 3), dtype=np.uint8)
    )
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grainy = smooth + rng.integers(-12, 13, size=(height, width, 1), dtype=np.int16)
    content = io.BytesIO()
    Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
