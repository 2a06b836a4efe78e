"""COCO's other way to write a mask: how long its runs of zeros and ones are, column after column, zeros first.

Source: https://github.com/cocodataset/cocoapi, common/maskApi.c (rleFrString).
"""

from __future__ import annotations

from typing import Any

import numpy as np

RUN_LIMIT = 1_000_000
"""Runs of one mask: three times as many as pixels of upstream's images, and what is drawn from them fits in memory."""


def plain_counts(shape: dict[str, Any], height: int, width: int) -> list[int]:
    """The lengths of a mask's runs, which `shape` holds as a list or as text.

    Raises:
        ValueError: if they don't fill an image of that size, or there are more than RUN_LIMIT.
    """
    counts, size = shape["counts"], shape["size"]
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if isinstance(counts, list) and len(counts) > RUN_LIMIT:
        raise ValueError(f"has more than {RUN_LIMIT:,} run lengths")
    numbers = isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts)
    if not numbers or sum(counts) != height * width or size != [height, width]:
        raise ValueError("has run lengths that don't fit the image")
    return counts


def _unpacked(text: str) -> list[int]:
    """The numbers that a text stands for: five bits a character, the lowest first.

    A character is a number from "0" on; 32 says that more of the same number follow, and 16 in the last one that it
    is negative. From the fourth number on, what is written is the difference to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text[: 13 * RUN_LIMIT]:  # a number has 13 characters at most, but for a wrong one
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("has run lengths that are no compressed text of COCO's")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def outline(counts: list[int], height: int) -> np.ndarray:
    """One polygon, filled by the even-odd rule as COCO fills polygons, for a mask with at least one pixel.

    The mask is cut into rectangles. The polygon walks around each, from one to the next, and at last the same way
    back: lines that are walked twice enclose nothing. Float32 of shape (corners, 2).
    """
    left, top, right, bottom = _rectangles(counts, height).T
    around = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=1)
    way_back = np.stack([left, top], axis=1)[-2::-1]
    return np.concatenate([around.reshape(-1, 2), way_back]).astype(np.float32)


def _rectangles(counts: list[int], height: int) -> np.ndarray:
    """The left, top, right and bottom of rectangles that make up the mask, from left to right: shape (N, 4)."""
    ends = np.cumsum(counts)
    starts, ends = ends[:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    # each run, cut where a column ends
    columns = (ends - 1) // height - starts // height + 1
    run = np.repeat(np.arange(len(starts)), columns)
    column = starts[run] // height + np.arange(len(run)) - (columns.cumsum() - columns)[run]
    top = np.maximum(starts[run] - column * height, 0)
    bottom = np.minimum(ends[run] - column * height, height)
    # neighbours of the same height together
    order = np.lexsort((column, bottom, top))
    column, top, bottom = column[order], top[order], bottom[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(top) != 0) | (np.diff(bottom) != 0) | (np.diff(column) != 1)
    first = new.nonzero()[0]
    last = np.append(first[1:], len(order)) - 1
    rectangles = np.stack([column[first], top[first], column[last] + 1, bottom[first]], axis=1)
    return rectangles[np.lexsort((rectangles[:, 1], rectangles[:, 0]))]
