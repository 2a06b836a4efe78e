"""Games of one model against another: how good it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octathlon.benchmarks.minigo import turns
from octathlon.benchmarks.minigo.rules import BLACK
from octathlon.benchmarks.minigo.search import Evaluate, Search
from octathlon.benchmarks.minigo.settings import Settings


@dataclass(frozen=True, slots=True)
class Played:
    """A finished game."""

    number: int
    moves: list[int]
    winner: int
    """1 Black, -1 White"""

    @property
    def won(self) -> bool:
        """Whether the candidate won: it is Black in the games of even number."""
        return self.winner == (1 if self.number % 2 == 0 else -1)


def play_match(
    settings: Settings, candidate: Evaluate, target: Evaluate, numbers: range, seed: int
) -> list[Played]:
    """Play the games of these numbers, all at once; colours alternate.

    Without noise, draws and resignation, and without stones in settled areas from the first move on. What differs from
    game to game is how positions are turned before a network sees them (reference: minigo, cc/eval.cc).
    """
    playing = np.ones(len(numbers), np.bool_)
    table = turns.lay(len(numbers), settings.board_size, settings.max_moves, 0)
    table.streaks[:] = turns.PASSES
    players = [Search(settings, len(numbers), evaluate) for evaluate in (candidate, target)]
    readouts = settings.eval_readouts, settings.target_readouts
    for slot, number in enumerate(numbers):
        salts = np.random.default_rng([seed, number]).integers(1 << 63, size=2)
        for player, salt, goal in zip(players, salts, readouts, strict=True):
            player.reset(slot, salt)
            player.goals[slot] = goal
    even = np.array([number % 2 == 0 for number in numbers])
    ready = np.zeros(len(numbers), np.bool_)
    while playing.any():
        black_moves = players[0].trees.to_move[:, 0] == BLACK
        for side, player in enumerate(players):
            its_turn = playing & ((black_moves == even) == (side == 0))
            if its_turn.any():
                player.grow(its_turn)
                if turns.find_ready(player.trees, player.goals, its_turn, ready):
                    other = players[1 - side]
                    turns.exchange(
                        player.trees,
                        other.trees,
                        player.go,
                        player.chains,
                        table,
                        ready,
                        other.goals,
                        readouts[1 - side],
                        settings.max_moves,
                    )
        playing &= table.winners == 0
    lengths = players[0].trees.lengths
    return [
        Played(number, table.moves[slot, : lengths[slot]].tolist(), int(table.winners[slot]))
        for slot, number in enumerate(numbers)
    ]
