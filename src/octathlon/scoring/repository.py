"""Can a submission go into the round's git repository? (mlperf_logging's repo_checker: names, sizes, links)"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from octathlon.scoring.findings import Finding
from octathlon.scoring.text import some

MEBIBYTE = 1 << 20


def check_repository(folder: Path, rules: Mapping[str, Any]) -> Iterator[Finding]:
    """What no repository takes below a folder; `rules`: `repository` of the round, empty if it did not ask."""
    if not rules:
        return
    paths = [
        Path(parent, name)
        for parent, folders, files in os.walk(folder)
        for name in sorted(folders) + sorted(files)
    ]
    limit = rules["largest_mib"]
    faults = {
        "name": ("begin with a dot or have spaces", (path for path in paths if _bad_name(path.name))),
        "size": (f"are larger than {limit} MiB", (path for path in paths if _size(path) > limit * MEBIBYTE)),
        "link": ("are links to nowhere", (path for path in paths if path.is_symlink() and not path.exists())),
    }
    for fault, (words, found) in faults.items():
        if names := [str(path.relative_to(folder)) for path in found]:
            yield Finding(
                "error", f"repository.{fault}", f"{len(names)} files or folders {words}: {some(names)}"
            )


def _bad_name(name: str) -> bool:
    return name.startswith(".") or " " in name


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0
