"""Processes that work for a run: none outlives the one that started it, and none that falls silent is waited for."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Hashable, Mapping

LOOK_S = 1.0
"""Seconds between two looks for signs of life."""
SILENT_LOOKS = 30
"""Looks in a row without a sign of life, after which a process counts as silent. A thread gives the signs, whatever the
process is busy with, so that no evaluation is long enough to be taken for silence."""

PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_children() -> None:
    """Kill all processes that multiprocessing started here. Stopped ones would be waited for at this one's end."""
    if children := multiprocessing.active_children():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise for workers killed now
    for child in children:
        child.kill()


def ending(code: int) -> str:
    """How a process with this exit code ended, in words; negative codes are signals, as subprocess says it."""
    if code >= 0:
        return f"ended with exit code {code}"
    known = -code in signal.Signals.__members__.values()
    return f"was killed by {signal.Signals(-code).name if known else f'signal {-code}'}"


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
