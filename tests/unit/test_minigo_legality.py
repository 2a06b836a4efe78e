"""Which moves a tree allows, against the slow way: each point is tried, and compared with each earlier position."""

from __future__ import annotations

import numpy as np
import pytest

from octathlon.benchmarks.minigo import tree
from octathlon.benchmarks.minigo.compiled import kernel
from octathlon.benchmarks.minigo.features import find_legal
from octathlon.benchmarks.minigo.rules import EMPTY, empty_chains, find_chains, geometry, place, try_point


@kernel
def find_legal_slowly(board, go, chains, colour, key, keys, legal):
    """As `find_legal`; `keys` are of all positions so far. Returns how many moves only repeat one of them."""
    find_chains(board, go, chains)
    repeated = 0
    legal[:] = 0
    legal[-1] = 1
    for point in range(len(board) - 1):
        if board[point] == EMPTY:
            lives, captures, change = try_point(board, go, chains, point, colour)
            if lives and (keys == key ^ change).any():
                repeated += 1
            elif lives:
                legal[point] = 2 if captures else 1
    return repeated


class Walk:
    """A random game in a tree: ways below the root of up to 12 nodes, then the root moves along them.

    Half of the moves go, where they can, to points that stones were taken from: that is where positions come back.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.points, self._rng = size * size, np.random.default_rng(seed)
        self._go, self._chains = geometry(size), empty_chains(size)
        self.trees = tree.plant(1, 40, size, 10_000)
        tree.reset(self.trees, 0, np.uint64(0))
        self._keys = [np.uint64(0)]
        self._taken: set[int] = set()
        self.positions = self.repeated = 0

    def go_on(self) -> None:
        node, moves = tree.ROOT, []
        for _ in range(self._rng.integers(1, 12)):
            moves.append(self._choose(node))
            before = self.trees.boards[0, node, :-1].copy()
            node = np.int64(tree.grow(self.trees, self._go, self._chains, 0, node, moves[-1], 10_000))
            self._taken |= set(
                np.flatnonzero((before != 0) & (self.trees.boards[0, node, :-1] == 0)).tolist()
            )
            self._keys.append(self.trees.keys[0, node])
        for move in moves:
            tree.advance(self.trees, self._go, self._chains, 0, move, 10_000, False)

    def _choose(self, node: int) -> int:
        """Compare what is legal at a node, and choose among it; passes only where nothing else is left."""
        legal, slowly = np.zeros((2, self.points + 1), np.int8)
        find_legal(self.trees, self._go, self._chains, 0, node, False, legal)
        board, colour, key = (
            part[0, node] for part in (self.trees.boards, self.trees.to_move, self.trees.keys)
        )
        self.repeated += find_legal_slowly(
            board, self._go, self._chains, colour, key, np.array(self._keys), slowly
        )
        assert legal.tolist() == slowly.tolist()
        self.positions += 1
        moves = np.flatnonzero(legal[:-1]).tolist() or [self.points]
        again = [move for move in moves if move in self._taken]
        return int(self._rng.choice(again if again and self._rng.random() < 0.5 else moves))


@pytest.mark.parametrize(("size", "games", "positions"), [(5, 60, 75), (9, 30, 150), (19, 3, 1500)])
def test_what_is_legal_is_so_by_the_slow_way(size: int, games: int, positions: int) -> None:
    repeated = 0
    for seed in range(games):
        walk = Walk(size, seed)
        while walk.positions < positions:
            walk.go_on()
        repeated += walk.repeated
    print(repeated)
    assert repeated >= 20


def test_placing_a_stone_does_what_trying_it_foretells() -> None:
    """Also that of a suicide, and what it takes lies on the stack."""
    go, chains, rng, kinds = geometry(6), empty_chains(6), np.random.default_rng(3), set()
    for _ in range(300):
        board = np.append(rng.choice([-1, 0, 1], 36, p=[0.35, 0.3, 0.35]), 2).astype(np.int8)
        find_chains(board, go, chains)
        if 0 in chains.liberties[chains.labels[:-1][board[:-1] != EMPTY]]:
            continue  # no position of a game
        for point in np.flatnonzero(board[:-1] == EMPTY):
            for colour in (-1, 1):
                lives, captures, change = try_point(board, go, chains, point, colour)
                after, room = board.copy(), empty_chains(6)
                placed = place(after, go, room, point, colour)
                vanished = np.flatnonzero((board != EMPTY) & (after == EMPTY))
                assert sorted(room.stack[: placed[1]]) == vanished.tolist()
                assert (placed[0], placed[1] > 0, placed[2]) == (lives, captures > 0, change)
                kinds.add((lives, captures))
    assert kinds >= {(False, 0), (True, 0), (True, 1), (True, 2)}
