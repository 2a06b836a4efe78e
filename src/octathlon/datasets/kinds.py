"""What a file is, told from its first bytes, for the sentence about one that stands where another should."""

from __future__ import annotations

import re

KINDS = {
    rb"\xff\xd8\xff": "a JPEG image",
    rb"\x89PNG": "a PNG image",
    rb"GIF8[79]a": "a GIF image",
    rb"RIFF....WEBP": "a WebP image",
    rb"BM....\0\0\0\0": "a BMP image",
    rb"II\*\0|MM\0\*": "a TIFF image",
    rb"....ftyp(avif|avis)": "an AVIF image",
    rb"....ftyp(heic|heix|mif1|msf1)": "an HEIF image",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "a JPEG 2000 image",
    rb"\0\0\0\x0cJXL |\xff\x0a": "a JPEG XL image",
    rb"fLaC": "a FLAC recording",
    rb"RIFF....WAVE": "a WAV recording",
    rb"OggS": "an Ogg recording",
    rb"ID3|\xff[\xf2\xf3\xfa\xfb]": "an MP3 recording",
    rb"\x1f\x8b": "a gzip archive",
    rb"PK\x03\x04": "a zip archive",
    rb"%PDF": "a PDF document",
    rb"\s*<": "a web page or XML",
}
"""Patterns of beginnings. The first that fits counts."""


def kind_of(content: bytes) -> str:
    """E.g. "a GIF image", "an empty file", "of unknown kind"."""
    if not content:
        return "an empty file"
    found = (kind for start, kind in KINDS.items() if re.match(start, content, re.DOTALL))
    return next(found, "of unknown kind")
