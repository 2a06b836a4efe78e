"""Games whose players search: the kernels of `tree` and `puct` behind a small class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from octathlon.benchmarks.minigo import puct, tree
from octathlon.benchmarks.minigo.features import PLANES
from octathlon.benchmarks.minigo.rules import empty_chains, geometry
from octathlon.benchmarks.minigo.settings import Settings

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Planes, uint8 of shape (N, 13, size, size) -> logits (N, size * size + 1) and values (N,), float32."""


UNLIMITED = np.iinfo(np.int32).max


class Search:
    """Trees of `games` games, grown with one player's network; `goals` are the visits of the roots that end it."""

    def __init__(self, settings: Settings, games: int, evaluate: Evaluate) -> None:
        size = settings.board_size
        leaves = games * settings.virtual_losses
        self.settings = settings
        self.go, self.chains = geometry(size), empty_chains(size)
        self.trees = tree.plant(games, settings.tree_nodes, size, settings.max_moves)
        self.goals = np.full(games, UNLIMITED, np.int32)
        self._evaluate = evaluate
        self._found = np.zeros((leaves, 3), np.int64)
        self._features = np.zeros((leaves, PLANES, size * size), np.uint8)

    def reset(self, game: int, salt: int) -> None:
        """Begin a game; its salt makes its symmetries."""
        tree.reset(self.trees, game, np.uint64(salt))
        self.goals[game] = UNLIMITED

    def grow(self, wanted: np.ndarray) -> None:
        """Look at a few more leaves of each wanted game, all of them in one batch."""
        settings, size = self.settings, self.settings.board_size
        count = puct.select_leaves(
            self.trees,
            self.go,
            self.chains,
            wanted,
            self.goals,
            settings.virtual_losses,
            settings.max_moves,
            settings.keep_eyes,
            self._found,
            self._features,
        )
        if not count:
            return
        logits, values = self._evaluate(self._features[:count].reshape(count, PLANES, size, size))
        puct.expand_leaves(
            self.trees,
            self.go,
            self._found,
            count,
            logits,
            values,
            settings.value_init_penalty,
            settings.noise_weight,
        )
