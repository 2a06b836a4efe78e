"""Signs of life between ranks.

A collective waits for a stopped or hung rank for many minutes or for ever. Here a thread of each rank counts in the
store that the ranks met in, so that what a rank is busy with delays no sign.

The first rank looks at all others, and these look at the first one, which keeps the work of any number of ranks small.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Thread

import torch.distributed as dist

from octathlon.nn.processes import LOOK_S, SILENT_LOOKS, Silence

LEFT = b"left"


def announce(store: dist.Store, rank: int) -> None:
    """Give the first sign: all ranks must have done so before one of them calls `watched`."""
    store.multi_set(
        [f"sign/{rank}", f"process/{rank}"], ["0", f"process {os.getpid()} on {socket.gethostname()}"]
    )


@contextmanager
def watched(store: dist.Store, rank: int, world: int, give_up: Callable[[str], None]) -> Iterator[None]:
    """Give signs of life and look for the others' as long as the block goes on.

    Args:
        store: used by nobody else at the same time.
        give_up: called in a thread, with a sentence, when a rank is silent.
    """
    heartbeat = _Heartbeat(store, rank, list(range(1, world)) if rank == 0 else [0], give_up)
    try:
        yield
        heartbeat.leave()
    finally:
        heartbeat.end()


class _Heartbeat:
    """Two threads: a store whose host is stopped lets the first one wait, which the second one notices."""

    def __init__(
        self, store: dist.Store, rank: int, others: list[int], give_up: Callable[[str], None]
    ) -> None:
        self._store, self._rank, self._give_up = store, rank, give_up
        self._names = dict(
            zip(others, store.multi_get([f"process/{other}" for other in others]), strict=True)
        )
        self._signs: dict[int, bytes] = dict.fromkeys(others, b"")
        self._left, self._ended = Event(), Event()
        self._threads = [Thread(target=work, daemon=True) for work in (self._exchange, self._look)]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        """Tell the others that no more signs will come."""
        self._left.set()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * LOOK_S)

    def _exchange(self) -> None:
        keys = [f"sign/{other}" for other in self._signs]
        with suppress(dist.DistError):  # without the store there are no more signs
            for number in count(1):
                self._store.set(f"sign/{self._rank}", str(number))
                self._signs = dict(zip(self._signs, self._store.multi_get(keys), strict=True))
                if self._ended.wait(LOOK_S):
                    break
            if self._left.is_set():
                self._store.set(f"sign/{self._rank}", LEFT)

    def _look(self) -> None:
        silence = Silence()
        while not self._ended.wait(LOOK_S):
            silent = silence.look({other: sign for other, sign in self._signs.items() if sign != LEFT})
            if silent:
                names = ", ".join(f"rank {other} ({self._names[other].decode()})" for other in silent)
                self._give_up(
                    f"{names}: no sign of life for {SILENT_LOOKS * LOOK_S:.0f} s: see whether the process was stopped "
                    "or its machine hangs, then rerun"
                )
