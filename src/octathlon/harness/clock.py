"""The clock of a timed run. Everything timed asks a `Clock` that was handed to it, so tests bring their own."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""


def wall_clock() -> Clock:
    """The time of day as it is now, going on at an even pace.

    A time server that corrects the system's clock during a run changes neither its length nor its order of events.
    """
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset
