"""Where the articles of all extraction jobs go: into numbered files, and files into parts, as the reference packs them.

WikiExtractor begins a new file when the next article would push it over its limit; the parts are as many neighbouring
files as fit into theirs. The evaluation articles are drawn file by file, so the files matter although none is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from octathlon.datasets.wikipedia.settings import Settings
from octathlon.errors import OctathlonError


class Layout:
    """The files of the whole dump. Articles are counted over all extraction jobs, in the dump's order."""

    def __init__(self, folder: Path, jobs: Sequence[str], settings: Settings) -> None:
        """Read the articles' sizes that the extraction `jobs` left in `folder`.

        Raises:
            OctathlonError: if the dump has no article, or needs more parts than there are jobs for.
        """
        self._texts = [folder / f"{job}.txt" for job in jobs]
        sizes = [np.load(folder / f"{job}.npy", allow_pickle=False) for job in jobs]
        self._first = np.cumsum([0, *map(len, sizes)])
        self._ends = [np.cumsum(job) for job in sizes]
        self._files = pack(np.concatenate(sizes), settings.file_bytes)
        if not self._files:
            raise OctathlonError(f"{folder}: no article was extracted; is the dump an English Wikipedia's?")
        totals = np.add.reduceat(np.concatenate(sizes), [start for start, _ in self._files])
        self._parts = pack(totals, settings.part_bytes)
        if len(self._parts) > settings.parts:
            raise OctathlonError(
                f"wikipedia: the dump fills {len(self._parts)} parts of part_bytes {settings.part_bytes:,}, but parts "
                f"is {settings.parts}: set it to {len(self._parts)}"
            )

    @property
    def files(self) -> int:
        """The number of files."""
        return len(self._files)

    def part(self, number: int) -> range:
        """The numbers of a part's files; there may be fewer parts than jobs for them."""
        return range(*self._parts[number]) if number < len(self._parts) else range(0)

    def lines(self, file: int) -> Iterator[str]:
        """The lines of a file."""
        start, stop = self._files[file]
        for job, path in enumerate(self._texts):
            first, last = self._first[job], self._first[job + 1]
            begin, end = max(start, first) - first, min(stop, last) - first
            if begin < end:
                ends = self._ends[job]
                offset = int(ends[begin - 1]) if begin else 0
                yield from _read(path, offset, int(ends[end - 1]))


def pack(sizes: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Cut a row of things into runs (first, behind the last) whose sizes stay within `limit`, if a single one does."""
    ends = np.cumsum(sizes)
    runs, start, before = [], 0, 0
    while start < len(ends):
        stop = max(int(np.searchsorted(ends, before + limit, side="right")), start + 1)
        runs.append((start, stop))
        start, before = stop, int(ends[stop - 1])
    return runs


def _read(path: Path, start: int, stop: int) -> Iterator[str]:
    with path.open("rb") as file:
        file.seek(start)
        yield from file.read(stop - start).decode().rstrip("\n").split("\n")
