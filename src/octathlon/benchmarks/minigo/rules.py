"""Go by the rules of the benchmark, on boards of any size, compiled by numba.

Area scoring (see `area`) with komi 7.5, no suicide, and positional superko: no stone configuration of the game may come
back, whoever is to move; a pass is always allowed and two in a row end the game (reference: minigo, cc/position.cc).

A board is an int8 array of size * size + 1 entries: the points row by row from the top, 1 black, -1 white, 0 empty, and
one border entry, which is every off-board neighbour. A move is a point or, size * size, a pass. The board's size comes
with each call: numba's cache on disk does not know of global constants.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel

BLACK, WHITE, EMPTY, BORDER = 1, -1, 0, 2
KOMI = 7.5


class Geometry(NamedTuple):
    """What is the same on all boards of a size, of `points` points."""

    neighbours: np.ndarray
    """uint16 (numba sees to negative numbers at each access) of shape (points, 4); off the board: `points`"""
    zobrist: np.ndarray
    """uint64 of shape (2, points): white, black"""
    symmetries: np.ndarray
    """int16 of shape (8, points): where each point of a turned board comes from"""


class Chains(NamedTuple):
    """The chains of a board, as `find_chains` finds them. A chain is known by its first point."""

    labels: np.ndarray
    """int16 of shape (points + 1,): each stone's chain; -1: no stone"""
    liberties: np.ndarray
    """int16 of shape (points,), by chain"""
    keys: np.ndarray
    """uint64 of shape (points,), by chain: its stones' part of the position's key"""
    stack: np.ndarray
    marks: np.ndarray


@cache
def geometry(size: int) -> Geometry:
    """The tables of a board of `size` lines."""
    board = np.full((size + 2, size + 2), size * size, np.uint16)
    board[1:-1, 1:-1] = points = np.arange(size * size, dtype=np.int16).reshape(size, size)
    around = [board[:-2, 1:-1], board[1:-1, :-2], board[1:-1, 2:], board[2:, 1:-1]]
    neighbours = np.stack([side.ravel() for side in around], axis=1)
    turned = [np.rot90(flipped, turns) for flipped in (points, points.T) for turns in range(4)]
    return Geometry(
        neighbours=neighbours,
        zobrist=np.random.default_rng(19).integers(1 << 64, size=(2, size * size), dtype=np.uint64),
        symmetries=np.stack([board.ravel() for board in turned]),
    )


def empty_chains(size: int) -> Chains:
    """Room for the chains of a board."""
    points = size * size
    return Chains(
        labels=np.full(points + 1, -1, np.int16),
        liberties=np.zeros(points, np.int16),
        keys=np.zeros(points, np.uint64),
        stack=np.zeros(points, np.int16),
        marks=np.zeros(points + 1, np.int16),
    )


def empty_board(size: int) -> np.ndarray:
    """A board without stones."""
    board = np.zeros(size * size + 1, np.int8)
    board[-1] = BORDER
    return board


@kernel
def find_chains(board, go, chains):
    """Find the board's chains and count their liberties."""
    points = len(board) - 1
    chains.labels[:] = -1
    chains.marks[:] = -1
    for start in range(points):
        colour = board[start]
        if colour == EMPTY or chains.labels[start] >= 0:
            continue
        chains.labels[start] = start
        chains.stack[0] = start
        waiting, liberties, key = 1, 0, np.uint64(0)
        while waiting:
            waiting -= 1
            point = chains.stack[waiting]
            key ^= go.zobrist[int(colour == BLACK), point]
            for near in go.neighbours[point]:
                if board[near] == EMPTY:
                    if chains.marks[near] != start:
                        chains.marks[near] = start
                        liberties += 1
                elif board[near] == colour and chains.labels[near] < 0:
                    chains.labels[near] = start
                    chains.stack[waiting] = near
                    waiting += 1
        chains.liberties[start] = liberties
        chains.keys[start] = key


@kernel
def try_point(board, go, chains, point, colour):
    """What a stone on an empty point would do: (not a suicide, chains captured, change of the position's key)."""
    key = go.zobrist[int(colour == BLACK), point]
    lives, captures = False, 0
    near = go.neighbours[point]
    for side in range(4):
        other = board[near[side]]
        if other == EMPTY:
            lives = True
        elif other == colour:
            lives |= chains.liberties[chains.labels[near[side]]] > 1
        elif other == -colour:
            chain = chains.labels[near[side]]
            twice = False
            for earlier in range(side):
                twice |= chains.labels[near[earlier]] == chain
            if chains.liberties[chain] == 1 and not twice:
                captures += 1
                key ^= chains.keys[chain]
    return lives or captures > 0, captures, key


@kernel
def place(board, go, chains, point, colour):
    """Put a stone on an empty point and take what it captures.

    Of `chains` only the room is used; the points that were taken come first in its stack.

    Returns:
        As `try_point`, but how many stones were captured. A suicide stays on the board.
    """
    board[point] = colour
    key, taken = go.zobrist[int(colour == BLACK), point], 0
    for near in go.neighbours[point]:
        if board[near] == -colour:
            end = _find_surrounded(board, go, chains, near, taken)
            for index in range(taken, end):
                board[chains.stack[index]] = EMPTY
                key ^= go.zobrist[int(colour == WHITE), chains.stack[index]]
            taken = end
    lives = taken > 0 or _find_surrounded(board, go, chains, point, 0) == 0
    return lives, taken, key


@kernel
def _find_surrounded(board, go, chains, start, count):
    """Put the chain at `start` on the stack after `count` other points, if it has no liberty; returns the new count."""
    for near in go.neighbours[start]:  # nearly always there is one at once
        if board[near] == EMPTY:
            return count
    colour = board[start]
    chains.stack[count] = start
    board[start] = BORDER + 1  # visited
    done, end, free = count, count + 1, False
    while done < end and not free:
        for near in go.neighbours[chains.stack[done]]:
            if board[near] == EMPTY:
                free = True
                break
            if board[near] == colour:
                board[near] = BORDER + 1
                chains.stack[end] = near
                end += 1
        done += 1
    for index in range(count, end):
        board[chains.stack[index]] = colour
    return count if free else end


@kernel
def remember(seen, key):
    """Put a position's key into a table (uint64, a power of two long, 0: free) that is never full."""
    slot = np.int64(key & np.uint64(len(seen) - 1))
    while seen[slot] != 0 and seen[slot] != key:
        slot = (slot + 1) & (len(seen) - 1)
    seen[slot] = key


@kernel
def remembers(seen, key):
    """Whether `remember` got this key."""
    slot = np.int64(key & np.uint64(len(seen) - 1))
    while seen[slot] != 0:
        if seen[slot] == key:
            return True
        slot = (slot + 1) & (len(seen) - 1)
    return False
