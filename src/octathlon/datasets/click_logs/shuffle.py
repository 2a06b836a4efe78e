"""Shuffle more rows than fit into memory: draw each row's bucket while streaming, permute each bucket later.

A day is a file of rows in segments: a million at a time are sorted by bucket and written, and an array says
where in the file each bucket's rows of each million lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from octathlon.datasets.click_logs.rows import COLUMNS, DTYPE, ROW_BYTES
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError
from octathlon.receipts import publish

BLOCK = 1 << 20
"""Rows that are sorted and written at a time: a bucket's part of them is a read of some 600 KB at full scale."""

PART = 1 << 16
"""Rows that are read at a time where their order stays: a fifth cheaper than a million."""


def day_files(name: str) -> tuple[str, str]:
    """The names of a day's files: rows, segments."""
    return f"{name}.bin", f"{name}-segments.npy"


def write_day(
    batches: Iterable[np.ndarray], folder: Path, name: str, buckets: int, rng: np.random.Generator
) -> int:
    """Write a day's rows, int32 of shape (N, 40) each time, every row in a uniformly drawn bucket; how many."""
    data, index = day_files(name)
    segments = []
    start = 0
    with publish(folder / data) as temporary, temporary.open("wb") as file:
        for batch in _blocks(batches):
            drawn = rng.integers(buckets, size=len(batch), dtype=np.uint16)  # 16 bits sort fastest
            batch[np.argsort(drawn, kind="stable")].tofile(file)
            counts = np.bincount(drawn, minlength=buckets)
            segments.append(start + np.concatenate([[0], np.cumsum(counts)]))
            start += len(batch)
    with publish(folder / index) as temporary, temporary.open("wb") as file:
        np.save(file, np.array(segments, dtype=np.int64).reshape(-1, buckets + 1), allow_pickle=False)
    return start


def _blocks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The rows in fewer, larger batches of at least BLOCK rows, but for the last."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= BLOCK:
            yield _joined(waiting)
    if waiting:
        yield _joined(waiting)


def _joined(waiting: list[np.ndarray]) -> np.ndarray:
    """All rows; the list, which would keep them in memory twice, is emptied."""
    rows = np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
    waiting.clear()
    return rows


def read_bucket(folder: Path, names: Sequence[str], bucket: int) -> np.ndarray:
    """One bucket's rows of all days, int32 of shape (N, 40).

    Raises:
        OctathlonError: if a day's files are missing or damaged.
    """
    days = Shards([folder / day_files(name)[0] for name in names])
    segments = [
        (day, *segment) for day, name in enumerate(names) for segment in _segments(folder, name, bucket)
    ]
    rows = np.empty((sum(end - start for _, start, end in segments), COLUMNS), DTYPE)
    place = 0
    for day, start, end in segments:
        _fill(days, day, start, rows[place : place + end - start])
        place += end - start
    return rows


def read_rows(folder: Path, name: str, first: int, end: int) -> Iterator[np.ndarray]:
    """A day's rows as they were written, from `first` to before `end`, some at a time; raises as `read_bucket` does."""
    day = Shards([folder / day_files(name)[0]])
    for start in range(first, end, PART):
        rows = np.empty((min(PART, end - start), COLUMNS), DTYPE)
        _fill(day, 0, start, rows)
        yield rows


def _fill(days: Shards, day: int, start: int, rows: np.ndarray) -> None:
    try:
        days.fill(day, start * ROW_BYTES, rows)
    except OSError as error:
        raise _unreadable(days.paths[day], error) from error


def _segments(folder: Path, name: str, bucket: int) -> list[tuple[int, int]]:
    """Where a bucket's rows of one day begin and end."""
    index = folder / day_files(name)[1]
    try:
        return list(map(tuple, np.load(index, allow_pickle=False)[:, bucket : bucket + 2].tolist()))
    except (OSError, ValueError) as error:
        raise _unreadable(index, error) from error


def _unreadable(path: Path, error: Exception) -> OctathlonError:
    return OctathlonError(f"{path}: cannot be read ({error}); run the step that scans this day again")


def write_bucket(rows: np.ndarray, path: Path, rng: np.random.Generator) -> None:
    """Write rows in random order."""
    order = rng.permutation(len(rows))
    with publish(path) as temporary, temporary.open("wb") as file:
        for start in range(0, len(rows), BLOCK):
            rows[order[start : start + BLOCK]].tofile(file)
