"""Ours beside a peer's: CPU seconds of one thread, taken in turns, so that other load meets both; a row of a table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

import torch

from octathlon.scoring import describe

HEADER = "| work | unit | ours | peer | its figure | ratio |\n| --- | --- | ---: | --- | ---: | ---: |"
ROUNDS = 3


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, the system's included."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(
    what: str,
    unit: str,
    count: float,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    note: str,
    other_count: float | None = None,
) -> None:
    """Print what both do in a CPU second, and under it what is not the same work.

    Args:
        count: of units, in one call of either.
        other_count: of the peer's units, where they are not as many.
    """
    times = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS + 1)][1:]  # the first round warms up
    own, other = (statistics.median(each) for each in zip(*times, strict=True))
    show(what, unit, count / own, peer, (other_count or count) / other, note)


def show(what: str, unit: str, own: float, peer: str, other: float, note: str) -> None:
    """A row of the table, and its note."""
    print(f"| {what} | {unit} | {figure(own)} | {peer} | {figure(other)} | {own / other:.2f} |")
    print(f"* {what}, {peer}: {note}", flush=True)


def conditions(rounds: int) -> str:
    """What was measured on, with what and when."""
    processor, day = describe.host()["host_processor_model_name"], datetime.now(UTC).date()
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    taken = f"medians of {rounds} rounds" if rounds > 1 else "one round"
    return f"{processor}, one thread, {versions}, {day}; {taken}."


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
