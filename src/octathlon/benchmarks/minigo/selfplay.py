"""Games of a player against itself, many at a time, and what they leave for training."""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo import turns
from octathlon.benchmarks.minigo.search import Evaluate, Search
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.datasets.minigo_models.rows import pack


def play_games(settings: Settings, evaluate: Evaluate, games: int, seed: list[int]) -> np.ndarray:
    """Play so many games to their end; the rows of all positions with a full search, numbered by game.

    The same seed gives the same games, if `evaluate` answers alike.
    """
    return _SelfPlay(settings, evaluate, games, np.random.default_rng(seed)).run()


class _SelfPlay:
    """Slots in which games run; whichever ends makes room for the next."""

    def __init__(self, settings: Settings, evaluate: Evaluate, games: int, rng: np.random.Generator) -> None:
        slots = min(games, settings.concurrent_games)
        records = settings.max_moves if settings.full_share > 0.5 else settings.max_moves // 2 + 1
        self._settings, self._rng = settings, rng
        self._search = Search(settings, slots, evaluate)
        self._table = turns.lay(slots, settings.board_size, settings.max_moves, records)
        self._readouts = np.array([settings.fast_readouts, settings.readouts], np.int32)
        self._playing = np.zeros(slots, np.bool_)
        self._ready = np.zeros(slots, np.bool_)
        self._waiting = games
        self._rows: list[np.ndarray] = []

    def run(self) -> np.ndarray:
        for slot in range(len(self._playing)):
            self._begin(slot)
        while self._playing.any():
            self._search.grow(self._playing)
            if turns.find_ready(self._search.trees, self._search.goals, self._playing, self._ready):
                self._move()
        return np.concatenate(self._rows)

    def _begin(self, slot: int) -> None:
        """Begin the next game, if one is left."""
        self._playing[slot] = self._waiting > 0
        if self._waiting:
            self._waiting -= 1
            self._search.reset(slot, self._rng.integers(1 << 63))
            turns.sit_down(self._table, slot, self._resignation())
            search, noise = self._search, self._noise()[slot]
            turns.begin_search(search.trees, search.goals, self._table, slot, self._readouts, True, noise)

    def _resignation(self) -> float:
        """The value below which the players of a game resign."""
        weakest, kept = self._settings.resign_from, self._rng.random() < self._settings.resign_holdout
        threshold = weakest - self._rng.random() * (1 + weakest)
        return -np.inf if kept or weakest == -1 else threshold

    def _noise(self) -> np.ndarray:
        """Dirichlet noise for each slot, but for its scale."""
        shape = (len(self._ready), self._settings.board_size**2 + 1)
        return self._rng.standard_gamma(self._settings.noise_alpha, shape, np.float32)

    def _move(self) -> None:
        """Let the players whose search is done move; take in the games that this ends."""
        settings, search, table = self._settings, self._search, self._table
        turns.take_turns(
            search.trees,
            search.go,
            search.chains,
            table,
            self._ready,
            search.goals,
            self._rng.random((len(self._ready), 2)),
            self._noise(),
            self._readouts,
            settings.full_share,
            settings.draw_moves,
            settings.keep_eyes,
            settings.max_moves,
        )
        for slot in np.flatnonzero(self._ready & (table.winners != 0)):
            count, winner = table.records[slot], table.winners[slot]
            planes, policies = table.planes[:count, slot], table.policies[:count, slot]
            self._rows.append(pack(settings.board_size, planes, policies, winner, len(self._rows)))
            self._begin(slot)
