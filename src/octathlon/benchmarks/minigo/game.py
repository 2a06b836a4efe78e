"""A game of Go for those who are not in a hurry: tests, referees, opponents."""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.area import area
from octathlon.benchmarks.minigo.rules import (
    BLACK,
    EMPTY,
    KOMI,
    empty_board,
    empty_chains,
    find_chains,
    geometry,
    place,
    try_point,
)


class Game:
    """One game, move by move."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.board = empty_board(size)
        self.to_move = BLACK
        self.moves: list[int] = []
        self._go, self._chains = geometry(size), empty_chains(size)
        self._key = np.uint64(0)
        self._seen = {self._key}

    @property
    def is_over(self) -> bool:
        """Whether the last two moves were passes."""
        return self.moves[-2:] == [self.size**2] * 2

    def legal(self) -> np.ndarray:
        """Which moves the player to move may make, bool of shape (points + 1,), the pass last."""
        find_chains(self.board, self._go, self._chains)
        return np.array([self._is_legal(point) for point in range(self.size**2)] + [True])

    def play(self, move: int) -> None:
        """Make a move for the player to move.

        Raises:
            ValueError: if it is not legal.
        """
        if move < self.size**2:
            find_chains(self.board, self._go, self._chains)
            if not self._is_legal(move):
                raise ValueError(f"illegal move {move} after {self.moves}")
            _, _, change = place(self.board, self._go, self._chains, move, self.to_move)
            self._key ^= change
            self._seen.add(self._key)
        self.moves.append(move)
        self.to_move = -self.to_move

    def score(self) -> float:
        """Black's points minus White's and komi."""
        owned = np.zeros(self.size**2, np.int8)
        return float(area(self.board, self._go, self._chains, owned)) - KOMI

    def _is_legal(self, point: int) -> bool:
        if self.board[point] != EMPTY:
            return False
        lives, _, change = try_point(self.board, self._go, self._chains, point, self.to_move)
        return lives and self._key ^ change not in self._seen
