"""The development kit: which classes there are, and the true class of each validation image.

Classes are numbered by the rank of their WordNet ids in sorted order. The validation ground truth uses
another numbering, ILSVRC2012_ID, which meta.mat translates. Files and fields: the kit's readme.txt.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.formats.tars import read_targz

META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
SIZE_LIMIT = 100_000_000
"""Upstream's kit unpacks to a few megabytes."""


@dataclass(frozen=True)
class Devkit:
    """Classes in the order of their labels; labels of the validation images in the order of their numbers."""

    wnids: list[str]
    words: list[str]
    val_labels: np.ndarray
    """int32 of shape (validation images,)"""


def read_devkit(path: Path) -> Devkit:
    """Read the kit's archive.

    Raises:
        OctathlonError: if it is damaged, lacks a file, or its files contradict each other.
    """
    files = read_targz(path, SIZE_LIMIT)
    if missing := {META, TRUTH} - set(files):
        raise OctathlonError(f"{path}: no member {min(missing)}; use the archive as it is published")
    leaves = _leaves(files[META], f"{path}: {META}")
    numbers = sorted(leaves, key=lambda number: leaves[number])
    labels = {str(number).encode(): label for label, number in enumerate(numbers)}
    wnids, words = zip(*(leaves[number] for number in numbers), strict=True)
    return Devkit(list(wnids), list(words), _labels(files[TRUTH], labels, f"{path}: {TRUTH}"))


def _labels(truth: bytes, labels: dict[bytes, int], where: str) -> np.ndarray:
    """The ground truth's ILSVRC2012_IDs, one a line, as labels."""
    numbers = truth.split()
    if not numbers:
        raise OctathlonError(f"{where}: empty; fetch the archive again")
    try:
        return np.array([labels[number] for number in numbers], dtype=np.int32)
    except KeyError as error:
        raise OctathlonError(
            f"{where}: {error.args[0][:20]!r} is not the ILSVRC2012_ID of a class in meta.mat; fetch it again"
        ) from None


def _leaves(content: bytes, where: str) -> dict[int, tuple[str, str]]:
    """ILSVRC2012_ID -> (WordNet id, words) of the synsets without children: the classes."""
    from scipy.io import loadmat

    try:
        _check_inflated_size(content)
        synsets = loadmat(io.BytesIO(content), variable_names=["synsets"])["synsets"].ravel()
        leaves = list(_rows(synsets))
    except Exception as error:  # scipy raises whatever a damaged file makes it stumble over
        raise OctathlonError(f"{where}: not the struct array `synsets` ({error}); fetch it again") from error
    numbers, wnids = {number for number, _ in leaves}, {wnid for _, (wnid, _) in leaves}
    if not leaves or min(len(numbers), len(wnids)) < len(leaves):
        raise OctathlonError(f"{where}: no classes, or one of them twice; fetch the archive again")
    return dict(leaves)


def _rows(synsets: np.ndarray) -> Iterator[tuple[int, tuple[str, str]]]:
    for row in synsets:
        if int(row["num_children"].item()) == 0:
            wnid = str(row["WNID"].item())
            if not re.fullmatch(r"n\d{8}", wnid):
                raise ValueError(f"WNID {wnid!r}")
            yield int(row["ILSVRC2012_ID"].item()), (wnid, str(row["words"].item()))


def _check_inflated_size(content: bytes) -> None:
    """Refuse a compressed variable that unpacks to gigabytes (layout: "MAT-File Format", level 5)."""
    order = "<" if content[126:128] == b"IM" else ">"
    position = 128
    while position + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}II", content, position)
        inflater = zlib.decompressobj()
        element = content[position + 8 : position + 8 + size]
        if kind == 15 and len(inflater.decompress(element, SIZE_LIMIT)) == SIZE_LIMIT:  # 15: compressed
            raise ValueError(f"unpacks to more than {SIZE_LIMIT:,} bytes")
        position += 8 + size
