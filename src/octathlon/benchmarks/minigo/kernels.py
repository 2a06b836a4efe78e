"""All kernels compiled before anything is timed: in a job of its own, and by whoever finds them changed since."""

from __future__ import annotations

import numpy as np

from octathlon.benchmarks.minigo.compiled import compiling
from octathlon.benchmarks.minigo.match import play_match
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.benchmarks.minigo.settings import Settings


def compile_kernels(settings: Settings) -> None:
    """Leave the machine code of all kernels where each process finds it; takes a minute, and no time if it is there."""
    with compiling():
        rehearse(settings)


def rehearse(settings: Settings) -> None:
    """Have all kernels compiled, or fetched from the cache: a few moves of a player that knows nothing."""

    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(planes), settings.board_size**2 + 1), np.float32), np.zeros(
            len(planes), np.float32
        )

    few = {"max_moves": 3, "readouts": 2, "fast_readouts": 2, "eval_readouts": 2, "target_readouts": 2}
    short = settings.model_copy(update=few)
    play_games(short, evaluate, 1, [0])
    play_match(short, evaluate, evaluate, range(1), 0)
