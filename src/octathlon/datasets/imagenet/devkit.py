"""The development kit: which classes there are, and the true class of each validation image.

Classes are numbered by the rank of their WordNet ids in sorted order. The validation ground truth uses
another numbering, ILSVRC2012_ID, which meta.mat translates. Files and fields: the kit's readme.txt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.formats.matlab import read_structs
from octathlon.formats.tars import read_targz

META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
SIZE_LIMIT = 1 << 24
"""Bytes; upstream's kit unpacks to a few million."""


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
    synsets = read_structs(content, "synsets", where)
    try:
        leaves = list(_rows(synsets))
    except (
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
    ) as error:  # of fields that are missing, or others
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
