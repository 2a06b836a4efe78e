"""Games of a player against itself, many at a time, and what they leave for training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octathlon.benchmarks.minigo import turns
from octathlon.benchmarks.minigo.search import Evaluate, Search
from octathlon.benchmarks.minigo.settings import Settings



class SelfPlay:
    """So many games at once, all by one network."""

    def __init__(self, settings: Settings, evaluate: Evaluate, games: int, rng: np.random.Generator) -> None:
        at_once = min(games, settings.concurrent_games)
        self.settings, self.rng = settings, rng
        self.search = Search(settings, at_once, evaluate)
        self.table = turns.lay(at_once, settings.board_size, settings.max_moves, settings.max_moves)
        self._readouts = np.array([settings.fast_readouts, settings.readouts], np.int32)
        self._playing = np.zeros(at_once, np.bool_)
        self._ready = np.zeros(at_once, np.bool_)
        self._left = games
        self.lengths = []
        self.black = 0
        self.out = []

    def run(self):
        for slot in range(len(self._playing)):
            self._start(slot)
        while self._playing.any():
            self.search.grow(self._playing)
            if turns.find_ready(self.search.trees, self.table, self._playing, self._ready):
                self._turn()
        return self.out

    def _start(self, slot):
        self._playing[slot] = self._left > 0
        if not self._left: return
        self._left -= 1
        s = self.settings
        self.search.reset(slot, self.rng.integers(1 << 63))
        t = self.table
        t.streaks[slot] = 0; t.winners[slot] = 0; t.records[slot] = 0
        resigns = self.rng.random() >= s.resign_holdout and s.resign_from > -1
        t.resign_at[slot] = s.resign_from - self.rng.random() * (1 + s.resign_from) if resigns else -np.inf
        turns.begin_search(self.search.trees, t, slot, self._readouts, True, self._noise(1)[0])

    def _noise(self, n):
        a = self.settings.board_size ** 2 + 1
        return self.rng.standard_gamma(self.settings.noise_alpha, (n, a), dtype=np.float32)

    def _turn(self):
        s, n = self.settings, len(self._ready)
        turns.take_turns(self.search.trees, self.search.go, self.search.chains, self.table, self._ready,
            self.rng.random((n, 2)), self._noise(n), self._readouts, s.full_share, s.draw_moves, s.keep_eyes, s.max_moves)
        for slot in np.flatnonzero(self._ready & (self.table.winners != 0)):
            k = self.table.records[slot]
            self.out.append((self.table.planes[slot,:k].copy(), self.table.policies[slot,:k].copy(), int(self.table.winners[slot])))
            self.lengths.append(int(self.search.trees.lengths[slot]))
            self._start(slot)
