"""Snappy -> bytes (github.com/google/snappy, format_description.txt), within a bound."""

from __future__ import annotations

from cramjam import DecompressionError, snappy


def decompress(content: bytes, limit: int) -> bytes:
    """What `content` was before it was compressed. Its first bytes say how long that is, before any is allocated.

    Raises:
        ValueError: if it is damaged, or would be longer than `limit` bytes.
    """
    try:
        if snappy.decompress_raw_len(content) > limit:
            raise ValueError("a compressed block is too large")
        return bytes(snappy.decompress_raw(content))
    except DecompressionError as error:
        raise ValueError(f"a compressed block is damaged: {error}") from None
