"""gzip files: whole, in pieces, cut short, damaged, and bombs."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from octathlon.errors import OctathlonError
from octathlon.formats.gzips import open_gzip

DATA = random.Random(3)


def test_a_gzip_stream_gives_lines_across_members(tmp_path: Path) -> None:
    """Compressed in pieces, as `pigz` and `cat a.gz b.gz` do, with the zero padding that tapes leave."""
    lines = [f"{number}\t{number * number}\n".encode() for number in range(100_000)]
    path = tmp_path / "day.gz"
    path.write_bytes(
        gzip.compress(b"".join(lines[:40_000])) + gzip.compress(b"".join(lines[40_000:])) + bytes(64)
    )
    with open_gzip(path, sum(map(len, lines))) as stream:
        assert list(stream) == lines


def test_a_decompression_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(200):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 300_000
    read = 0
    with (
        pytest.raises(OctathlonError, match=r"bomb.gz: unpacks to more than 3,000,000 bytes"),
        open_gzip(path, 3_000_000) as stream,
    ):
        while chunk := stream.read(1000):
            read += len(chunk)
    assert read <= 3_000_000


def test_every_truncation_of_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    whole = gzip.compress(DATA.randbytes(2000))
    path = tmp_path / "cut.gz"
    for length in [*range(0, len(whole), 97), len(whole) - 8, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with (
            pytest.raises(OctathlonError, match=r"cut.gz: (truncated|empty)"),
            open_gzip(path, 10_000) as stream,
        ):
            stream.read()


def test_a_flipped_bit_in_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(DATA.randbytes(2000)))
    whole[1000] ^= 1
    path = tmp_path / "flipped.gz"
    path.write_bytes(whole)
    with (
        pytest.raises(OctathlonError, match="flipped.gz: truncated or damaged"),
        open_gzip(path, 10_000) as stream,
    ):
        stream.read()
