"""TensorFlow's checkpoints: every tensor as it was, no harm from damaged or hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from bert_tensors import ALL, DATA, INDEX
from hypothesis import given, settings
from hypothesis import strategies as st

from octathlon import digest
from octathlon.errors import OctathlonError
from octathlon.formats.snappy import decompress
from octathlon.formats.tensor_bundles import LIMIT, Entry, mapped, read_index, read_tensors
from octathlon.miniatures import protobuf, tensor_bundle
from octathlon.miniatures.crc32c import masked_crc32c

SOURCE = Path("model")
FIRST = min(ALL)


def rows(tensors: dict[str, np.ndarray] = ALL) -> list[tuple[bytes, bytes]]:
    """What the table of an index has in it."""
    found, offset = [(b"", tensor_bundle._header())], 0
    for name, value in sorted(tensors.items()):
        found.append((name.encode(), tensor_bundle._entry(value, offset)))
        offset += value.nbytes
    return found


def index_of(*blocks: bytes, compression: int = 0) -> bytes:
    """An index of these blocks, damaged though they may be, with checksums that are right."""
    content, handles = bytearray(), []
    for block in blocks:
        handle = protobuf.varint(len(content)) + protobuf.varint(len(block))
        handles.append((b"%d" % len(handles), handle))
        block += bytes([compression])
        content += block + struct.pack("<I", masked_crc32c(block))
    footer = b"".join(tensor_bundle._append(content, tensor_bundle._block(block)) for block in ([], handles))
    return bytes(content) + footer.ljust(40, b"\0") + struct.pack("<Q", tensor_bundle.MAGIC)


BLOCK = tensor_bundle._block(rows())


def test_tensors_come_through() -> None:
    tensors = read_tensors(read_index(INDEX, SOURCE), DATA, SOURCE)
    assert list(tensors) == sorted(ALL)
    for name, value in ALL.items():
        assert tensors[name].dtype == value.dtype and tensors[name].shape == value.shape
        assert (tensors[name] == value).all()


def test_index_tells_type_shape_place_and_checksum() -> None:
    entries = read_index(INDEX, SOURCE)
    first, second = sorted(ALL)[:2]
    checksum = masked_crc32c(ALL[first].tobytes())
    assert entries[first] == Entry(np.dtype("<f4"), shape=(5,), offset=0, size=20, checksum=checksum)
    assert entries[second].offset == 20
    step = entries["global_step"]
    assert (step.dtype, step.shape, step.size) == (np.dtype("<i8"), (), 8)


def test_files_are_mapped_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.data"
    path.write_bytes(DATA)
    file = mapped(path)
    tensors = read_tensors(read_index(INDEX, SOURCE), file, path)
    assert isinstance(file, np.memmap) and np.shares_memory(file, tensors[FIRST])
    assert (tensors[FIRST] == ALL[FIRST]).all()


@pytest.mark.parametrize("module", ["wikipedia", "minigo_models"])
def test_both_preparations_rerun_when_the_reader_changes(module: str) -> None:
    closure = digest.import_closure(f"octathlon.datasets.{module}.prepare")
    assert {
        f"octathlon.formats.{name}" for name in ("tensor_bundles", "crc32c", "snappy", "protobuf")
    } <= closure


# Snappy ------------------------------------------------------------------------------------------------


def snappy(content: bytes) -> bytes:
    """The content compressed: a copy wherever the last four bytes stood before, else literals of all lengths."""
    out, position, literal = bytearray(protobuf.varint(len(content))), 0, bytearray()

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
    assert decompress(snappy(content), LIMIT) == content


def test_snappy_of_the_format_description() -> None:
    """A copy that overlaps what it writes: one literal "xab", then four bytes from two back."""
    assert decompress(bytes([7, 2 << 2, *b"xab", 1 | 0 << 2, 2]), LIMIT) == b"xababab"


def test_compressed_blocks_are_read() -> None:
    """As TensorFlow writes them: bert's 1,197 names don't fit into its index's 17,371 bytes otherwise."""
    blocks = [rows()[start : start + 40] for start in range(0, len(rows()), 40)]
    content = index_of(*(snappy(tensor_bundle._block(block)) for block in blocks), compression=1)
    assert len(content) < 0.6 * len(INDEX)
    assert read_index(content, SOURCE) == read_index(INDEX, SOURCE)


def test_a_compressed_bomb_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        decompress(protobuf.varint(LIMIT + 1) + b"\0a", LIMIT)
    with pytest.raises(ValueError, match="damaged"):
        decompress(protobuf.varint(1 << 40) + b"\0a", LIMIT)
    with pytest.raises(ValueError, match="damaged"):
        decompress(bytes([4, 0, 97, 1 | 7 << 2, 1]), LIMIT)  # copies more than it announced


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 60))
def test_no_bytes_do_harm_to_decompression(content: bytes, length: int) -> None:
    try:
        assert len(decompress(bytes([length]) + content, LIMIT)) == length
    except ValueError as error:
        assert "damaged" in str(error)


# Damaged -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "last bytes"),
        (b"x" * 100, "last bytes"),
        (INDEX[:20], "last bytes"),
        (INDEX[:-9] + b"x" * 9, "last bytes"),
        (INDEX[-48:], "cut short"),
        (INDEX[100:], "damaged|cut short"),
        (INDEX[:50] + bytes([INDEX[50] ^ 1]) + INDEX[51:], "a block is damaged"),
        (bytes(LIMIT + 1), "too large"),
        (index_of(b""), "a block is cut short"),
        (index_of(b"\xff" * 4), "a block is cut short"),
        (index_of(BLOCK[:200] + BLOCK[-4:]), "cut short|within an entry|not a message"),
        (index_of(BLOCK, compression=2), "compression 2 is unknown"),
        (index_of(BLOCK, compression=1), "damaged|too large|cut short"),
    ],
)  # fmt: skip
def test_a_damaged_index_is_named(content: bytes, words: str) -> None:
    with pytest.raises(OctathlonError, match=rf"^model: cannot read the index.*({words}).*fetch it again"):
        read_index(content, SOURCE)


def entry(**changed: bytes) -> bytes:
    """An index of a float32 tensor x of shape (2, 3), with some of its fields otherwise."""
    axis = protobuf.field(2, protobuf.field(1, 2)), protobuf.field(2, protobuf.field(1, 3))
    parts = {
        "dtype": protobuf.field(1, 1),
        "shape": protobuf.field(2, b"".join(axis)),
        "size": protobuf.field(5, 24),
        "checksum": protobuf.fixed32(6, masked_crc32c(bytes(24))),
    } | changed
    return index_of(tensor_bundle._block([(b"", tensor_bundle._header()), (b"x", b"".join(parts.values()))]))


def shape(*sizes: int) -> bytes:
    return protobuf.field(2, b"".join(protobuf.field(2, protobuf.field(1, size)) for size in sizes))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"slices": protobuf.field(7, b"")}, "cut into slices"),
        ({"shard": protobuf.field(3, 1)}, "another file"),
        ({"checksum": b""}, "no checksum"),
        ({"shape": shape(1 << 62, 0)}, "too long"),
        ({"shape": shape(*[1] * 33)}, "too many axes"),
        ({"shape": shape(2, 2)}, "size of its shape"),
        ({"shape": shape(0, 3)}, "size of its shape"),
        ({"shape": protobuf.field(2, 7)}, "size of its shape"),  # a number where a message belongs
        ({"size": protobuf.field(5, b"24")}, "size of its shape"),
        ({"size": protobuf.field(5, (1 << 64) - 1)}, "size of its shape"),
        ({"shape": shape(1 << 40, 1 << 20), "size": protobuf.field(5, 1 << 62)}, "ends before x"),
        ({"offset": protobuf.field(4, 1)}, "ends before x"),
        ({"offset": protobuf.field(4, (1 << 64) - 8)}, "ends before x"),
        ({"checksum": protobuf.fixed32(6, 1)}, "x is damaged"),
        ({"dtype": protobuf.field(1, 2)}, "neither of float32 nor of int64"),
        ({"dtype": protobuf.field(1, b"f")}, "neither of float32 nor of int64"),
        ({"dtype": b""}, "neither of float32 nor of int64"),
    ],
)  # fmt: skip
def test_absurd_entries_are_refused(changed: dict[str, bytes], words: str) -> None:
    assert read_tensors(read_index(entry(), SOURCE), bytes(24), SOURCE)["x"].shape == (2, 3)
    with pytest.raises(OctathlonError, match=f"^model: cannot read .*{words}"):
        read_tensors(read_index(entry(**changed), SOURCE), bytes(24), SOURCE)


def table_of(*entries: tuple[bytes, bytes]) -> bytes:
    return tensor_bundle._block(list(entries))


def same_block_again(count: int) -> bytes:
    """An index whose handles all name one block."""
    block = table_of(*rows()) + b"\0"
    content = block + struct.pack("<I", masked_crc32c(block))
    handle = protobuf.varint(0) + protobuf.varint(len(block) - 1)
    content = bytearray(content)
    footer = [[], [(b"%03d" % number, handle) for number in range(count)]]
    ends = b"".join(tensor_bundle._append(content, tensor_bundle._block(block)) for block in footer)
    return bytes(content) + ends.ljust(40, b"\0") + struct.pack("<Q", tensor_bundle.MAGIC)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (same_block_again(2), "a block lies upon another one"),
        (index_of(bytes(3) * 10_001 + bytes(4)), "more than 10,000 entries"),
        (index_of(*[bytes(3) * 6000 + bytes(4)] * 2), "more than 10,000 tensors"),
        (index_of(snappy(bytes(3) * 300_000 + bytes(4)), compression=1), "more than 10,000 entries"),
        (index_of(table_of((b"n" * 1025, b""))), "a name has more than 1,024 bytes"),
        (index_of(table_of((b"n" * 1000, b""), (b"n" * 1025, b""))), "a name has more than 1,024 bytes"),
        (entry(more=protobuf.field(9, 1) * 1025), "a message of more than 1,024 fields"),
    ],
    ids=["twice", "entries", "tensors", "packed", "name", "shared name", "fields"],
)  # fmt: skip
def test_a_small_index_takes_no_time(content: bytes, words: str) -> None:
    with pytest.raises(OctathlonError, match=rf"^model: cannot read the index.*{words}"):
        read_index(content, SOURCE)


def test_no_two_tensors_are_of_the_same_bytes() -> None:
    """Else every name for a gigabyte would be another gigabyte of prepared weights."""
    entries = read_index(INDEX, SOURCE)
    with pytest.raises(OctathlonError, match="other lies upon another tensor"):
        read_tensors(entries | {"other": entries[FIRST]}, DATA, SOURCE)


def test_an_empty_tensor_may_have_long_axes() -> None:
    empty = {"shape": shape(0, 3), "size": protobuf.field(5, 0), "checksum": protobuf.fixed32(6, 0xA282EAD8)}
    assert read_tensors(read_index(entry(**empty), SOURCE), b"", SOURCE)["x"].shape == (0, 3)
    absurd = entry(**empty | {"shape": shape(0, *[1 << 40] * 5)})
    with pytest.raises(OctathlonError, match="^model: cannot read the tensors"):
        read_tensors(read_index(absurd, SOURCE), b"", SOURCE)


def test_damaged_data_is_named(tmp_path: Path) -> None:
    entries = read_index(INDEX, SOURCE)
    for keep in (0, 10, len(DATA) - 1):
        with pytest.raises(OctathlonError, match="^model: cannot read the tensors.*ends before"):
            read_tensors(entries, DATA[:keep], SOURCE)
    for place in np.random.default_rng(1).integers(len(DATA), size=20):
        data = bytearray(DATA)
        data[place] ^= 0x10
        with pytest.raises(OctathlonError, match="^model: .* is damaged"):
            read_tensors(entries, bytes(data), SOURCE)
    bad = ALL | {FIRST: np.full_like(ALL[FIRST], np.nan)}
    with pytest.raises(OctathlonError, match=f"^model: .*{FIRST} has values that are no numbers"):
        read_tensors(read_index(tensor_bundle.index_file(bad), SOURCE), tensor_bundle.data_file(bad), SOURCE)
    (tmp_path / "empty").touch()
    for name in ("empty", "absent"):
        with pytest.raises(OctathlonError, match=f"{name}: cannot read it .*; fetch it again"):
            mapped(tmp_path / name)


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, len(INDEX) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_the_index_is_noticed(place: int, bit: int) -> None:
    """But for the footer's filling, which means nothing."""
    index = bytearray(INDEX)
    index[place] ^= 1 << bit
    try:
        entries = read_index(bytes(index), SOURCE)
    except OctathlonError as error:
        assert "model" in str(error)
    else:
        assert len(INDEX) - 48 <= place < len(INDEX) - 8
        assert entries == read_index(INDEX, SOURCE)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(BLOCK) - 1), value=st.integers(0, 255))
def test_no_byte_of_the_index_does_harm(place: int, value: int) -> None:
    """Whatever one byte is changed to, by somebody who mends the checksum: a sentence, or tensors of the data."""
    block = bytearray(BLOCK)
    block[place] = value
    try:
        tensors = read_tensors(read_index(index_of(bytes(block)), SOURCE), DATA, SOURCE)
    except OctathlonError as error:
        assert "model" in str(error)
    else:
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 2 * len(DATA)
