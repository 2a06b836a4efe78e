"""Collectives alone and among real gloo processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from octathlon.nn import world


def on_ranks(count: int, folder: Path, work: Callable[[int], Any], start: str = "fork") -> list[Any]:
    """What `work(rank)` returns on each of `count` processes that form a gloo group.

    Args:
        start: "spawn" for work that differentiates, which a fork of a process that has done so can't.
    """
    context = multiprocessing.get_context(start)
    queue = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(rank, count, folder / "rendezvous", work, queue))
        for rank in range(count)
    ]
    for each in ranks:
        each.start()
    results = dict(queue.get(timeout=300) for _ in ranks)
    for each in ranks:
        each.join()
    return [results[rank] for rank in range(count)]


def _rank(rank: int, count: int, store: Path, work: Callable[[int], Any], queue: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    queue.put((rank, work(rank)))
    dist.destroy_process_group()


def _sums_and_gathered(rank: int) -> tuple[int, float, list[list[int]]]:
    lengths = [3, 0, 1]
    rows = torch.arange(2 * lengths[rank]).reshape(-1, 2) + 100 * rank
    return world.size(), world.all_sum(torch.tensor(float(rank + 1))).item(), world.all_gather(rows).tolist()


def test_sum_and_gather_over_three_ranks(tmp_path: Path) -> None:
    """The parts have 3, 0 and 1 rows: the second rank has nothing to give."""
    expected = (3, 6.0, [[0, 1], [2, 3], [4, 5], [200, 201]])
    assert on_ranks(3, tmp_path, _sums_and_gathered) == [expected] * 3


def _averaged(rank: int) -> list[list[float]]:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, track_running_stats=False), nn.Linear(2, 2))
    model[0].running_mean[:] = torch.tensor([1.0, 10.0]) * (rank + 1)
    model[0].running_var[:] = torch.tensor([4.0, 8.0]) * (rank + 1)
    weight = model[2].weight.clone()
    world.average_batch_norm(model)
    assert model[2].weight.equal(weight)
    return [model[0].running_mean.tolist(), model[0].running_var.tolist()]


def test_running_statistics_are_averaged(tmp_path: Path) -> None:
    assert on_ranks(2, tmp_path, _averaged) == [[[1.5, 15.0], [6.0, 12.0]]] * 2


@pytest.mark.parametrize("collective", [world.all_sum, world.all_gather])
def test_alone_each_is_the_identity(collective: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert world.size() == 1
    assert collective(torch.tensor([3, 4])).tolist() == [3, 4]
