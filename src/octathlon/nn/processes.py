"""Processes that work for a run: none outlives the one that started it, and none that falls silent is waited for."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread

LOOK_S = 1.0
"""Seconds between two looks for signs of life."""
SILENT_LOOKS = 30
"""Looks in a row without a sign of life, after which a process counts as silent. A thread gives the signs, whatever the
process is busy with, so that no evaluation is long enough to be taken for silence."""

ENDING = (signal.SIGTERM, signal.SIGUSR1)
"""Signals by which schedulers and launchers say that a process's time ends."""

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def heeding_parents() -> Iterator[None]:
    """A block that starts processes which call `Signs.begin`: all of their threads are born with ENDING blocked.

    A signal goes to any thread that does not block it, and a library may have one before `begin` is called: there the
    parent's would be lost, which then waited for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_children() -> None:
    """Kill all processes that multiprocessing started here. Stopped ones would be waited for at this one's end."""
    if children := multiprocessing.active_children():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise for workers killed now
    for child in children:
        child.kill()


class Silence:
    """Tells which of several processes gave no sign of life at SILENT_LOOKS looks in a row.

    Counting looks and not seconds, it blames nobody where all of a job stood still together (a suspended machine).
    """

    def __init__(self) -> None:
        self._last: dict[Hashable, object] = {}
        self._looks: dict[Hashable, int] = {}

    def look(self, signs: Mapping[Hashable, object]) -> list[Hashable]:
        """The silent ones among the keys of `signs`, whose values change as long as a process lives."""
        for key, sign in signs.items():
            changed = key not in self._last or sign != self._last[key]
            self._looks[key] = 0 if changed else self._looks[key] + 1
            self._last[key] = sign
        return [key for key in signs if self._looks[key] >= SILENT_LOOKS]


class Signs:
    """Signs of life of child processes, each given by a thread of its own. A child that gives none is killed: whoever
    waits for it is then told of its death."""

    def __init__(self, children: int, context: BaseContext) -> None:
        """`context`: of multiprocessing, by which the children are started."""
        self._claimed = context.Value("i", 0)
        self._signs = context.Array(
            "Q", 2 * children, lock=False
        )  # of each child the process and its signs so far

    def begin(self) -> None:
        """To be called in each child, started by `heeding_parents`: give signs from now on, and end with the parent.

        Schedulers tell all processes of a job that its time ends, but only the parent knows what is still needed:
        SIGTERM counts if it is from there.
        """
        end_with_parent()
        with self._claimed.get_lock():
            number = self._claimed.value
            self._claimed.value += 1
        self._signs[2 * number] = os.getpid()
        Thread(target=self._give, args=(2 * number + 1,), daemon=True).start()

    def watch(self) -> None:
        """To be called in the parent: a thread looks after the children until the last one is gone."""
        Thread(target=self._watch, daemon=True).start()

    def _give(self, place: int) -> None:
        while True:
            self._signs[place] += 1
            told = signal.sigtimedwait(ENDING, LOOK_S / 2)
            if told and told.si_signo == signal.SIGTERM and told.si_pid == os.getppid():
                os._exit(0)

    def _watch(self) -> None:
        silence = Silence()
        started = False
        while True:
            time.sleep(LOOK_S)
            signs = dict(zip(self._signs[::2], self._signs[1::2], strict=True))
            children = {process: sign for process, sign in signs.items() if _is_child(process)}
            if started and not children:
                return
            started = bool(children)
            for process in silence.look(children):
                _silent.add(process)
                os.kill(process, signal.SIGKILL)


_silent: set[int] = set()
"""Processes that were killed for their silence."""


def _is_child(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return int(status.rpartition(")")[2].split()[1]) == os.getpid()


def silence_of(process: int) -> str | None:
    """What there is to say of a process that was killed for its silence; None of others."""
    if process not in _silent:
        return None
    return f"was killed, as it gave no sign of life for {SILENT_LOOKS * LOOK_S:.0f} s"


def ending(code: int) -> str:
    """How a process with this exit code ended, in words; negative codes are signals, as subprocess says it."""
    if code >= 0:
        return f"ended with exit code {code}"
    known = -code in signal.Signals.__members__.values()
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
