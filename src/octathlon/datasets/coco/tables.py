"""The prepared format of COCO: large files of untouched JPEGs, and flat tables that are mapped, not read.

    <shard>.jpegs           the images' bytes, one after the other, in the order of their numbers
    <shard>.npy             int64 of shape (images + 1,): where each starts, and the end of the last one
    <split>-images.npy      IMAGE records in the order of the ids; an image's number is its position here
    <split>-annotations.npy ANNOTATION records, image after image
    <split>-parts.npy       int64 of shape (polygons + 1,): where each polygon starts in points
    <split>-points.npy      float32 of shape (points, 2): x, y in pixels
    train-<detector>.npy    int32: the numbers of the images that the detector trains on

A mask given as run lengths is one polygon around its pixels. Crowds' run lengths are not in the tables, as nothing
trains on them; `val-truth.json` holds them for evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

IMAGE = np.dtype(
    [("id", "<i8"), ("width", "<i4"), ("height", "<i4"), ("first", "<i8"), ("last", "<i8")]
)  # annotations first to last, exclusive
ANNOTATION = np.dtype(
    [("id", "<i8"), ("label", "<i4"), ("crowd", "?"), ("box", "<f8", 4), ("first", "<i8"), ("last", "<i8")]
)  # the box as left, top, width, height; polygons first to last, exclusive
TABLES = ("images", "annotations", "parts", "points")
DETECTORS = ("ssd", "maskrcnn")


@dataclass(frozen=True)
class Tables:
    """The tables of one split."""

    images: np.ndarray
    annotations: np.ndarray
    parts: np.ndarray
    points: np.ndarray

    def of_image(self, number: int) -> np.ndarray:
        """An image's annotations, of dtype ANNOTATION."""
        image = self.images[number]
        return self.annotations[image["first"] : image["last"]]

    def polygons(self, annotation: np.ndarray) -> list[np.ndarray]:
        """The polygons of one annotation, each float32 of shape (corners, 2)."""
        ends = self.parts[annotation["first"] : annotation["last"] + 1]
        return [self.points[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]


def write_tables(folder: Path, split: str, tables: Tables) -> list[str]:
    """Write a split's tables; returns the files' names."""
    return [write_array(folder, f"{split}-{name}", getattr(tables, name)) for name in TABLES]


def read_tables(folder: Path, split: str) -> Tables:
    """A split's tables, mapped: what nobody looks at takes no memory."""
    return Tables(*(read_array(folder, f"{split}-{name}") for name in TABLES))


def write_array(folder: Path, name: str, array: np.ndarray) -> str:
    """Write `<name>.npy`; returns the file's name."""
    with publish(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return f"{name}.npy"


def read_array(folder: Path, name: str) -> np.ndarray:
    """An array that `write_array` wrote, mapped.

    Raises:
        OctathlonError: if the file is missing or damaged.
    """
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise OctathlonError(f"{path}: cannot be read ({error}); prepare coco again") from error
    return array.view(np.ndarray)  # a memmap costs more with every slice


def write_jpegs(folder: Path, shard: str, images: Iterable[bytes]) -> list[str]:
    """Write JPEGs as they come, one in memory at a time; returns the files' names."""
    offsets = [0]
    with publish(folder / f"{shard}.jpegs") as temporary, temporary.open("wb") as file:
        for jpeg in images:
            file.write(jpeg)
            offsets.append(offsets[-1] + len(jpeg))
    return [f"{shard}.jpegs", write_array(folder, shard, np.array(offsets))]
