"""Networks as players: in this process, or as many processes that each play a share of the games."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octathlon.benchmarks.minigo.kernels import rehearse
from octathlon.benchmarks.minigo.network import DualNetwork, folded
from octathlon.benchmarks.minigo.search import Evaluate
from octathlon.benchmarks.minigo.selfplay import play_games
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.datasets.minigo_models.rows import row_type
from octathlon.errors import OctathlonError
from octathlon.nn import shared_memory
from octathlon.nn.processes import Signs, ending, heeding_parents, silence_of
from octathlon.nn.sampling import rank_share


def new_network(settings: Settings) -> DualNetwork:
    """A network of the settings' sizes."""
    return DualNetwork(settings.board_size, settings.filters, settings.blocks, settings.value_units)


def player(model: DualNetwork, device: torch.device, half: bool = False) -> Evaluate:
    """What a search asks: the model as it is now, in bf16 if `half`. A diverged one (NaN) has no opinion."""
    network = folded(model).to(device, memory_format=torch.channels_last)

    def evaluate(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, half):
            logits, values = network(torch.from_numpy(planes).to(device).float())
        return logits.float().nan_to_num().cpu().numpy(), values.float().nan_to_num().cpu().numpy()

    return evaluate


@dataclass(frozen=True, slots=True)
class _Share:
    """What one process is to play."""

    settings: Settings
    weights: Mapping[str, Tensor]
    device: torch.device
    games: range
    """Their numbers among those of the rank."""
    seed: list[int]


class SelfPlayers:
    """Plays the games of a generation, in `settings.selfplay_processes` processes or, if there are none, here."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._processes = settings.selfplay_processes
        self._pool = _Pool(self._processes) if self._processes else None
        if self._pool:
            self._pool.map(rehearse, [settings] * self._processes)

    def play(self, model: DualNetwork, games: int, seed: list[int]) -> np.ndarray:
        """The rows of so many games: of none where there are more ranks than games.

        Raises:
            OctathlonError: if a process died or fell silent.
        """
        if not games:
            return np.empty(0, row_type(self._settings.board_size))
        if not self._pool:
            return play_games(self._settings, player(model, self._device, self._half), games, seed)
        shares = self._shares(model, games, seed)
        parts = self._pool.map(_play_share, shares)
        for part, share in zip(parts, shares, strict=True):
            part["game"] += share.games.start
        return np.concatenate(parts)

    def positions_per_second(self, model: DualNetwork, games: int, seconds: float) -> float:
        """How many positions all processes look at in a second of playing so many games, judged by their beginning."""
        if not games:
            return 0.0
        if not self._pool:
            return _rate(self._settings, player(model, self._device, self._half), games, [0], seconds)
        return sum(self._pool.map(partial(_rate_share, seconds=seconds), self._shares(model, games, [])))

    def _shares(self, model: DualNetwork, games: int, seed: list[int]) -> list[_Share]:
        """What each process is to play, but those for which no game is left."""
        weights = _weights(model)
        numbers = [rank_share(games, process, self._processes) for process in range(self._processes)]
        return [
            _Share(self._settings, weights, self._device, share, [*seed, share.start])
            for share in numbers
            if share
        ]

    @property
    def _half(self) -> bool:
        return self._settings.precision == "bf16"


class _Pool:
    """Processes whose death or silence is told in a sentence."""

    def __init__(self, processes: int) -> None:
        shared_memory.require(0, "self-play processes")
        context = get_context("spawn")
        signs = Signs(processes, context)
        self._pool = ProcessPoolExecutor(processes, context, _begin_process, (signs,))
        signs.watch()

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """`work` of each task, in their order.

        Raises:
            OctathlonError: if a process died or fell silent.
        """
        with heeding_parents():
            futures = [self._pool.submit(work, task) for task in tasks]
        players = active_children()
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise OctathlonError(
                f"{_died(players)}: see whether memory ran out or who ended it, then rerun"
            ) from None


def _died(players: Sequence[BaseProcess]) -> str:
    """Which of the processes died first. The others are killed: the pool tells them to end and waits for them, but one
    that is stopped hears nothing."""
    ended = wait([each.sentinel for each in players])
    first = next(each for each in players if each.sentinel in ended)
    first.join()
    for each in players:
        each.kill()
    return f"self-play process {first.pid} {silence_of(first.pid) or ending(first.exitcode)}"


def _begin_process(signs: Signs) -> None:
    signs.begin()
    torch.set_num_threads(1)


def _weights(model: DualNetwork) -> dict[str, Tensor]:
    """On the host, to be sent to other processes."""
    return {name: tensor.cpu() for name, tensor in model.state_dict().items()}


def _player(share: _Share) -> Evaluate:
    model = new_network(share.settings)
    model.load_state_dict(share.weights)
    return player(model, share.device, share.settings.precision == "bf16")


def _play_share(share: _Share) -> np.ndarray:
    return play_games(share.settings, _player(share), len(share.games), share.seed)


def _rate_share(share: _Share, seconds: float) -> float:
    return _rate(share.settings, _player(share), len(share.games), share.seed, seconds)


class _Enough(Exception):  # noqa: N818 - it is no error
    """Ends games."""


def _rate(settings: Settings, evaluate: Evaluate, games: int, seed: list[int], seconds: float) -> float:
    """Positions per second of games played for so long, after a first batch in which kernels are chosen."""
    positions, start = -1, 0.0

    def counted(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal positions, start
        answer = evaluate(planes)
        if positions < 0:
            positions, start = 0, time.perf_counter()
            return answer
        positions += len(planes)
        if time.perf_counter() - start > seconds:
            raise _Enough
        return answer

    with suppress(_Enough):
        play_games(settings, counted, games, seed)
    return positions / (time.perf_counter() - start)
