"""Records of games: what they hold, and what is refused before it takes memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import pytest

from octathlon.errors import OctathlonError
from octathlon.formats.records import GAME_LIMIT, RECORD_LIMIT, RECORDS, read_examples
from octathlon.miniatures.protobuf import field


def record(example: bytes) -> bytes:
    return struct.pack("<QI", len(example), 0) + example + bytes(4)


def feature(name: bytes, kind: int, value: bytes) -> bytes:
    """An entry of the map of features; `kind` is 1 for bytes, 2 for packed floats (example.proto, feature.proto)."""
    return field(1, field(1, name) + field(2, field(kind, field(1, value))))


def test_features_are_raw_bytes_by_name() -> None:
    floats = struct.pack("<2f", 0.25, 0.75)
    example = field(1, feature(b"x", 1, b"\1\0\1") + feature(b"pi", 2, floats))
    content = zlib.compress(record(example) * 3)
    assert read_examples(content, "game") == [{"x": b"\1\0\1", "pi": floats}] * 3
    assert read_examples(zlib.compress(b""), "game") == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(GAME_LIMIT + 1), "too large"),
        (bytes(10), "a record is cut short"),
        (struct.pack("<QI", 1 << 63, 0) + bytes(100), "a record is cut short"),
        (record(bytes(RECORD_LIMIT + 1)), "a record of 16,385 bytes"),
        (record(b"") * (RECORDS + 1), "more than 2,048 records"),
        (record(b"\x08\0" * 1025), "a message of more than 1,024 fields"),
        (record(field(1, field(1, field(1, b"\xff")))), "codec can't decode"),
        (record(field(1, b"\x0b")), "not a message"),
    ],
)
def test_what_no_game_holds_is_refused(data: bytes, words: str) -> None:
    content = zlib.compress(data)
    tracemalloc.start()
    with pytest.raises(OctathlonError, match=f"^game cannot be read .*{words}.*; fetch it again"):
        read_examples(content, "game")
    assert tracemalloc.get_traced_memory()[1] < 2.5 * GAME_LIMIT
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"junk", zlib.compress(b"x" * 100)[:-5], bytes(100)])
def test_what_is_not_compressed_is_refused(content: bytes) -> None:
    with pytest.raises(OctathlonError, match="^game cannot be read"):
        read_examples(content, "game")
