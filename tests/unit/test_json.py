"""JSON within bounds: the records that it holds, or one sentence."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest

from octathlon.errors import OctathlonError
from octathlon.formats.json import FREE, RECORD_LIMIT, Records, read_records

ANNOTATION = {
    "id": 1, "image_id": 1, "category_id": 1, "area": 1.5, "bbox": [1, 1, 2, 2], "segmentation": [[1, 1, 2, 1, 2, 2]],
    "iscrowd": 0,
}  # fmt: skip


def read(content: bytes) -> Records:
    return read_records(content, "here", ["a"])[0]


def test_triangles_with_whole_corners_are_read() -> None:
    """The densest annotations that there are; what stands beside them is skipped."""
    records = [ANNOTATION | {"id": number} for number in range(50_000)]
    content = orjson.dumps({"info": {"a": 1}, "b": [{}], "a": records, "c": [[]]})
    assert len(content) > FREE and list(read(content)) == records
    assert [list(found) for found in read_records(content, "here", ["b", "a"])] == [[{}], records]


def test_records_take_no_more_than_a_fraction_of_their_text() -> None:
    content = orjson.dumps({"a": [ANNOTATION | {"segmentation": [[1.25] * 60]}] * 20_000})
    tracemalloc.start()
    assert sum(len(each["bbox"]) for each in read(content)) == 80_000
    assert tracemalloc.get_traced_memory()[1] < len(content) / 4
    tracemalloc.stop()


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"[[[[[[[[1]]]]]]]],", b'{"a":{}},'])
def test_brackets_are_counted_before_they_become_objects(piece: bytes) -> None:
    content = b'{"a":[' + piece * (FREE // len(piece) + 1) + b"0]}"
    tracemalloc.start()
    with pytest.raises(OctathlonError, match="^here: .* objects and lists in .* bytes; fetch it again"):
        read(content)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b'{"a":[NaN]}', b'{"a":[1e999', b"\xff", b"[" * 100_000, b"'a'", b"{1: 2}"),
        *(b'{"a":[{"b":01}]}', b'{"a":[{"b":"\xff"}]}', b'{"a":[' + b'{"b":' * 100_000, b'{"a":[]}]'),
    ],
)
def test_what_is_no_json_is_named(content: bytes) -> None:
    with pytest.raises(OctathlonError, match="^here: (no JSON|not of the shape)"):
        list(read(content))


@pytest.mark.parametrize("content", [b"[]", b"0", b"{}", b'{"a":{}}', b'{"a":null}', b'{"a":[[1]]}'])
def test_what_has_no_list_of_objects_is_named(content: bytes) -> None:
    with pytest.raises(OctathlonError, match=r"^here: not of the shape .*; fetch it again"):
        read(content)


@pytest.mark.parametrize("piece", [b"0,", b'"",', b"null,"])
def test_what_is_no_object_takes_no_memory(piece: bytes) -> None:
    content = b'{"a":[{},' + piece * 2_000_000 + b"{}]}"
    tracemalloc.start()
    with pytest.raises(OctathlonError, match="^here: not of the shape"):
        read(content)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_record_without_end_is_named() -> None:
    records = read(b'{"a":[{},{"b":[' + b"0," * (RECORD_LIMIT // 2) + b"0]}]}")
    assert records[0] == {}
    with pytest.raises(OctathlonError, match="^here: a record of .* bytes"):
        records[1]
