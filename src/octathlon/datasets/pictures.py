"""Image files of anybody: what would take too much memory or time is refused before a pixel is decoded."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from PIL import Image, UnidentifiedImageError

from octathlon.datasets.kinds import kind_of

PIXEL_LIMIT = 64_000_000
"""No image has more: a progressive JPEG takes six bytes of memory for each, however small its file is."""
SCAN_LIMIT = 50
"""No JPEG has more scans, each of which goes through all pixels; libjpeg's own progression has 10, that of CMYK 18."""
SCAN = b"\xff\xda"
MARKER_LIMIT = 100_000
"""No JPEG has more comments and the like, which PIL collects one by one; the coded pixels can't hold their marks."""
MARKER = re.compile(rb"\xff[\xe0-\xff]")


@contextmanager
def opened(content: bytes, formats: list[str]) -> Iterator[Image.Image]:
    """The image, not decoded yet, if it is in one of PIL's `formats`.

    Raises:
        ValueError: with what it is, or what is wrong with it, also if that turns up while it is open.
    """
    try:
        if (scans := content.count(SCAN)) > SCAN_LIMIT:
            raise ValueError(f"{scans:,} scans where at most {SCAN_LIMIT} are read")
        if next(islice(MARKER.finditer(content), MARKER_LIMIT, None), None):
            raise ValueError(f"more than {MARKER_LIMIT:,} markers")
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(content), formats=formats) as image,
        ):
            check_pixels(image, PIXEL_LIMIT)
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{kind_of(content)}, no readable {' or '.join(formats)}") from None
    except Exception as error:  # PIL raises many types for damaged files
        raise ValueError(str(error)) from error


def check_pixels(image: Image.Image, limit: int) -> None:
    """Raise ValueError if it has more pixels than the limit."""
    if image.width * image.height > limit:
        raise ValueError(f"{image.width} x {image.height} pixels where at most {limit:,} are read")


def decode_cheaply(jpeg: Image.Image) -> None:
    """Decode all of it at an eighth of the size, which costs the least: a broken file must be found before a timed run
    needs it."""
    jpeg.draft(jpeg.mode, (1, 1))
    jpeg.load()
