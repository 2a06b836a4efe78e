"""Are the seeds of a result's runs as the rules want them? (mlperf_logging's seed_checker, as of 1.1.0)

Every seed is an integer, and no two runs log the same seed on the same line of the same source file. A run
that logs none is only questioned where the source code speaks of seeds; the checker of today refuses it, and
with it every published v1.1 result of dlrm and minigo.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from octathlon.scoring.findings import Finding
from octathlon.scoring.runs import Log
from octathlon.scoring.tree import is_file

SOURCE_SUFFIXES = {
    *(".py", ".cc", ".cpp", ".cxx", ".c", ".h", ".hh", ".hpp", ".hxx"),
    *(".sh", ".sub", ".cu", ".cuh"),
}
MOST_FILES = 10_000
"""Files of source code that are searched for the word."""


def check_seeds(logs: Iterable[Log], code: Path | None) -> Iterator[Finding]:
    """The findings about the seeds of a result; `code`: the folder of the benchmark's source, if known."""
    owners: dict[tuple[Any, ...], Log] = {}
    silent = []
    for log in logs:
        name, seeds = log.path.name, set()
        for line, value, place in log.seeds:
            seed = _integer(value)
            if seed is None:
                yield Finding("error", "seed.value", f"{name}: {value!r:.60} is not an integer", line)
                continue
            owner = owners.setdefault((place, seed), log)
            if owner is not log:
                words = f"{name} has the seed {seed} of {owner.path.name}, from the same line of code"
                yield Finding("error", "seed.unique", words, line)
            seeds.add(seed)
        if len(seeds) > 1:
            yield Finding("warning", "seed.count", f"{name} logs {len(seeds)} different seeds")
        elif not seeds:
            silent.append(name)
    if silent and code is not None and _mentions_seed(code):
        words = f"no seed in {', '.join(silent[:5])}, but the source code speaks of seeds"
        yield Finding("warning", "seed.count", words)


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _mentions_seed(code: Path) -> bool:
    files = (Path(folder, name) for folder, _, names in os.walk(code) for name in names)
    sources = (path for path in files if path.suffix.lower() in SOURCE_SUFFIXES and is_file(path))
    return any(b"seed" in _text(path).lower() for path in islice(sources, MOST_FILES))


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 22)
    except OSError:
        return b""
