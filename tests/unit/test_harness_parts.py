"""Ranks, caches, seeds, the clock and the events' refusals."""

from __future__ import annotations

import ctypes
import io
import mmap
import random
import time

import numpy as np
import pytest
import torch

from octathlon.errors import OctathlonError
from octathlon.harness.caches import clear_caches
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.ranks import Rank, choose_device, find_rank, first_host
from octathlon.harness.seeds import seed_alike, seed_rank


def test_rank_comes_from_torchrun_then_srun_else_alone():
    torchrun = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    srun = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert find_rank(torchrun | srun) == Rank(5, 8, 1)
    assert find_rank(srun) == Rank(3, 4, 0)
    assert find_rank({"SLURM_NTASKS": "4"}) == Rank(0, 1, 0)


@pytest.mark.parametrize("rank", ["-1", "8", "9"])
def test_impossible_rank_is_refused(rank):
    with pytest.raises(OctathlonError, match=f"RANK={rank}, WORLD_SIZE=8"):
        find_rank({"RANK": rank, "WORLD_SIZE": "8", "LOCAL_RANK": "0"})


@pytest.mark.parametrize(
    ("nodes", "host"), [("n1", "n1"), ("gpu[07-09,12],login1", "gpu07"), ("a,b", "a"), ("x-y[3]", "x-y3")]
)
def test_first_host_of_a_slurm_node_list(nodes, host):
    assert first_host(nodes) == host


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_missing_gpu_is_one_sentence():
    with pytest.raises(OctathlonError, match="rank 3 wants GPU 1, but 0 are visible"):
        choose_device("cuda", Rank(3, 4, 1))


def test_caches_are_dropped_and_what_stays_is_told(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "shard"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB, all of it in the page cache now
    size = path.stat().st_size
    libc = ctypes.CDLL(None)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(size)) == 0
        assert clear_caches(tmp_path) == size  # locked pages can't be dropped
        libc.munlock(ctypes.c_void_p(start), ctypes.c_size_t(size))
    assert clear_caches(tmp_path) == 0


def test_ranks_share_the_first_seed_and_nothing_later():
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    seed_alike(7)
    alike = draw()
    seed_alike(7)
    assert draw() == alike
    drawn = {}
    for rank in (0, 1):
        seed_rank(7, rank)
        drawn[rank] = draw()
    assert not set(drawn[0]) & set(drawn[1])
    seed_rank(7, 1)
    assert draw() == drawn[1]


def test_a_clock_that_was_not_set_is_refused(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: -126_230_400.0)  # 1966
    with pytest.raises(OctathlonError, match="clock was not set: it counts -126230400 s since 1970"):
        wall_clock()


def test_clock_starts_at_the_time_of_day_and_never_goes_back():
    clock = wall_clock()
    assert abs(clock() - time.time()) < 1
    times = [clock() for _ in range(1000)]
    assert times == sorted(times)


def test_value_that_json_has_not_got_ends_the_run():
    events = Events([io.StringIO()], lambda: 0.0)
    with pytest.raises(ValueError, match="Failed to encode"):
        events.point("seed", object())
