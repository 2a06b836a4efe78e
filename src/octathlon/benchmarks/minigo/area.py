"""Whose the points of a board are, by area scoring. Kernels.

Before counting, regions that are alive even if their owner always passes are filled with the owner's colour; other
stones count as alive. The chains around them are found by Benson's algorithm (1976), but what is done with regions is
the reference's own (minigo, cc/position.cc): see `pass_alive`.
"""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.rules import BLACK, BORDER, EMPTY, WHITE, find_chains


@kernel
def pass_alive(board, go, chains, colour, owned):
    """Set `owned` (int8 of shape (points,)) to `colour` in the regions and at the chains of `colour` that are alive.

    A region is what is connected without stones of `colour`. It is vital to a chain if all its empty points are
    liberties of that chain. Chains with fewer than two vital regions are given up, and with each the regions in which
    it has a liberty, until no more are. A region is alive if no chain around it is given up and at most one of its
    empty points is beside none of them; it need not be vital to one. `chains` must be the board's.
    """
    points = len(board) - 1
    if not (board == colour).any():
        return
    regions = _find_regions(board, go, chains, colour)
    empties = np.zeros(points, np.int16)
    inner = np.zeros(points, np.int16)  # empty points beside no chain
    touched = np.zeros((points, points), np.int16)  # empty points of a region that are liberties of a chain
    alive = np.zeros(points, np.bool_)
    for point in range(points):
        if board[point] == colour:
            alive[chains.labels[point]] = True
        elif board[point] == EMPTY:
            region, beside = regions[point], False
            near = go.neighbours[point]
            for side in range(4):
                if board[near[side]] == colour:
                    chain, beside, twice = chains.labels[near[side]], True, False
                    for earlier in range(side):
                        twice |= chains.labels[near[earlier]] == chain
                    touched[chain, region] += not twice
            empties[region] += 1
            inner[region] += not beside
    _give_up(alive, empties, touched)
    for point in range(points):
        if board[point] != colour:
            for near in go.neighbours[point]:
                if board[near] == colour and not alive[chains.labels[near]]:
                    inner[regions[point]] = points  # too many: it is not alive
    for point in range(points):
        if board[point] == colour:
            if owned[point] == EMPTY and alive[chains.labels[point]]:
                owned[point] = colour
        elif inner[regions[point]] <= 1:
            owned[point] = colour


@kernel
def _find_regions(board, go, chains, colour):
    """Each point's region, known by its first point; undefined at stones of `colour`."""
    points = len(board) - 1
    regions = np.full(points, -1, np.int16)
    for start in range(points):
        if board[start] == colour or regions[start] >= 0:
            continue
        regions[start] = start
        chains.stack[0] = start
        waiting = 1
        while waiting:
            waiting -= 1
            for near in go.neighbours[chains.stack[waiting]]:
                if board[near] != colour and board[near] != BORDER and regions[near] < 0:
                    regions[near] = start
                    chains.stack[waiting] = near
                    waiting += 1
    return regions


@kernel
def _give_up(alive, empties, touched):
    """Clear `alive` at all chains that are to be given up."""
    points = len(alive)
    kept = empties > 0
    changed = True
    while changed:
        changed = False
        for chain in range(points):
            if alive[chain]:
                vital = 0
                for region in range(points):
                    vital += kept[region] and touched[chain, region] == empties[region]
                if vital < 2:
                    alive[chain] = False
                    changed = True
                    for region in range(points):
                        kept[region] &= touched[chain, region] == 0


@kernel
def all_pass_alive(board, go, chains, owned):
    """Find what is alive of both colours; `owned` gets 1, -1 or 0. True if that is all but stones."""
    find_chains(board, go, chains)
    owned[:] = EMPTY
    for colour in (BLACK, WHITE):
        pass_alive(board, go, chains, colour, owned)
    open_points = 0
    for point in range(len(owned)):
        open_points += owned[point] == EMPTY and board[point] == EMPTY
    return open_points == 0


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
