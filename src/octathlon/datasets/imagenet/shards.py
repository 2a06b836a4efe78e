"""The prepared format: many JPEGs in a few large files, any of them readable with one system call.

A shard is two files. `<name>.jpegs` holds the images' bytes one after the other; `<name>.npy` is a NumPy
array with one record per image: where it starts, how many bytes it has, and its label. No file per image:
cluster file systems are slow at millions of small ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

RECORD = np.dtype([("offset", "<i8"), ("size", "<i4"), ("label", "<i4")])


def shard_files(name: str) -> tuple[str, str]:
    """The names of a shard's files: images, index."""
    return f"{name}.jpegs", f"{name}.npy"


def write_shard(folder: Path, name: str, images: Iterable[tuple[bytes, int]]) -> np.ndarray:
    """Write (JPEG, label) pairs as they come, one in memory at a time; returns the index."""
    records = []
    offset = 0
    data, index = shard_files(name)
    with publish(folder / data) as temporary, temporary.open("wb") as file:
        for jpeg, label in images:
            file.write(jpeg)
            records.append((offset, len(jpeg), label))
            offset += len(jpeg)
    table = np.array(records, dtype=RECORD)
    with publish(folder / index) as temporary, temporary.open("wb") as file:
        np.save(file, table, allow_pickle=False)
    return table


def read_index(folder: Path, name: str) -> np.ndarray:
    """A shard's records, of dtype RECORD.

    Raises:
        OctathlonError: if the file is missing or not such an array.
    """
    path = folder / shard_files(name)[1]
    try:
        table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OctathlonError(f"{path}: cannot read the index ({error}); prepare imagenet again") from error
    if table.dtype != RECORD or table.ndim != 1:
        raise OctathlonError(f"{path}: not an index of images; prepare imagenet again")
    return table
