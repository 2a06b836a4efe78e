"""CRC-32C as the reader and the writer of TensorFlow's checkpoints reckon it."""

from __future__ import annotations

import numpy as np
import pytest

from octathlon.formats import crc32c
from octathlon.miniatures import crc32c as writers_crc32c

KNOWN = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    b"123456789": 0xE3069283,
}


@pytest.mark.parametrize(("content", "crc"), KNOWN.items())
def test_checksums_are_crc32c(content: bytes, crc: int) -> None:
    """RFC 3720, B.4, and the check value of the catalogue of CRCs; of reader and writer."""
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert crc32c.crc32c(content) == crc and crc32c.masked_crc32c(content) == masked
    assert writers_crc32c.masked_crc32c(content) == masked
    assert writers_crc32c.masked_crc32cs([content, content[::-1]]) == [
        masked,
        writers_crc32c.masked_crc32c(content[::-1]),
    ]


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, crc32c.PIECES + 2])
@pytest.mark.parametrize("more", [0, 1, crc32c.PIECE - 1])
def test_checksums_of_long_contents(pieces: int, more: int) -> None:
    """Joined from pieces as they are byte by byte."""
    content = np.random.default_rng(pieces).bytes(pieces * crc32c.PIECE + more)
    assert crc32c.masked_crc32c(content) == writers_crc32c.masked_crc32c(content)
    assert crc32c.masked_crc32c(np.frombuffer(content, np.uint8)) == crc32c.masked_crc32c(content)
