"""Criteo's click logs -> shuffled rows of integers and table indices, and a manifest.

The values are those of the MLPerf reference (facebookresearch/dlrm, branch mlperf, data_utils.py): a hash
modulo max_ind_range becomes a table's index by the order of first appearance over all days, the last day
included; the first half of the last day is the evaluation set, its second half (val) is not used, and the
days before it are the training set. Steps, each a job, later ones after all earlier ones:

    scan-<n>        some days' rows, each drawn into one of the buckets, but the last day's in their order; and the
                    distinct values of each column, in order of appearance
    dictionaries    the indices: one artefact of all days
    bucket-<n>      a training file: one bucket's rows of all days, permuted in memory
    half-<n>        one of the last day's halves, in its order
    manifest

A uniform draw of buckets and a permutation of each make a uniform permutation of all training rows. The text is read
once, as unpacking it can't be shared: rows have values until the dictionaries are there, then indices. A scan has three
threads: one unpacks, one parses, the job's own notes values, sorts and writes. What only later steps read lies in
`work/`, as many bytes as all prepared rows; nothing reads it once the manifest is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octathlon.datasets.ahead import ahead
from octathlon.datasets.click_logs.rows import CATEGORIES, FIRST_CATEGORY
from octathlon.datasets.click_logs.settings import Settings
from octathlon.datasets.click_logs.shuffle import (
    day_files,
    read_bucket,
    read_rows,
    write_bucket,
    write_day,
)
from octathlon.errors import OctathlonError
from octathlon.receipts import describe, publish, read_json, write_json

if TYPE_CHECKING:  # a plan of the workflow compiles nothing
    from octathlon.datasets.click_logs.dictionary import Appearances, Numbers

AHEAD = 8
"""Pieces of a day, some 10 MB as rows each, that a thread parses while a million rows are sorted and written."""
DICTIONARIES = "work/dictionaries.npy"
HALVES = ("eval", "val")
"""The splits that are the last day's first and second half."""


def archives(settings: Settings) -> list[str]:
    """The archives that the preparation needs, day by day."""
    return [f"day_{day}.gz" for day in range(settings.days)]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The names of the steps before `manifest`, by kind."""
    return {
        "scan": [f"scan-{job}" for job in range(settings.day_jobs)],
        "dictionaries": ["dictionaries"],
        "bucket": [f"bucket-{bucket}" for bucket in range(settings.buckets)],
        "half": [f"half-{half}" for half in range(len(HALVES))],
    }


def needs(step: str, settings: Settings) -> tuple[list[str], list[str]]:
    """The archives, and the steps before it, that a step but `manifest` reads."""
    kind, _, number = step.partition("-")
    if kind == "scan":
        return [f"day_{day}.gz" for day in _days_of(int(number), settings)], []
    before = steps(settings)
    return [], before["scan"] if kind == "dictionaries" else before["scan"] + before["dictionaries"]


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, `dictionaries` or `manifest`.

    Raises:
        OctathlonError: naming archive and row, if one is not as it should be.
    """
    if step == "manifest":
        write_json(out / "manifest.json", _manifest(out, settings))
        return
    kind, _, number = step.partition("-")
    if step not in steps(settings).get(kind, ()):
        known = [" to ".join(dict.fromkeys((names[0], names[-1]))) for names in steps(settings).values()]
        raise OctathlonError(f"click_logs has no step {step!r}; choose {', '.join(known)} or manifest")
    if kind == "scan":
        facts = _scan(int(number), archives, out, settings)
    elif kind == "dictionaries":
        facts = _merge(out, settings)
    elif kind == "bucket":
        facts = _bucket(int(number), out, settings)
    else:
        facts = _half(int(number), archives, out, settings)
    head = {"format": 1, "stage": "prepare", "dataset": "click_logs", "step": step}
    files = {name: describe(out / name) for name in facts["files"]}
    write_json(_receipt(out, step), head | facts | {"files": files})


def _days_of(job: int, settings: Settings) -> range:
    """The days that scan job number `job` reads."""
    return range(settings.days * job // settings.day_jobs, settings.days * (job + 1) // settings.day_jobs)


def _receipt(out: Path, step: str) -> Path:
    return out / "receipts" / f"{step}.json"


def _scan(job: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    from octathlon.datasets.click_logs.dictionary import Appearances
    from octathlon.datasets.click_logs.text import read_day

    files, counts, distinct = [], [], []
    for day in _days_of(job, settings):
        columns = [Appearances(settings.max_ind_range) for _ in range(CATEGORIES)]
        archive = archives / f"day_{day}.gz"
        batches = _noted(ahead(read_day(archive, settings.max_ind_range), AHEAD), columns)
        buckets = settings.buckets if day < settings.days - 1 else 1
        rng = np.random.default_rng([settings.shuffle_seed, 0, day])
        counts.append(write_day(batches, out / "work", f"day-{day}", buckets, rng))
        if not counts[-1]:
            raise OctathlonError(f"{archive}: not a single row; use the archive as it is published")
        files += [f"work/{file}" for file in (*day_files(f"day-{day}"), f"values-{day}.npy")]
        distinct.append(_save_values(out / files[-1], [column.values() for column in columns]))
    return {"files": files, "rows": counts, "distinct": distinct}


def _noted(batches: Iterable[np.ndarray], columns: list[Appearances]) -> Iterator[np.ndarray]:
    """The same batches, once the values of each have been added to the columns."""
    for rows in batches:
        for number, column in enumerate(columns, start=FIRST_CATEGORY):
            column.add(rows[:, number])
        yield rows


def _merge(out: Path, settings: Settings) -> dict[str, Any]:
    """The days' distinct values, numbered in the order of the days; one column in memory at a time."""
    from octathlon.datasets.click_logs.dictionary import Appearances

    receipts = [read_json(_receipt(out, step)) for step in steps(settings)["scan"]]
    distinct = [sizes for receipt in receipts for sizes in receipt["distinct"]]
    days = [_load_values(out / f"work/values-{day}.npy", sizes) for day, sizes in enumerate(distinct)]
    merged = []
    for column in range(CATEGORIES):
        appearances = Appearances(settings.max_ind_range)
        for values in days:
            appearances.add(values[column])
        merged.append(appearances.values())
    return {"files": [DICTIONARIES], "table_sizes": _save_values(out / DICTIONARIES, merged)}


def _numbers(out: Path, settings: Settings) -> Iterator[Numbers]:
    """The columns' numbers, one after the other: not all fit into every memory."""
    from octathlon.datasets.click_logs.dictionary import Numbers

    sizes = read_json(_receipt(out, "dictionaries"))["table_sizes"]
    for values in _load_values(out / DICTIONARIES, sizes):
        yield Numbers(values, settings.max_ind_range)


def _number(rows: np.ndarray, columns: Iterable[Numbers], out: Path) -> np.ndarray:
    """The rows, int32 of shape (N, 40), with indices in place of values."""
    for column, numbers in enumerate(columns, start=FIRST_CATEGORY):
        indices = numbers.of(rows[:, column])
        if (indices < 0).any():
            raise OctathlonError(
                f"{out / DICTIONARIES}: older than a scan of a day; run the dictionaries step again"
            )
        rows[:, column] = indices
    return rows


def _half(half: int, archives: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """One of the last day's halves; the middle row is in the first."""
    day = settings.days - 1
    numbers = list(_numbers(out, settings))
    total = read_json(_receipt(out, steps(settings)["scan"][-1]))["rows"][-1]
    first, end = (0, (total + 1) // 2) if half == 0 else ((total + 1) // 2, total)
    split, clicks = HALVES[half], 0
    with publish(out / f"{split}.bin") as temporary, temporary.open("wb") as file:
        for rows in read_rows(out / "work", f"day-{day}", first, end):
            _number(rows, numbers, out).tofile(file)
            clicks += int(rows[:, 0].sum())
    if half == 0:
        _require_both_classes(archives / f"day_{day}.gz", end, clicks)
    return {"files": [f"{split}.bin"], "counts": {split: end - first}, "clicks": {split: clicks}}


def _require_both_classes(archive: Path, rows: int, clicks: int) -> None:
    """There is no AUC of clicks alone, nor without a click."""
    if clicks in (0, rows):
        raise OctathlonError(
            f"{archive}: of its first half, the {rows:,} rows of the evaluation set, {clicks:,} are clicks, but an "
            "AUC needs rows with a click and rows without: use a day that has both"
        )


def _bucket(number: int, out: Path, settings: Settings) -> dict[str, Any]:
    file = f"train-{number:03d}.bin"
    days = [f"day-{day}" for day in range(settings.days - 1)]
    rows = _number(read_bucket(out / "work", days, number), _numbers(out, settings), out)
    write_bucket(rows, out / file, np.random.default_rng([settings.shuffle_seed, 1, number]))
    return {"files": [file], "counts": {"train": len(rows)}, "clicks": {"train": int(rows[:, 0].sum())}}


def _manifest(out: Path, settings: Settings) -> dict[str, Any]:
    """`splits` lists each split's files in order."""
    kinds = steps(settings)
    receipts = [read_json(_receipt(out, name)) for name in kinds["bucket"] + kinds["half"]]
    files = {file: facts for receipt in receipts for file, facts in receipt["files"].items()}
    counts, clicks = (_sum(receipt[key] for receipt in receipts) for key in ("counts", "clicks"))
    return {
        "format": 1,
        "dataset": "click_logs",
        "shards": files,
        "splits": {
            "train": [file for file in files if file.startswith("train-")],
            **{split: [f"{split}.bin"] for split in HALVES},
        },
        "counts": counts,
        "click_rates": {split: clicks[split] / max(counts[split], 1) for split in counts},
        "max_ind_range": settings.max_ind_range,
        "table_sizes": read_json(_receipt(out, "dictionaries"))["table_sizes"],
    }


def _sum(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter()
    for part in parts:
        total.update(part)
    return total


def _save_values(path: Path, columns: list[np.ndarray]) -> list[int]:
    """Write the columns' values one after the other; returns how many each has."""
    with publish(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(columns), allow_pickle=False)
    return [len(column) for column in columns]


def _load_values(path: Path, sizes: list[int]) -> list[np.ndarray]:
    """What `_save_values` wrote, mapped."""
    try:
        return np.split(np.load(path, mmap_mode="r", allow_pickle=False), np.cumsum(sizes)[:-1])
    except (OSError, ValueError) as error:
        raise OctathlonError(
            f"{path}: cannot be read ({error}); run the step that writes it again"
        ) from error
