"""Protocol buffers as the readers and the writers of TensorFlow's files see them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octathlon.formats.protobuf import fields, split, varint
from octathlon.miniatures import protobuf


def test_messages_of_the_encoding_guide() -> None:
    """protobuf.dev/programming-guides/encoding: 150 in field 1, "testing" in field 2, a message in field 3."""
    message = bytes.fromhex("089601 120774657374696e67 1a03089601")
    assert list(fields(message)) == [(1, 150), (2, b"testing"), (3, b"\x08\x96\x01")]
    assert split(message) == ({1: 150}, {2: b"testing", 3: b"\x08\x96\x01"})
    assert protobuf.field(1, 150) + protobuf.field(2, b"testing") == message[:12]
    assert list(fields(protobuf.fixed32(6, 258))) == [(6, b"\x02\x01\0\0")]


@pytest.mark.parametrize("message", ["08", "0896", "1207746573", "0b", "3501", "08" + "ff" * 11])
def test_what_is_no_message_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match=r"not a message|cut short"):
        list(fields(bytes.fromhex(message)))


@given(st.integers(0, 2**64 - 1))
def test_numbers_of_all_sizes(value: int) -> None:
    content = protobuf.varint(value)
    assert varint(b"x" + content + b"\x01", 1) == (value, 1 + len(content))
