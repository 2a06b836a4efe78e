"""Whose the points of a board are, by area scoring. Kernels.

Before counting, what is unconditionally alive (Benson 1976) is filled with its owner's colour; other stones count as
alive (reference: minigo, cc/position.cc).
"""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.rules import BLACK, BORDER, EMPTY, WHITE, find_chains


@kernel
def pass_alive(board, go, chains, colour, owned):
    """Set `owned` (int8 of shape (points,)) to `colour` where `colour` is unconditionally alive, by Benson's algorithm.

    That is: chains that keep two vital regions each, and those regions. A region is what is connected without stones of
    `colour`; it is vital to a chain if all its empty points are liberties of that chain. `chains` must be the board's.
    """
    points = len(board) - 1
    regions = np.full(points + 1, -1, np.int16)
    empties = np.zeros(points, np.int16)
    touching = np.zeros((points, points), np.int16)  # empty points of a region that are liberties of a chain
    borders = np.zeros((points, points), np.bool_)
    for start in range(points):
        if board[start] == colour or regions[start] >= 0:
            continue
        regions[start] = start
        chains.stack[0] = start
        waiting = 1
        while waiting:
            waiting -= 1
            point = chains.stack[waiting]
            empties[start] += board[point] == EMPTY
            near = go.neighbours[point]
            for side in range(4):
                if board[near[side]] == colour:
                    chain = chains.labels[near[side]]
                    borders[start, chain] = True
                    twice = False
                    for earlier in range(side):
                        twice |= board[near[earlier]] == colour and chains.labels[near[earlier]] == chain
                    touching[start, chain] += board[point] == EMPTY and not twice
                elif board[near[side]] != BORDER and regions[near[side]] < 0:
                    regions[near[side]] = start
                    chains.stack[waiting] = near[side]
                    waiting += 1
    _keep_alive(board, chains, colour, regions, empties, touching, borders, owned)


@kernel
def _keep_alive(board, chains, colour, regions, empties, touching, borders, owned):
    """The iteration of Benson's algorithm, and what it leaves."""
    points = len(board) - 1
    alive = np.zeros(points, np.bool_)
    healthy = np.zeros(points, np.bool_)
    for point in range(points):
        alive[point] = board[point] == colour and chains.labels[point] == point
        healthy[point] = regions[point] == point
    changed = True
    while changed:
        changed = False
        for chain in range(points):
            if alive[chain]:
                vital = 0
                for region in range(points):
                    vital += healthy[region] and touching[region, chain] == empties[region]
                if vital < 2:
                    alive[chain] = False
                    changed = True
                    for region in range(points):
                        healthy[region] &= not borders[region, chain]
    for region in range(points):
        if healthy[region]:
            vital = 0
            for chain in range(points):
                vital += alive[chain] and touching[region, chain] == empties[region]
            healthy[region] = vital > 0
    for point in range(points):
        if board[point] == colour:
            if alive[chains.labels[point]]:
                owned[point] = colour
        elif healthy[regions[point]]:
            owned[point] = colour


@kernel
def all_pass_alive(board, go, chains, owned):
    """Find what is unconditionally alive of both colours; `owned` gets 1, -1 or 0. True if that is the whole board."""
    find_chains(board, go, chains)
    owned[:] = EMPTY
    for colour in (BLACK, WHITE):
        pass_alive(board, go, chains, colour, owned)
    return owned.all()


@kernel
def area(board, go, chains, owned):
    """Black's points minus White's, without komi; `owned` (int8 of shape (points,)) gets each point's owner."""
    points = len(board) - 1
    all_pass_alive(board, go, chains, owned)
    for point in range(points):
        if owned[point] == EMPTY:
            owned[point] = board[point]
    filled = owned.copy()
    chains.marks[:] = 0
    for start in range(points):
        if filled[start] == EMPTY and not chains.marks[start]:
            chains.marks[start] = 1
            chains.stack[0] = start
            done, count = 0, 1
            black = white = False
            while done < count:
                for near in go.neighbours[chains.stack[done]]:
                    if near == points:
                        continue
                    black |= filled[near] == BLACK
                    white |= filled[near] == WHITE
                    if filled[near] == EMPTY and not chains.marks[near]:
                        chains.marks[near] = 1
                        chains.stack[count] = near
                        count += 1
                done += 1
            for index in range(count):
                owned[chains.stack[index]] = int(black and not white) - int(white and not black)
    return owned.sum()
