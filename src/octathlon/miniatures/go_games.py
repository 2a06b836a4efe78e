"""Games of Go between two players who draw their moves, as the miniature of minigo's checkpoint brings them.

They draw the more readily what captures more, and never fill an eye of their own. Rules: area scoring, no suicide,
positional superko. A board is a tuple of its points row by row: 1 black, -1 white, 0 empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

PLANES, KOMI = 13, 7.5
GREED = 0.7
"""How much more readily a drawn move captures a stone."""


@dataclass(frozen=True)
class Move:
    """A position and what was done in it."""

    planes: np.ndarray
    """uint8 of shape (13, points)"""
    policy: np.ndarray
    """float32 of shape (points + 1,); the pass comes last"""
    move: int


def play(rng: np.random.Generator, size: int, max_moves: int) -> tuple[list[Move], int]:
    """A game of two players who draw their moves; returns it and 1 if Black won, -1 if White did."""
    points = size * size
    board, colour = (0,) * points, 1
    past, seen = [board], {board}
    moves, passes = [], 0
    while passes < 2 and len(moves) < max_moves:
        chains = _chains(board, size)
        after = {
            point: played for point in range(points) if (played := _put(board, chains, point, colour, size))
        }
        after = {point: played for point, played in after.items() if played not in seen}
        wanted = [point for point in after if any(board[near] != colour for near in _neighbours(size)[point])]
        policy = np.zeros(points + 1)
        policy[wanted or [points]] = _preferences([after[point] for point in wanted], colour, size)
        move = int(rng.choice(points + 1, p=policy))
        capturing = [point for point, played in after.items() if played.count(-colour) < board.count(-colour)]
        moves.append(Move(_planes(past, chains, colour, capturing), policy.astype(np.float32), move))
        board = after.get(move, board)
        seen.add(board)
        past.append(board)
        passes = passes + 1 if move == points else 0
        colour = -colour
    return moves, 1 if _areas([board], size)[0] > KOMI else -1


@cache
def _neighbours(size: int) -> list[list[int]]:
    def at(row: int, column: int) -> Iterator[int]:
        if 0 <= row < size and 0 <= column < size:
            yield row * size + column

    return [
        [near for step in ((-1, 0), (0, -1), (0, 1), (1, 0)) for near in at(row + step[0], column + step[1])]
        for row in range(size)
        for column in range(size)
    ]


def _preferences(boards: list[tuple[int, ...]], colour: int, size: int) -> np.ndarray | float:
    """Probabilities of moves by the boards that they lead to; 1 where there is none but the pass."""
    if not boards:
        return 1.0
    areas = colour * _areas(boards, size)
    weights = np.exp(GREED * (areas - areas.max()))
    return weights / weights.sum()


def _chains(board: tuple[int, ...], size: int) -> dict[int, tuple[set[int], set[int]]]:
    """Each stone's chain: its stones and its liberties."""
    chains: dict[int, tuple[set[int], set[int]]] = {}
    for start, colour in enumerate(board):
        if colour and start not in chains:
            stones, liberties, waiting = {start}, set(), [start]
            while waiting:
                for near in _neighbours(size)[waiting.pop()]:
                    if not board[near]:
                        liberties.add(near)
                    elif board[near] == colour and near not in stones:
                        stones.add(near)
                        waiting.append(near)
            chains |= dict.fromkeys(stones, (stones, liberties))
    return chains


def _put(
    board: tuple[int, ...], chains: dict[int, tuple[set[int], set[int]]], point: int, colour: int, size: int
) -> tuple[int, ...] | None:
    """The board after a stone; None where there is one already, or it would be a suicide."""
    if board[point]:
        return None
    near = _neighbours(size)[point]
    taken = {
        stone
        for other in near
        if board[other] == -colour and len(chains[other][1]) == 1
        for stone in chains[other][0]
    }
    lives = any(not board[other] or (board[other] == colour and len(chains[other][1]) > 1) for other in near)
    if not (taken or lives):
        return None
    after = list(board)
    after[point] = colour
    for stone in taken:
        after[stone] = 0
    return tuple(after)


def _planes(
    past: list[tuple[int, ...]],
    chains: dict[int, tuple[set[int], set[int]]],
    colour: int,
    capturing: list[int],
) -> np.ndarray:
    """Stones of both now and three times before, who moves, liberties, captures: uint8 of shape (13, points)."""
    planes = np.zeros((PLANES, len(past[0])), np.uint8)
    for back, board in enumerate(reversed(past[-4:])):
        stones = np.array(board)
        planes[2 * back], planes[2 * back + 1] = stones == colour, stones == -colour
    planes[8] = colour == 1
    for point, (_, liberties) in chains.items():
        planes[8 + min(len(liberties), 3), point] = 1
    planes[12, capturing] = 1
    return planes


def _areas(boards: list[tuple[int, ...]], size: int) -> np.ndarray:
    """Black's area minus White's on each board; an empty point is whose stones alone it touches."""
    stones = np.array([(*board, 0) for board in boards], np.int8)
    near = stones[:, _near_table(size)]
    touched = (near > 0).any(axis=2).astype(int) - (near < 0).any(axis=2)
    return np.where(stones[:, :-1], stones[:, :-1], touched).sum(axis=1)


@cache
def _near_table(size: int) -> np.ndarray:
    """The points' neighbours, four each; `size * size` where there are fewer."""
    outside = size * size
    return np.array([near + [outside] * (4 - len(near)) for near in _neighbours(size)])
