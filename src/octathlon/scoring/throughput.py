"""Samples per second: what logs state where it can be right, else samples over time.

Submitters log `throughput` as an event, or in `tracked_stats`, of all accelerators, of one, in tokens, or in games.
So it counts only where it agrees with the samples that the run trained in its time, which is a little less:
evaluations are in that time.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from octathlon.scoring.outcomes import Run

NAMES = (b'"throughput"', b'"imgs_sec"')
LEAST, MOST = 0.8, 4.0
"""What a stated throughput may be of samples over time: clocks differ, and short runs evaluate for most of theirs."""

_VALUE = re.compile(rb'(?:, ?"value")?: ?(\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?)')
"""After the name, which is an event's key or stands in its value."""


def rate_places(block: bytes) -> Iterator[slice]:
    """Where in whole lines of a log events state throughputs; the same in all lines that differ in digits only."""
    for name in NAMES:
        position = block.find(name)
        while position >= 0:
            match = _VALUE.match(block, position + len(name))
            if match and _in_event(block, position):
                yield slice(*match.span(1))
            position = block.find(name, position + len(name))


def rates_at(places: Iterable[slice], block: bytes) -> Iterator[float]:
    """The throughputs above 0 that stand there, in whatever unit."""
    for place in places:
        if (rate := float(block[place])) > 0:
            yield rate


def _in_event(block: bytes, position: int) -> bool:
    line = block.rfind(b"\n", 0, position) + 1
    return block.rfind(b":::MLL", line, position) >= 0


def samples_per_second(
    runs: Sequence[Run], samples: Sequence[float | None], accelerators: int | None
) -> float | None:
    """The median of converged runs.

    Args:
        runs: the converged runs.
        samples: how many samples each of them trained; None: not known.
        accelerators: how many there were; None or 0: not known, or none.
    """
    rates = [
        _rate(run, trained, accelerators or 1) for run, trained in zip(runs, samples, strict=True) if trained
    ]
    return statistics.median(rates) if rates else None


def _rate(run: Run, trained: float, accelerators: int) -> float:
    over_time = trained / (run.minutes * 60)
    stated = statistics.median(run.log.rates) if run.log.rates else math.nan
    rates = (rate for rate in (stated, stated * accelerators) if LEAST <= rate / over_time <= MOST)
    return next(rates, over_time)
