"""What the network sees of a position in a tree (see `tree.Trees`), and which moves may be played there. Kernels."""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.rules import BLACK, EMPTY, find_chains, is_eye, remembers, try_point

PLANES = 13
HISTORY = 4
"""Positions that the planes show."""


@kernel
def find_legal(trees, go, chains, game, node, keep_eyes, legal):
    """Which moves may be played: 0 no, 1 yes, 2 yes and it captures, -1 legal but not wanted; fills `chains`.

    Args:
        keep_eyes: not wanted are stones in an own eye of one point, and passes while there is another move.
    """
    points = trees.boards.shape[2] - 1
    board, colour = trees.boards[game, node], trees.to_move[game, node]
    find_chains(board, go, chains)
    stones = 0
    for point in range(points):
        legal[point] = 0
        if board[point] != EMPTY:
            continue
        lives, captures, change = try_point(board, go, chains, point, colour)
        if lives and not _recurs(trees, game, node, trees.keys[game, node] ^ change):
            legal[point] = 2 if captures else 1
            if keep_eyes and is_eye(board, go, point, colour):
                legal[point] = -1
            else:
                stones += 1
    legal[points] = -1 if keep_eyes and stones else 1


@kernel
def _recurs(trees, game, node, key):
    """Whether a position was there before: in the game, or on the way from the root."""
    if remembers(trees.seen[game], key):
        return True
    while node > 0:
        if trees.keys[game, node] == key:
            return True
        node = trees.parents[game, node]
    return False


@kernel
def write_planes(trees, go, chains, game, node, legal, planes):
    """The 13 planes of a node, all 0 or 1 (reference: minigo, cc/model/features.h, set mlperf07).

    0-7: stones of the player to move and of the opponent, now and one, two, three moves ago; 8: Black is to move;
    9-11: chains of one, two, more liberties; 12: where a move captures. `legal` and `chains` are those of `find_legal`.
    """
    points = planes.shape[1]
    colour = trees.to_move[game, node]
    planes[:] = 0
    ancestor = node
    for back in range(HISTORY):
        before = back - 1 - trees.depths[game, node]
        board = trees.boards[game, ancestor] if before < 0 else trees.past[game, before]
        for point in range(points):
            if board[point] == colour:
                planes[2 * back, point] = 1
            elif board[point] == -colour:
                planes[2 * back + 1, point] = 1
        ancestor = max(trees.parents[game, ancestor], 0)
    for point in range(points):
        planes[8, point] = colour == BLACK
        if chains.labels[point] >= 0:
            planes[8 + min(chains.liberties[chains.labels[point]], 3), point] = 1
        planes[12, point] = legal[point] == 2


@kernel
def choose_symmetry(key, salt):
    """One of the eight, pseudo-random in position and game."""
    mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(61))


@kernel
def turn(planes, source, turned):
    """Planes as another symmetry has them."""
    for plane in range(planes.shape[0]):
        for point in range(planes.shape[1]):
            turned[plane, point] = planes[plane, source[point]]
