"""What logs say of their runs, in the words of all formats alike; `outcomes` judges it."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from octathlon.errors import OctathlonError
from octathlon.scoring.logs import UNSTATED, BadLine, Event, Search, read_blocks
from octathlon.scoring.rules import BOUNDS, Bounds, Quality
from octathlon.scoring.throughput import rate_places, rates_at

Result = TypeVar("Result")

LARGEST = 1e100
"""No quality, epoch, seed or size is larger; sums of such numbers stay finite."""
MOST_SEEDS = 10_000
"""Seed events kept of one log."""
MOST_EVALUATIONS = 20_000
"""Evaluations kept of one log, so that memory does not grow with it (the published logs have at most 600)."""
PARALLEL_FROM = 32 << 20
"""Bytes of logs from which on starting processes pays."""


class Evaluation(NamedTuple):
    """One `eval_accuracy`."""

    time_ms: float
    epoch: float | None
    """Its `epoch_num`; samples for bert."""
    quality: Quality | float
    metric: str = ""
    """What `quality` is, where the event says so."""
    samples: float | None = None
    """Its `samples_count`."""
    step: float | None = None
    """Its `step_num`."""


class Seed(NamedTuple):
    """One `seed`."""

    line: int
    """Of the log."""
    value: Any
    place: tuple[str, str]
    """File and line of the source code that logged it."""


@dataclass(slots=True)
class Log:
    """What one log says, before any round's rules are applied."""

    path: Path
    marker: str = ""
    """What its lines begin with, which tells the format."""
    starts: int = 0
    stops: int = 0
    start_ms: float = math.inf
    """The earliest run_start: the clock starts before any part of the system touches the data."""
    stop_ms: float = math.inf
    """The earliest run_stop: the clock may stop when any part knows that the target is met."""
    statuses: list[str] = field(default_factory=list)
    """The different status words of run_stop; none in formats that have none."""
    restarted: bool = False
    """Whether a run begins after another one has stopped."""
    resumed: bool = False
    """Whether it was interrupted and went on from a checkpoint, as ours say."""
    init_start_ms: float = math.inf
    init_stop_ms: float = -math.inf
    evaluations: list[Evaluation] = field(default_factory=list)
    errors: list[Evaluation] = field(default_factory=list)
    """The same of `eval_error`."""
    all_evaluations: bool = True
    """False if there were more than are kept."""
    checkpoints: list[tuple[Any, float]] = field(default_factory=list)
    """MiniGo's passing models: iteration, and seconds since run_start."""
    identity: dict[str, str] = field(default_factory=dict)
    """The submission_* values, first occurrence, without the prefix."""
    numbers: dict[str, float] = field(default_factory=dict)
    """global_batch_size, seed, train_samples and eval_samples, first occurrence."""
    seeds: list[Seed] = field(default_factory=list)
    target: Mapping[str, Bounds] = field(default_factory=dict)
    """The run's own target, metric -> bounds, where it logs one (`quality_target`: ours do)."""
    rates: array[float] = field(default_factory=partial(array, "d"))
    """What its events call throughput, in whatever unit; see `throughput`."""
    bad_lines: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    """Keys of events that stand in a line but cannot be read -> the first such line."""
    unreadable: str = ""
    """Why the file could not be read."""


class Recorder:
    """Takes what scoring needs out of the blocks, or the events, of a log."""

    def __init__(self, path: Path) -> None:
        self.log = Log(path)
        self._search = Search(KEYS, self.report, once=_FIRST)
        self.wanted = self._search.wanted
        """The keys of which the next event matters."""

    def report(self, bad: BadLine) -> None:
        """Take a line that is not quite an event."""
        if bad.key:
            self.log.lost.setdefault(bad.key, bad.line)
        else:
            self.log.bad_lines += 1

    def search(self, block: bytes, line: int) -> None:
        """Take whole lines, of which the first is number `line`."""
        for event in self._search.events(block, line):
            _HANDLERS[event.key](self.log, event)

    def measure(self, block: bytes, places: Sequence[slice] | None = None) -> None:
        """Take the throughputs that whole lines state, where it is known in which places."""
        if len(self.log.rates) < MOST_EVALUATIONS:
            self.log.rates.extend(rates_at(rate_places(block) if places is None else places, block))

    def see(self, event: Event) -> None:
        """Take an event that was found in a plain line."""
        if self._search.takes(event.key):
            _HANDLERS[event.key](self.log, event)


def read_log(path: Path) -> Log:
    """Read what scoring needs of a log. Never raises: a file that cannot be read says so in `unreadable`."""
    recorder = Recorder(path)
    try:
        for line, block in read_blocks(path, recorder.report):
            recorder.search(block, line)
            recorder.measure(block)
    except OctathlonError as error:
        recorder.log.unreadable = str(error)
    return recorder.log


def read_logs(paths: Sequence[Path], processes: int | None = None) -> dict[Path, Log]:
    """Read many logs."""
    return map_logs(read_log, paths, processes=processes)


def map_logs(
    function: Callable[..., Result],
    paths: Sequence[Path],
    *arguments: Sequence[Any],
    processes: int | None = None,
) -> dict[Path, Result]:
    """A function's result for each log, in several processes where that pays; it does not depend on how many.

    Args:
        function: takes a path and one item of each of `arguments`.
        processes: how many; default: as many as there are cores, 1 for few logs.
    """
    sizes = [_size(path) for path in paths]
    cores = len(os.sched_getaffinity(0)) if sum(sizes) >= PARALLEL_FROM else 1
    processes = min(processes or cores, len(paths))
    jobs = list(zip(paths, *arguments, strict=True))
    if processes < 2:
        return {job[0]: function(*job) for job in jobs}
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    largest_first = [job for _, job in sorted(zip(sizes, jobs, strict=True), key=lambda pair: -pair[0])]
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        results = pool.map(function, *zip(*largest_first, strict=True), chunksize=8)
        found = {job[0]: result for job, result in zip(largest_first, results, strict=True)}
    return {path: found[path] for path in paths}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _on_start(log: Log, event: Event) -> None:
    log.marker = log.marker or event.marker
    log.starts += 1
    log.restarted |= event.time_ms >= log.stop_ms
    log.start_ms = min(log.start_ms, event.time_ms)


def _on_stop(log: Log, event: Event) -> None:
    log.stops += 1
    log.stop_ms = min(log.stop_ms, event.time_ms)
    status = event.metadata.get("status")
    if status is not UNSTATED and str(status)[:40] not in log.statuses and len(log.statuses) < 3:
        log.statuses.append(str(status)[:40])


def _on_resumed(log: Log, _event: Event) -> None:
    log.resumed = True


def _on_init_start(log: Log, event: Event) -> None:
    log.init_start_ms = min(log.init_start_ms, event.time_ms)


def _on_init_stop(log: Log, event: Event) -> None:
    if event.time_ms < log.stop_ms:  # else that of another run
        log.init_stop_ms = max(log.init_stop_ms, event.time_ms)


def _on_evaluation(log: Log, event: Event) -> None:
    about = event.metadata
    kept = log.errors if event.key == "eval_error" else log.evaluations
    if len(kept) == MOST_EVALUATIONS:
        log.all_evaluations = False
    elif (quality := _quality(event.value)) is not None:
        metric = str(about["metric"])[:40] if "metric" in about else ""
        epoch, samples, step = (
            _number(about.get(name)) for name in ("epoch_num", "samples_count", "step_num")
        )
        kept.append(Evaluation(event.time_ms, epoch, quality, metric, samples, step))


def _on_checkpoint(log: Log, event: Event) -> None:
    seconds = _number(event.metadata.get("timestamp"))
    if seconds is not None and len(log.checkpoints) < MOST_EVALUATIONS:
        log.checkpoints.append((event.metadata.get("iteration"), seconds))


def _on_identity(log: Log, event: Event) -> None:
    if isinstance(event.value, str):
        log.identity.setdefault(event.key.removeprefix("submission_"), event.value[:200])


def _on_number(log: Log, event: Event) -> None:
    number = _number(event.value)
    if number is not None:
        log.numbers.setdefault(event.key, number)


def _on_seed(log: Log, event: Event) -> None:
    _on_number(log, event)
    if len(log.seeds) < MOST_SEEDS:
        place = str(event.metadata.get("file"))[:200], str(event.metadata.get("lineno"))[:40]
        log.seeds.append(Seed(event.line, event.value, place))


def _on_target(log: Log, event: Event) -> None:
    if isinstance(event.value, dict) and not log.target:
        bounds = {str(metric)[:40]: _bounds(fields) for metric, fields in list(event.value.items())[:8]}
        log.target = {metric: each for metric, each in bounds.items() if each is not None}


def _bounds(fields: Any) -> Bounds | None:
    """Bounds as rounds/*.yaml has them; None if one is not known or not a number."""
    numbers = {name: _number(value) for name, value in fields.items()} if isinstance(fields, dict) else {}
    known = numbers.keys() <= set(BOUNDS) and None not in numbers.values()
    return Bounds(**numbers) if numbers and known else None


_IDENTITY = tuple(f"submission_{name}" for name in ("org", "platform", "division", "status", "benchmark"))
_NUMBERS = ("global_batch_size", "train_samples", "eval_samples")
_FIRST = ("init_start", "quality_target", *_IDENTITY, *_NUMBERS)
"""Of these, the first event counts."""
_HANDLERS: dict[str, Callable[[Log, Event], None]] = {
    "run_start": _on_start,
    "run_stop": _on_stop,
    "resumed": _on_resumed,
    "init_start": _on_init_start,
    "init_stop": _on_init_stop,
    "eval_accuracy": _on_evaluation,
    "eval_error": _on_evaluation,
    "eval_result": _on_checkpoint,
    "quality_target": _on_target,
    "seed": _on_seed,
    **dict.fromkeys(_IDENTITY, _on_identity),
    **dict.fromkeys(_NUMBERS, _on_number),
}

KEYS = frozenset(_HANDLERS)
"""What a recorder takes."""


def _number(value: Any) -> float | None:
    """A finite number of sensible size, or one in a string, as some submitters logged them."""
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if type(value) in (int, float) and abs(value) < LARGEST else None


def _quality(value: Any) -> Quality | float | None:
    """An evaluation's value: a number, an object of them, or a list (v0.6: box and mask of maskrcnn, in this
    order)."""
    if isinstance(value, list):
        value = dict(zip(("BBOX", "SEGM"), value, strict=False)) if len(value) == 2 else None
    if isinstance(value, dict) and value.keys() == {"accuracy"}:
        value = value["accuracy"]
    if isinstance(value, dict):
        numbers = {str(name)[:40]: _number(number) for name, number in list(value.items())[:8]}
        return {name: number for name, number in numbers.items() if number is not None} or None
    return _number(value)
