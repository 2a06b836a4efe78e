"""Recorded positions: what the preparation writes, self-play makes and training reads.

A row is a position of a finished game: the network's input, the search's answer, and who won.
"""

from __future__ import annotations

import numpy as np

PLANES = 13


def row_type(size: int) -> np.dtype:
    """The rows' type on a board of `size` lines; a file is nothing but rows, those of a game together.

    `planes`: 13 * size * size bits, packed. `policy`: the search's visits as probabilities, the pass last. `outcome`:
    1 if Black won, -1 if White did. `game`: counts up from 0.
    """
    points = size * size
    return np.dtype(
        [
            ("planes", "u1", -(-PLANES * points // 8)),
            ("policy", "<f4", points + 1),
            ("outcome", "i1"),
            ("game", "<i4"),
        ]
    )


def pack(size: int, planes: np.ndarray, policies: np.ndarray, outcome: int, game: int) -> np.ndarray:
    """The rows of a game.

    Args:
        planes: 0 or 1, uint8 of shape (N, 13, size, size) or the like.
        policies: float32 of shape (N, size * size + 1).
    """
    rows = np.empty(len(planes), row_type(size))
    rows["planes"] = np.packbits(planes.reshape(len(planes), PLANES * size * size), axis=1)
    rows["policy"], rows["outcome"], rows["game"] = policies, outcome, game
    return rows


def unpack_planes(rows: np.ndarray, size: int) -> np.ndarray:
    """The rows' planes, uint8 of shape (N, 13, size * size)."""
    bits = np.unpackbits(rows["planes"], axis=1, count=PLANES * size * size)
    return bits.reshape(len(rows), PLANES, size * size)
