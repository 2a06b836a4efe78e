"""Where the logs are: benchmark folders of a results tree, of any part of one, or single logs.

Since v0.6 a tree is `ORG/results/SYSTEM/BENCHMARK/result_N.txt`; in v0.5 it was
`v0.5.0/ORG/.../SUBMISSION/results/SYSTEM/BENCHMARK/result_N.txt`. Some submitters left the benchmark's folder out:
their logs lie in the system's, and say which benchmark they are of.
Trees come from strangers: links to folders are not followed (they may loop), and what is not read is
reported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from octathlon.errors import OctathlonError

DEEPEST = 12
"""Levels below the given path. A round's benchmark folders are at most six deep."""

NO_RESULTS = {"power", "pruned_results"}
"""Folders beside logs: those of power meters, and results that do not count."""
MODES = ("strong", "weak")
"""Folders of MLPerf HPC: the scaling that the benchmarks in them show."""

_VERSION = re.compile(r"v\d+\.\d+\.\d+")
"""v0.5.0: the folder that holds the organisations of v0.5."""
_LOG = re.compile(r"result.*\.txt")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in the tree that was not read, and why."""

    path: Path
    reason: str


@dataclass
class Folder:
    """One folder of logs: those of one system on one benchmark."""

    path: Path
    logs: list[Path] = field(default_factory=list)
    """In natural order: result_2 before result_10."""

    @cached_property
    def system(self) -> Path | None:
        """The system's folder, in `results`: the parent of this one, or itself; None outside a tree."""
        above = self.path.parent.parent if self.mode else self.path.parent
        return next((path for path in (above, self.path) if _is_system(path)), None)

    @cached_property
    def mode(self) -> str:
        """strong or weak, where there is such a folder between the system's and this one (MLPerf HPC)."""
        parent = self.path.parent
        return parent.name if parent.name in MODES and _is_system(parent.parent) else ""

    @property
    def results(self) -> Path | None:
        """The `results` folder that this one is in; None outside a tree."""
        return self.system.parent if self.system else None

    @property
    def name(self) -> str:
        """The path in its tree, which tells it from all others of the tree."""
        return str(self.path.relative_to(self.root)) if self.results else self.path.name

    @cached_property
    def organisation(self) -> Path | None:
        """The organisation's folder; None outside a tree."""
        if self.results is None:
            return None
        owner = self.results.parent
        for below, folder in pairwise((owner, *owner.parents)):
            if _VERSION.fullmatch(folder.name):
                return below
        return owner

    @cached_property
    def root(self) -> Path:
        """The folder that holds the tree; outside of one, the folder itself."""
        if self.organisation is None:
            return self.path
        parent = self.organisation.parent
        return parent.parent if _VERSION.fullmatch(parent.name) else parent


def find_folders(
    paths: Iterable[Path], is_benchmark: Callable[[str], bool]
) -> tuple[list[Folder], list[Skipped]]:
    """All benchmark folders under `paths`, in order of their path, and what was skipped.

    Args:
        paths: folders at any level of a tree, or logs.
        is_benchmark: whether a folder name is that of a benchmark; such a folder is listed even if it has no
            logs.

    Raises:
        OctathlonError: if one of `paths` does not exist.
    """
    folders: dict[Path, Folder] = {}
    skipped: list[Skipped] = []
    for path in paths:
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 (the names of a linked tree's folders count)
        if is_file(absolute):
            folder = folders.setdefault(absolute.parent, Folder(absolute.parent))
            folder.logs.append(absolute)
        elif is_folder(absolute):
            for found in _walk(absolute, is_benchmark, skipped):
                folders[found.path] = found
        else:
            raise OctathlonError(f"{path}: not there; give a results tree, a part of one, or logs")
    for folder in folders.values():
        folder.logs = sorted(set(folder.logs), key=natural)
    return [folders[path] for path in sorted(folders)], skipped


def _is_system(path: Path) -> bool:
    return path.parent.name == "results"


def is_file(path: Path) -> bool:
    """Whether there is a regular file that may be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder that may be looked at."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir() raises where it may not look)


def natural(path: Path) -> list[tuple[int, str]]:
    """A sorting key that puts result_2 before result_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", path.name)]


def _walk(root: Path, is_benchmark: Callable[[str], bool], skipped: list[Skipped]) -> Iterator[Folder]:
    waiting = [(root, 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(path, f"cannot be listed ({error.strerror})"))
            continue
        folder, below = _sort_out(path, found, skipped)
        listed = folder.logs or (folder.results is not None and is_benchmark(path.name))
        if listed:
            yield folder
        if listed and not _above_benchmarks(path, below):
            continue
        if depth < DEEPEST:
            waiting.extend((each, depth + 1) for each in below)
        elif below:
            skipped.append(Skipped(path, f"deeper than {DEEPEST} levels"))


def _above_benchmarks(path: Path, below: list[Path]) -> bool:
    """Whether the folders in this one may be results beside the logs that lie in it by themselves."""
    return _is_system(path) or path.name == "results" or any(each.name == "results" for each in below)


def _sort_out(
    path: Path, entries: Iterable[os.DirEntry[str]], skipped: list[Skipped]
) -> tuple[Folder, list[Path]]:
    """A folder with its logs, and the folders in it."""
    folder, below = Folder(path), []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in NO_RESULTS:
                below.append(Path(entry.path))
        elif _LOG.fullmatch(entry.name) and is_file(Path(entry.path)):
            folder.logs.append(Path(entry.path))
        elif _LOG.fullmatch(entry.name):
            skipped.append(Skipped(Path(entry.path), "not a regular file"))
        elif entry.is_symlink() and not is_file(Path(entry.path)):
            skipped.append(Skipped(Path(entry.path), "a link that leads to no file"))
    results = [each for each in below if each.name == "results"]
    return folder, results or below  # beside them there is code, with many files and examples of logs
