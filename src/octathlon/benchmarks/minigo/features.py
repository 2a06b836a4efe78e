"""What the network sees of a position in a tree (see `tree.Trees`), and which moves may be played there. Kernels."""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.rules import BLACK, EMPTY, find_chains, remembers, try_point

PLANES = 13
HISTORY = 4
"""Positions that the planes show."""
NEAR = 7
"""Of a count of neighbours, the bits; 4 are all."""
TAKEN, SAFE, ATARI, FOE = 1, 8, 64, 512
"""One neighbour in each of the four counts of `_weigh`."""


@kernel
def find_legal(trees, go, chains, game, node, keep_eyes, legal):
    """Which moves may be played: 0 no, 1 yes, 2 yes and it captures, -1 legal but not wanted; fills `chains`.

    Args:
        keep_eyes: not wanted are stones in an own eye of one point, and passes while there is another move.
    """
    points = trees.boards.shape[2] - 1
    board, colour = trees.boards[game, node], trees.to_move[game, node]
    find_chains(board, go, chains)
    _weigh(board, chains, colour)
    for point in range(points):
        near = go.neighbours[point]
        met = chains.marks[near[0]] + chains.marks[near[1]] + chains.marks[near[2]] + chains.marks[near[3]]
        free, takes = met & NEAR < 4 * TAKEN, met & NEAR * ATARI != 0
        may = (board[point] == EMPTY) & (free | (met & NEAR * SAFE != 0) | takes)
        eye = (met & NEAR == 4 * TAKEN) & (met < FOE)
        legal[point] = may * (1 + takes) * (1 - 2 * (keep_eyes & eye))
    _forbid_repetitions(trees, go, chains, game, node, legal)
    legal[points] = 1
    if keep_eyes and (legal[:points] > 0).any():
        legal[points] = -1


@kernel
def _weigh(board, chains, colour):
    """What each point adds to the counts of its neighbours, in `chains.marks`: a stone of `colour` there would meet it.

    By three bits each, TAKEN: it is not empty; SAFE: an own stone with another liberty; ATARI: another with no other
    one; FOE: another.
    """
    points = len(board) - 1
    for point in range(points):  # without branches, as all that follows
        last = chains.liberties[chains.labels[point]] == 1
        own = (board[point] == colour) * (TAKEN + SAFE * (not last))
        chains.marks[point] = own + (board[point] == -colour) * (TAKEN + FOE + ATARI * last)
    chains.marks[points] = TAKEN


@kernel
def _forbid_repetitions(trees, go, chains, game, node, legal):
    """Take out the moves that repeat a position: in the game, or on the way from the root.

    That has a stone where it stood before, so only such points are looked at.
    """
    colour = trees.to_move[game, node]
    stood = trees.stood[game, int(colour == BLACK)]
    for point in range(len(stood)):
        if stood[point] and legal[point]:
            _forbid_repetition(trees, go, chains, game, node, point, legal)
    below = node
    while below > 0:
        point = trees.moves[game, below]
        if trees.to_move[game, below] != colour and legal[point] and point < len(stood):
            _forbid_repetition(trees, go, chains, game, node, point, legal)
        below = trees.parents[game, below]


@kernel
def _forbid_repetition(trees, go, chains, game, node, point, legal):
    """Take a move out if it repeats a position."""
    colour = trees.to_move[game, node]
    change = go.zobrist[int(colour == BLACK), point]
    if legal[point] == 2:
        _, _, change = try_point(trees.boards[game, node], go, chains, point, colour)
    if _recurs(trees, game, node, trees.keys[game, node] ^ change):
        legal[point] = 0


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
def write_planes(trees, go, chains, game, node, legal, source, planes):
    """The 13 planes of a node, all 0 or 1 (reference: minigo, cc/model/features.h, set mlperf07).

    0-7: stones of the player to move and of the opponent, now and one, two, three moves ago; 8: Black is to move;
    9-11: chains of one, two, more liberties; 12: where a move captures.

    Args:
        legal: of `find_legal`, as is `chains`.
        source: where each point of the planes comes from, see `Geometry.symmetries`.
    """
    points = planes.shape[1]
    colour = trees.to_move[game, node]
    shown = np.empty(points, np.int8)
    ancestor = node
    for back in range(HISTORY):
        before = back - 1 - trees.depths[game, node]
        board = trees.boards[game, ancestor] if before < 0 else trees.past[game, before]
        for point in range(points):
            shown[point] = board[source[point]]
        _mark(shown, colour, planes[2 * back])
        _mark(shown, -colour, planes[2 * back + 1])
        ancestor = max(trees.parents[game, ancestor], 0)
    planes[8] = colour == BLACK
    for point in range(points):
        chain = chains.labels[source[point]]
        shown[point] = min(chains.liberties[chain], 3) if chain >= 0 else 4 * (legal[source[point]] == 2)
    for kind in range(1, 5):
        _mark(shown, kind, planes[8 + kind])


@kernel
def _mark(shown, kind, plane):
    """1 where `kind` is shown."""
    for point in range(len(plane)):
        plane[point] = shown[point] == kind


@kernel
def choose_symmetry(key, salt):
    """One of the eight, pseudo-random in position and game."""
    mixed = (key ^ salt) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(61))
