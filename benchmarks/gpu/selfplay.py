"""How many positions a second minigo's self-play looks at on one accelerator, by the number of processes that share it.

    PYTHONPATH=src python benchmarks/gpu/selfplay.py --device cuda --processes 1 4 8

Each process plays the first moves of 128 games on 19x19 at once, with a network that knows nothing. What it waits for
the network is what could be hidden behind work on trees, and no more.
"""

from __future__ import annotations

import argparse
import time
from multiprocessing import get_context

import numpy as np
import torch

from octathlon.benchmarks.minigo.compiled import compiling
from octathlon.benchmarks.minigo.kernels import rehearse
from octathlon.benchmarks.minigo.players import new_network, player
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.config import resolve

SHORT = {"max_moves": 60, "readouts": 96, "fast_readouts": 16}


def play(task: tuple[str, int]) -> tuple[int, float, float]:
    """(positions, seconds, seconds waited for the network) of one process."""
    device, seed = task
    torch.set_num_threads(1)
    settings = resolve("benchmarks", "minigo", "full", SHORT)
    ask = player(new_network(settings), torch.device(device), half=device == "cuda")
    ask(np.zeros((8, 13, 19, 19), np.uint8))
    positions, waited = 0, 0.0

    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal positions, waited
        start = time.perf_counter()
        answer = ask(planes)
        waited += time.perf_counter() - start
        positions += len(planes)
        return answer

    start = time.perf_counter()
    play_games(settings, evaluate, settings.concurrent_games, [seed])
    return positions, time.perf_counter() - start, waited


def main() -> None:
    """Print a line for each number of processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4, 8])
    options = parser.parse_args()
    with compiling():
        rehearse(resolve("benchmarks", "minigo", "full", {}))
    print(f"{'processes':>9} {'positions/s':>12} {'of a process':>12} {'µs each':>8} {'waiting':>8}")
    for count in options.processes:
        with get_context("spawn").Pool(count) as pool:
            done = pool.map(play, [(options.device, seed) for seed in range(count)], chunksize=1)
        rates = [positions / seconds for positions, seconds, _ in done]
        waiting = sum(waited for *_, waited in done) / sum(seconds for _, seconds, _ in done)
        each = 1e6 / np.mean(rates)
        print(f"{count:>9} {sum(rates):>12,.0f} {np.mean(rates):>12,.0f} {each:>8.1f} {waiting:>8.0%}")


if __name__ == "__main__":
    main()
