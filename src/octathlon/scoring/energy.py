"""The energy of a result whose folder holds the logs of power meters: `power/<log>/node_<n>.txt`, `sw_<n>.txt`.

After training_policies, power_measurement.adoc, "Scoring": each node's mean power over the measurement, times the
efficiency of its conversion, holds for the run; a switch has an estimate in place of a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.scoring.logs import Event, read_events
from octathlon.scoring.olympic import Score
from octathlon.scoring.outcomes import MILLISECONDS, Run
from octathlon.scoring.runs import LARGEST
from octathlon.scoring.tree import is_folder

READING = "power_reading"
START, STOP = "power_measurement_start", "power_measurement_stop"
EFFICIENCY, ESTIMATE = "conversion_eff", "interconnect_power_est"
KEYS = (START, READING, STOP, EFFICIENCY, ESTIMATE)


def joules_of(score: Score, runs: Sequence[Run]) -> float | None:
    """Mean energy of the runs that the score keeps; None: not measured, or not of all of them."""
    if score.minutes is None or not is_folder(runs[0].log.path.parent / "power"):
        return None
    energies = [_of_run(runs[index]) for index in score.kept]
    return None if None in energies else math.fsum(energies) / len(energies)


def _of_run(run: Run) -> float | None:
    """Joules of one run: watts of all nodes and switches times its seconds."""
    folder = run.log.path.parent / "power" / run.log.path.stem
    if not is_folder(folder):
        return None
    watts = [
        *map(_measured, sorted(folder.glob("node_*.txt"))),
        *map(_estimated, sorted(folder.glob("sw_*.txt"))),
    ]
    known = bool(watts) and None not in watts
    return math.fsum(watts) * run.minutes * MILLISECONDS / 1000 if known else None


def _measured(path: Path) -> float | None:
    """Mean watts of a node: each reading holds since the one before it, or since the start."""
    events = _events(path)
    start = next((event for event in events if event.key == START), None)
    if start is None:
        return None
    later = events[events.index(start) :]
    stop = next((event for event in later if event.key == STOP and event.time_ms > start.time_ms), None)
    measured = later if stop is None else later[: later.index(stop)]
    readings = [event for event in measured if event.key == READING]
    if not readings:
        return None
    times = [start.time_ms, *(event.time_ms for event in readings)]
    total = math.fsum(
        event.value * (until - since) for event, (since, until) in zip(readings, pairwise(times), strict=True)
    )
    span = (stop.time_ms if stop else times[-1]) - start.time_ms  # v4.0: the stop repeats the start's time
    return _last(events, EFFICIENCY, 1.0) * total / span if span > 0 else None


def _estimated(path: Path) -> float | None:
    """Watts of a switch."""
    events = _events(path)
    watts = _last(events, ESTIMATE, None)
    return None if watts is None else _last(events, EFFICIENCY, 1.0) * watts


def _events(path: Path) -> list[Event]:
    """In order of time; those that should have a number and have none are left out."""
    try:
        found = [
            event for event in read_events(path, KEYS) if event.key in (START, STOP) or _is_number(event)
        ]
    except OctathlonError:
        return []
    return sorted(found, key=lambda event: event.time_ms)


def _is_number(event: Event) -> bool:
    return type(event.value) in (int, float) and abs(event.value) < LARGEST


def _last(events: Sequence[Event], key: str, default: float | None) -> float | None:
    return next((event.value for event in reversed(events) if event.key == key), default)
