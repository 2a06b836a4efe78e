"""JSON within bounds: what it says, or one sentence."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest

from octathlon.errors import OctathlonError
from octathlon.formats.json import FREE, read_json

ANNOTATION = {
    "id": 1, "image_id": 1, "category_id": 1, "area": 1.5, "bbox": [1, 1, 2, 2], "segmentation": [[1, 1, 2, 1, 2, 2]],
    "iscrowd": 0,
}  # fmt: skip


def test_triangles_with_whole_corners_are_read() -> None:
    """The densest annotations that there are."""
    document = {"annotations": [ANNOTATION] * 50_000}
    content = orjson.dumps(document)
    assert len(content) > FREE and read_json(content, "here") == document


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"[[[[[[[[1]]]]]]]],", b'{"a":{}},'])
def test_brackets_are_counted_before_they_become_objects(piece: bytes) -> None:
    content = b"[" + piece * (FREE // len(piece) + 1) + b"0]"
    assert len(orjson.loads(content[:60].rsplit(b",", 1)[0] + b"]")) > 1
    tracemalloc.start()
    with pytest.raises(OctathlonError, match="^here: .* objects and lists in .* bytes; fetch it again"):
        read_json(content, "here")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"NaN", b"[1e999", b"\xff", b"[" * 100_000, b"'a'", b"{1: 2}"]
)
def test_what_is_no_json_is_named(content: bytes) -> None:
    with pytest.raises(OctathlonError, match="^here: no JSON"):
        read_json(content, "here")
