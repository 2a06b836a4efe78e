"""CRC-32C as the reader and the writer of TensorFlow's checkpoints reckon it."""

from __future__ import annotations

from pathlib import Path

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
    assert crc32c.masked_crc32c(content) == masked
    assert writers_crc32c.masked_crc32c(content) == masked
    assert writers_crc32c.masked_crc32cs([content, content[::-1]]) == [
        masked,
        writers_crc32c.masked_crc32c(content[::-1]),
    ]


@pytest.mark.parametrize("size", [0, 1, 255, 4096, 1_000_003])
def test_checksums_of_long_contents(size: int, tmp_path: Path) -> None:
    """Of bytes, an array, and a mapped file alike; the writer's goes byte by byte."""
    content = np.random.default_rng(size).bytes(size)
    expected = writers_crc32c.masked_crc32c(content)
    assert crc32c.masked_crc32c(content) == expected
    assert crc32c.masked_crc32c(np.frombuffer(content, np.uint8)) == expected
    (tmp_path / "file").write_bytes(b"x" + content)
    assert crc32c.masked_crc32c(np.memmap(tmp_path / "file", np.uint8, mode="r")[1:]) == expected
