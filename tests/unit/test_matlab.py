"""MATLAB's files: what scipy writes is read; arrays that lie are refused before scipy makes room for them."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from scipy.io import savemat

from octathlon.errors import OctathlonError
from octathlon.formats.matlab import read_structs

SYNSETS = np.array([(1, "n01"), (2, "n02")], dtype=[("number", "O"), ("name", "O")])


def mat(compressed: bool = False) -> bytes:
    file = io.BytesIO()
    savemat(file, {"synsets": SYNSETS, "other": np.eye(3)}, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_struct_array_is_read(compressed: bool) -> None:
    structs = read_structs(mat(compressed), "synsets", "here")
    assert [(row["number"].item(), row["name"].item()) for row in structs] == [(1, "n01"), (2, "n02")]


def test_arrays_that_claim_more_values_than_bytes_are_refused() -> None:
    """Every pair of axes in the file: of the structs, the numbers and the names in them."""
    content = mat()
    axes = [
        place
        for place in range(128, len(content) - 16, 8)
        if struct.unpack_from("<II", content, place) == (5, 8) and place > 128 + 8
    ]
    assert len(axes) == 6  # two variables, and two fields of two structs
    for place in axes:
        lie = bytearray(content)
        struct.pack_into("<II", lie, place + 8, 1 << 15, 1 << 15)
        tracemalloc.start()
        with pytest.raises(OctathlonError, match="^here: not the struct array .*more values than bytes"):
            read_structs(bytes(lie), "synsets", "here")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", bytes(200), mat()[:300], mat(True)[:200]])
def test_what_is_no_such_file_is_named(content: bytes) -> None:
    with pytest.raises(OctathlonError, match="^here: not the struct array `synsets`"):
        read_structs(content, "synsets", "here")
