"""TensorFlow checkpoints: every weight as it was, no optimizer slot, no harm from damaged or hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from octathlon.datasets.wikipedia import checkpoint
from octathlon.datasets.wikipedia.checkpoint import Entry, convert, read_index
from octathlon.errors import OctathlonError
from octathlon.miniatures import tensor_bundle

rng = np.random.default_rng(3)
WEIGHTS = {
    f"bert/encoder/layer_{layer}/{name}/dense/{kind}": rng.normal(size=shape).astype("<f4")
    for layer in range(12)
    for name in ("intermediate", "output")
    for kind, shape in (("kernel", (3, 5)), ("bias", (5,)))
}
SLOTS = {
    f"{name}/{slot}": np.zeros_like(value) for name, value in WEIGHTS.items() for slot in ("LAMB", "LAMB_1")
}
NUMBERS = {"global_step": np.int64(28252), "beta1_power": np.float32(0.9), "beta2_power": np.float32(0.99)}
ALL = WEIGHTS | SLOTS | {name: np.asarray(value) for name, value in NUMBERS.items()}
INDEX, DATA = tensor_bundle.index_file(ALL), tensor_bundle.data_file(ALL)


def write(folder: Path, index: bytes = INDEX, data: bytes = DATA) -> tuple[Path, Path, Path]:
    paths = folder / "model.index", folder / "model.data", folder / "out.safetensors"
    paths[0].write_bytes(index)
    paths[1].write_bytes(data)
    return paths


def test_weights_come_through_and_slots_do_not(tmp_path: Path) -> None:
    *files, out = write(tmp_path)
    shapes = convert(*files, out)
    assert shapes == {name: list(value.shape) for name, value in sorted(WEIGHTS.items())}
    converted = load_file(out)
    assert set(converted) == set(WEIGHTS)
    assert all((converted[name] == value).all() for name, value in WEIGHTS.items())


def test_size_of_the_data_is_weights_slots_and_three_numbers() -> None:
    """The identity that the reference's file fulfils: 3 x 336,226,108 x 4 + 16 = 4,034,713,312."""
    assert len(DATA) == 3 * 4 * sum(value.size for value in WEIGHTS.values()) + 16
    assert 3 * 336_226_108 * 4 + 16 == 4_034_713_312


def test_index_tells_type_shape_and_place(tmp_path: Path) -> None:
    entries = read_index(write(tmp_path)[0])
    assert set(entries) == set(ALL)
    first, second = sorted(ALL)[:2]
    assert entries[first] == Entry(dtype=1, shape=(5,), offset=0, size=20)
    assert entries[second].offset == 20
    step = entries["global_step"]
    assert (step.dtype, step.shape, step.size) == (9, (), 8)


# Snappy ----------------------------------------------------------------------------------------------


def snappy(content: bytes) -> bytes:
    """The content compressed: a copy wherever the last four bytes stood before, else literals of all lengths."""
    out, position, literal = bytearray(tensor_bundle._varint(len(content))), 0, bytearray()

    def flush() -> None:
        if literal:
            size = len(literal) - 1
            out.extend(
                [size << 2]
                if size < 60
                else [60 << 2, size]
                if size < 256
                else [61 << 2, size & 255, size >> 8]
            )
            out.extend(literal)
            literal.clear()

    while position < len(content):
        found = content.rfind(content[position : position + 4], max(position - 2000, 0), position + 3)
        if 0 <= found < position and position + 4 <= len(content):
            flush()
            size = 4
            while (
                size < 60
                and content[position + size : position + size + 1]
                == content[found + size : found + size + 1]
                != b""
            ):
                size += 1
            back = position - found
            if size < 12:
                out.extend([1 | size - 4 << 2 | back >> 8 << 5, back & 255])
            elif size % 2:
                out.extend([2 | size - 1 << 2, back & 255, back >> 8])
            else:
                out.extend([3 | size - 1 << 2, *struct.pack("<I", back)])
            position += size
        else:
            literal.append(content[position])
            position += 1
    flush()
    return bytes(out)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b"abcd", b"x", b"bert/encoder/layer_", bytes(9), b"LAMB_1"]), max_size=120))
def test_snappy_is_undone(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    assert checkpoint._unsnappy(snappy(content)) == content


def test_snappy_of_the_format_description() -> None:
    """A copy that overlaps what it writes: one literal "xab", then four bytes from two back."""
    assert checkpoint._unsnappy(bytes([7, 2 << 2, *b"xab", 1 | 0 << 2, 2])) == b"xababab"


def test_compressed_blocks_are_read(tmp_path: Path) -> None:
    """As TensorFlow writes them: its 1,197 names don't fit into the reference's 17,371 bytes otherwise."""
    entries = [(b"", tensor_bundle._header())]
    offset = 0
    for name, value in sorted(ALL.items()):
        entries.append((name.encode(), tensor_bundle._entry(value, offset)))
        offset += value.nbytes
    content, index = bytearray(), []
    for start in range(0, len(entries), 40):  # several blocks
        rows = entries[start : start + 40]
        packed = snappy(tensor_bundle._block(rows))
        index.append((rows[-1][0], tensor_bundle._varint(len(content)) + tensor_bundle._varint(len(packed))))
        content += packed + b"\1" + bytes(4)
    handles = b"".join(tensor_bundle._append(content, tensor_bundle._block(block)) for block in ([], index))
    content += handles.ljust(40, b"\0") + struct.pack("<Q", tensor_bundle.MAGIC)
    assert len(content) < 0.6 * len(INDEX)
    path = tmp_path / "packed.index"
    path.write_bytes(content)
    assert read_index(path) == read_index(write(tmp_path)[0])


# Damaged ---------------------------------------------------------------------------------------------


def refused(paths: tuple[Path, Path, Path], match: str) -> None:
    with pytest.raises(OctathlonError, match=match):
        convert(*paths)
    assert not paths[2].exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    refused(write(tmp_path, index=b"x" * 100), r"model\.index: not a TensorFlow checkpoint's index")
    refused(write(tmp_path, index=INDEX[:-9] + b"x" * 9), r"model\.index: .*last bytes")
    refused(write(tmp_path, index=INDEX[:20]), r"model\.index")
    refused(write(tmp_path, data=DATA[:-500]), r"model\.data: ends before")
    bad = dict(ALL, **{"bert/encoder/layer_3/output/dense/bias": np.full(5, np.nan, "<f4")})
    refused(write(tmp_path, data=tensor_bundle.data_file(bad)), r"model\.data: .*layer_3/output/dense/bias")
    other = {"bert/x": np.zeros(3, "<i8")}
    refused(write(tmp_path, tensor_bundle.index_file(other)), r"bert/x is not an array of 32-bit numbers")


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(INDEX) - 1), value=st.integers(0, 255))
def test_no_byte_of_the_index_does_harm(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    """Whatever one byte is changed to: a sentence, or tensors that lie within the file."""
    index = bytearray(INDEX)
    index[place] = value
    path = tmp_path_factory.mktemp("byte") / "model.index"
    path.write_bytes(index)
    try:
        entries = read_index(path)
    except OctathlonError as error:
        assert "model.index" in str(error)
    else:
        assert all(isinstance(entry, Entry) for entry in entries.values())


def test_a_compressed_bomb_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        checkpoint._unsnappy(tensor_bundle._varint(1 << 40) + b"\0a")
    with pytest.raises(ValueError, match="damaged"):
        checkpoint._unsnappy(bytes([4, 0, 97, 1 | 7 << 2, 1]))  # copies more than it announced
