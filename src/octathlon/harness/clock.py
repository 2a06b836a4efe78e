"""The clock of a timed run. Everything timed asks a `Clock` that was handed to it, so tests bring their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from octathlon.errors import OctathlonError

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""No run was before; a clock that says so was not set."""


def wall_clock() -> Clock:
    """The time of day as it is now, going on at an even pace.

    A time server that corrects the system's clock during a run changes neither its length nor its order of events.

    Raises:
        OctathlonError: if the system's clock was not set.
    """
    now = time.time()
    if now < EARLIEST.timestamp():
        raise OctathlonError(
            f"the system's clock was not set: it counts {now:.0f} s since 1970; set it, then rerun"
        )
    offset = now - time.monotonic()
    return lambda: time.monotonic() + offset
