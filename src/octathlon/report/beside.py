"""What a run has left in the results tree: its log, and what lies beside it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from octathlon.report.results import Entry, Run

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Names that lead nowhere else."""
KINDS = {"log": ".txt", "weights": ".safetensors", "games": ".sgf"}


def files_of(entry: Entry, run: Run, tree: Path) -> dict[str, str]:
    """The files there are, by kind, as paths below `tree`."""
    parts = entry.org, "results", entry.system, entry.benchmark, run.file
    if not all(map(PLAIN.fullmatch, parts)):
        return {}
    paths = {kind: str(PurePosixPath(*parts).with_suffix(suffix)) for kind, suffix in KINDS.items()}
    return {kind: path for kind, path in paths.items() if (tree / path).is_file()}
