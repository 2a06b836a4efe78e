"""Which round a tree of logs is of: told from its name, its benchmarks, and the format and dates of its logs.

A round's tree holds logs that were submitted to earlier rounds already, but none of later ones. So the newest
results tell the round, among those that have all the benchmarks of the tree; where others stay possible, it is
a guess, which is stated with its reason. Logs that no known round can hold are of none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median_low

from octathlon.errors import OctathlonError
from octathlon.scoring.lines import line_bounds
from octathlon.scoring.logs import Event, parse_line, read_blocks
from octathlon.scoring.rules import OURS, Round, all_rounds, load_round
from octathlon.scoring.runs import map_logs
from octathlon.scoring.tree import Folder

HEAD = 1 << 16
"""Bytes read at once until a log's run_start is found."""
OLDEST = 1.5e12
"""Milliseconds since the Unix epoch, in 2017: a clock that says less was not set."""

_REPOSITORY = re.compile(r"(?P<series>training|hpc)_results_v(?P<version>\d+\.\d+)(?!\d)")
_NAME = re.compile(r"(?P<series>hpc|)[-_]?v(?P<version>\d+\.\d+)(?!\d)")


@dataclass(frozen=True, slots=True)
class Told:
    """A round, or why it is none."""

    rules: Round
    guess: str = ""
    """On what grounds, where others are possible too; or why there is none."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a log, as far as it tells the round."""

    marker: str = ""
    start_ms: float = 0.0
    ours: bool = False
    """Whether Octathlon wrote it."""


NO_ROUND = Round(
    name="",
    published=date.min,
    ruleset="",
    markers=(),
    since=0.0,
    until=0.0,
    init_limits={},
    check_decides=False,
    scaled=False,
    tasks={},
    aliases={},
    repository={},
    waived={},
    contested={},
)


def rounds_of(folders: Iterable[Folder]) -> dict[Path, Told]:
    """The round of each tree, by its root."""
    trees: dict[Path, list[Folder]] = {}
    for folder in folders:
        trees.setdefault(folder.root, []).append(folder)
    return {root: tell_round(root, tree) for root, tree in trees.items()}


def tell_round(root: Path, folders: Sequence[Folder]) -> Told:
    """The round of one tree."""
    begun = map_logs(beginning, [path for folder in folders for path in folder.logs])
    logs = {folder.path: [begun[path] for path in folder.logs] for folder in folders}
    started = [each for begun in logs.values() for each in begun if each.marker]
    if started and sum(each.ours for each in started) * 2 > len(started):
        return Told(load_round(OURS), "logged by Octathlon, which reproduces it")
    markers = Counter(each.marker for each in started)
    newest = max((_date(begun) for begun in logs.values()), default=0.0)
    named = _named(root)
    if named and named not in {each.name for each in all_rounds()}:
        return Told(NO_ROUND, f"the folder is called {named}, whose rules are not known here")
    fitting = _with_benchmarks(folders, max(markers, key=markers.get) if markers else "", newest)
    if not fitting:
        return Told(
            NO_ROUND, f"logs of {_month(newest)} are of no round known here that has these benchmarks"
        )
    if named and (mine := [each for each in fitting if each.name == named]):
        return Told(mine[0])
    if newest < OLDEST:
        return _guess(fitting[::-1], "no log has a date")
    return _guess(fitting, f"the newest logs are of {_month(newest)}")


def _guess(fitting: Sequence[Round], grounds: str) -> Told:
    """The first of those that are possible."""
    if len(fitting) == 1:
        return Told(fitting[0])
    others = ", ".join(each.name for each in fitting[1:])
    return Told(fitting[0], f"{grounds}; by the benchmarks alone, {others} would do as well")


def beginning(path: Path) -> Beginning:
    """The format of a log, its first run_start, and whether it is one of ours. Never raises."""
    ours = False
    try:
        for _, block in read_blocks(path, lambda _bad: None, HEAD):
            event, before = _run_start(block)
            ours = ours or b'"quality_target"' in before
            if event is not None:
                return Beginning(event.marker, event.time_ms, ours)
    except OctathlonError:
        pass  # the reading for scoring says so
    return Beginning()


def _run_start(block: bytes) -> tuple[Event | None, bytes]:
    """The first run_start in whole lines, if any, and what stands before it."""
    position = -1
    while (position := block.find(b"run_start", position + 1)) >= 0:
        start, end = line_bounds(block, position)
        event = parse_line(block[start:end], 0)
        if event is not None and event.key == "run_start":
            return event, block[:start]
        position = end
    return None, block


def _with_benchmarks(folders: Iterable[Folder], marker: str, newest: float) -> list[Round]:
    """The rounds with logs of that format, if any, which have most of the benchmarks that folders are called by."""
    formats = (each for each in all_rounds() if not marker or marker in each.markers)
    known = [each for each in formats if newest < each.until]
    names = {(folder.path.name, folder.mode) for folder in folders}
    counts = [sum(_has(each, name, mode) for name, mode in names) for each in known]
    return [each for each, count in zip(known, counts, strict=True) if count == max(counts)]


def _has(rules: Round, name: str, mode: str) -> bool:
    return rules.task(name) is not None and (not mode or rules.series == "hpc")


def _named(root: Path) -> str:
    """The round that the tree's folder is called by: mlcommons' repositories, or plainly v4.0 or hpc-v1.0."""
    repositories = (_REPOSITORY.match(path.name) for path in (root, *root.parents))
    found = next((match for match in repositories if match), None) or _NAME.match(root.name)
    if not found:
        return ""
    return f"hpc-v{found['version']}" if found["series"] == "hpc" else f"v{found['version']}"


def _date(begun: Sequence[Beginning]) -> float:
    """When a folder's runs were: the median, as single clocks may be wrong."""
    times = [each.start_ms for each in begun if each.marker]
    return median_low(times) if times else 0.0


def _month(time_ms: float) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m}"
