"""Ranks, loader workers and self-play processes that die, stop or hang: real ones, with a short patience."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest
import torch

from octathlon.benchmarks.minigo.players import _Pool
from octathlon.errors import OctathlonError
from octathlon.nn import processes, shared_memory

IMPATIENT = "from octathlon.nn import processes; processes.LOOK_S, processes.SILENT_LOOKS = 0.2, 10\n"
RANKS = (
    IMPATIENT
    + """
import os, time, torch
from octathlon.errors import OctathlonError
from octathlon.harness.ranks import find_rank, joined
from octathlon.nn.world import all_sum

rank = find_rank(os.environ)
try:
    with joined(rank, torch.device("cpu")):
        deadline = time.monotonic() + 1.5 * processes.LOOK_S * processes.SILENT_LOOKS * rank.rank
        while time.monotonic() < deadline:  # busy for longer than a rank may be silent
            pass
        all_sum(torch.ones(1))
        os.write(1, f"{rank.rank} {os.getpid()}\\n".encode())  # print's pieces would mix with the other rank's
        while True:
            all_sum(torch.ones(1))
except OctathlonError as error:
    raise SystemExit(f"octathlon: {error}") from None
"""
)
LOADING = (
    IMPATIENT
    + """
import os, signal, sys, threading, torch
from octathlon.nn import loading

loading.TIMEOUT_S = 3
fault = sys.argv[1]

class Faulty(torch.utils.data.Dataset):
    def __getitem__(self, key):
        if key == 3:
            threading.Event().wait() if fault == "HANG" else os.kill(os.getpid(), signal.Signals[fault])
        return torch.full((1000,), key)

with loading.worker_failures():
    for batch in loading.load(Faulty(), range(9), workers=2, pin_memory=False):
        print(batch[0].item(), flush=True)
"""
)
SHARED = """
import subprocess, sys, torch
from octathlon.errors import OctathlonError
from octathlon.nn import shared_memory
from octathlon.nn.loading import check_room, load

def refused(work):
    try:
        work()
    except OctathlonError as error:
        print(error)

class Large(torch.utils.data.Dataset):
    def __getitem__(self, key):
        return torch.zeros(3 << 20)

class Filled(torch.utils.data.Dataset):
    def __getitem__(self, rows):
        made = shared_memory.empty((rows, 3), torch.int16)
        return made.is_shared(), shared_memory.tensor_bytes(made), made.fill_(7)

check_room(torch.zeros(1 << 18), 1, 1)
refused(lambda: check_room(torch.zeros(1 << 18), 1, 3))
refused(lambda: list(load(Large(), range(2), workers=1, pin_memory=False)))
shared, left, filled = next(iter(load(Filled(), [2], workers=1, pin_memory=False)))
print(shared, left, filled.tolist())
refused(lambda: list(load(Filled(), [2 << 20], workers=1, pin_memory=False)))
subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", "/dev/shm"], check=True)
refused(lambda: check_room(torch.zeros(1), 1, 1))
"""
IN_OWN_MOUNTS = ["unshare", "--mount"]
SMALL = 'mount -t tmpfs -o size=6m tmpfs /dev/shm && "$@"'


def gone(process: int) -> bool:
    """Whether a process has ended, if nobody has asked for its exit code yet."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


class Started(NamedTuple):
    launcher: subprocess.Popen[str]
    ranks: dict[int, int]
    """The processes of the ranks."""


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[Started]:
    """Two ranks that sum without end."""
    programs = Path(sys.executable).parent
    own = [programs / "octathlon", "launch", "--ranks", "2"]
    torchrun = [programs / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"]
    command = [*(torchrun if request.param == "torchrun" else own), sys.executable, "-c", RANKS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as launcher:
        try:
            lines = [launcher.stdout.readline() for _ in range(2)]
            yield Started(launcher, dict(tuple(map(int, line.split())) for line in lines))
        finally:
            launcher.kill()


@pytest.mark.parametrize("started", ["own"], indirect=True)
@pytest.mark.parametrize(
    ("rank", "fault", "told"),
    [
        (1, signal.SIGKILL, r"rank 1 \(process {}\) was killed by SIGKILL: see whether memory ran out .*"),
        (0, signal.SIGSTOP, r"rank 0 \(process {} on .*\): no sign of life for 2 s: see whether .*"),
    ],
)
def test_a_dead_or_silent_rank_ends_all(started: Started, rank: int, fault: int, told: str) -> None:
    os.kill(started.ranks[rank], fault)
    _, errors = started.launcher.communicate(timeout=60)
    assert started.launcher.returncode == 1
    assert re.search(f"^octathlon: {told.format(started.ranks[rank])}$", errors, re.MULTILINE), errors
    assert "Traceback" not in errors
    assert all(map(gone, started.ranks.values()))


@pytest.mark.parametrize("started", ["torchrun"], indirect=True)
def test_ranks_end_with_their_launcher(started: Started) -> None:
    started.launcher.kill()
    deadline = time.monotonic() + 60
    while not all(map(gone, started.ranks.values())):
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("SIGSTOP", r"the loader's worker process \d+ was killed, as it gave no sign of life for 2 s: .*"),
        ("HANG", r"the loader's workers have sent no batch for 3 s: .*"),
    ],
)
def test_a_dead_or_silent_worker_ends_the_run(fault: str, told: str) -> None:
    command = [sys.executable, "-c", LOADING, fault]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.split() == ["0", "1", "2"]
    assert re.fullmatch(f"octathlon.errors.OctathlonError: {told}", done.stderr.splitlines()[-1]), done.stderr
    assert done.stderr.count("Traceback") == 1  # this script's own


def test_too_little_shared_memory_is_told_with_what_to_set() -> None:
    if os.geteuid() or subprocess.run([*IN_OWN_MOUNTS, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    command = [*IN_OWN_MOUNTS, "sh", "-c", SMALL, "sh", sys.executable, "-c", SHARED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    before, during, filled, filling, missing = done.stdout.splitlines()
    assert (
        "/dev/shm: 6 MiB are free, but batches of up to 1 MiB, by 1 loader_workers for each of 3 ranks"
        in before
    )
    assert "need 9 MiB: give it more (containers: --shm-size" in before
    for refusal in (during, filling):
        assert "MiB are free, but the loader's batches need 12 MiB: give it more" in refusal
    assert filled == f"True 0 {[[7] * 3] * 2}"
    assert "/dev/shm: not there, or read-only, but batches" in missing


def test_what_goes_through_shared_memory_is_counted_once_wherever_it_is() -> None:
    tensor = torch.zeros(10)
    batch = {"a": [tensor, (tensor[:3],)], "b": torch.zeros(1).expand(1000), "c": "text"}
    assert shared_memory.tensor_bytes(batch) == 10 * 4 + 4


def _end_by(number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_silent_self_play_process_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "SILENT_LOOKS", 2)
    told = r"self-play process \d+ was killed, as it gave no sign of life for 2 s: .*"
    with pytest.raises(OctathlonError, match=f"^{told}$"):
        _Pool(2).map(_end_by, [0, signal.SIGSTOP])


def _busy(signs: processes.Signs, ready: Barrier) -> None:
    Thread(target=Event().wait, daemon=True).start()  # as a library's that was there first
    signs.begin()
    ready.wait()
    Event().wait()


def test_children_end_when_their_parent_says_so_whatever_threads_they_have() -> None:
    """Without `heeding_parents` half of them would let the signal pass."""
    fork = multiprocessing.get_context("fork")
    signs, ready = processes.Signs(8, fork), fork.Barrier(9)
    children = [fork.Process(target=_busy, args=(signs, ready), daemon=True) for _ in range(8)]
    with processes.heeding_parents():
        for child in children:
            child.start()
    ready.wait()
    for child in children:
        child.terminate()
    for child in children:
        child.join(20)
    codes = [child.exitcode for child in children]
    for child in children:
        child.kill()
    assert codes == [0] * 8
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(processes.ENDING)


def test_how_a_process_ended_is_told_in_words() -> None:
    codes = [3, -signal.SIGBUS, -signal.SIGRTMAX - 1]
    assert list(map(processes.ending, codes)) == [
        "ended with exit code 3",
        "was killed by SIGBUS",
        "was killed by signal 65",
    ]
