"""Which image files are kept byte for byte, and how the few others are repaired.

ILSVRC2012 has one PNG under a JPEG's name and 22 CMYK JPEGs among its training images. They are re-encoded
as RGB JPEGs of quality 100, as the reference's data set does; every other file stays as it is.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from octathlon.datasets.pictures import check_pixels, decode_cheaply, opened

MODES_KEPT = ("RGB", "L")
"""Decoders turn greyscale into RGB by themselves; CMYK they don't."""
REPAIR_LIMIT = 25_000_000
"""Pixels of the largest image that is repaired: several copies of it are in memory."""


def as_jpeg(content: bytes) -> bytes:
    """The image file as an RGB or greyscale JPEG: `content` itself, or its repair.

    All of it is decoded once.

    Raises:
        ValueError: with what it is, or with PIL's reason, if it is not a whole JPEG or PNG.
    """
    with opened(content, ["JPEG", "PNG"]) as image:
        if image.format != "PNG" and image.mode in MODES_KEPT:
            decode_cheaply(image)
            return content
        check_pixels(image, REPAIR_LIMIT)
        repaired = io.BytesIO()
        _as_rgb(image).save(repaired, "JPEG", quality=100)
        return repaired.getvalue()


def _as_rgb(image: Image.Image) -> Image.Image:
    """Of 16 bits the upper eight, as in TensorFlow's decoder. PIL cuts grey values of 16 bits off at 255."""
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
