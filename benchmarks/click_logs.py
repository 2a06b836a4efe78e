"""Click logs: our preparation and loader beside plain ones, in one run; for the training step see `steps.py`.

    python benchmarks/click_logs.py [ROWS]

Draws two days of ROWS (default 200,000) rows each whose columns have as many categories as the real ones. The peer of
the preparation has the same rows in memory in the end: read by polars, numbered by pandas. What a batch costs the
process that trains stands beside a read when it is asked for, as the reference does with its binary format, and beside
a DataLoader whose four worker processes read whole batches. One process, one thread, warm caches; figures are per
second of CPU time.
"""

from __future__ import annotations

import gzip
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import HEADER, compare, show
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.datasets.click_logs.loader import Key, Rows, Stream
from octathlon.datasets.click_logs.prepare import prepare, steps
from octathlon.datasets.click_logs.rows import COLUMNS, ROW_BYTES
from octathlon.datasets.click_logs.settings import Settings
from octathlon.nn.loading import load
from octathlon.receipts import read_json

TABLES = [39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10]
TABLES += [2208, 11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36]
RANGE = 40_000_000
SETTINGS = Settings(source="miniature", days=2, day_jobs=1, max_ind_range=RANGE, buckets=2, shuffle_seed=1)
RANK_BATCH = 6912
NOTES = {
    "a read for each batch": "It reads when it is asked, in the thread that trains; ours ahead, in another thread.",
    "worker processes": "What they spend themselves comes on top.",
}


def draw_day(path: Path, rows: int, seed: int) -> None:
    """A day whose columns have popular and rare categories, a tenth of the fields missing."""
    rng = np.random.default_rng(seed)
    columns = [(rng.random(rows) < 0.03).astype(int).astype(str)]
    for _ in range(13):
        columns.append(np.floor(np.exp(rng.normal(1.5, 1.5, rows))).astype(int).astype(str))
    for table, size in enumerate(TABLES):
        ranks = np.floor(np.exp(rng.random(rows) * np.log(size))).astype(np.int64)
        hashes = (ranks * 2654435761 + table * 40503) % 2**32
        columns.append(np.array([f"{value:08x}" for value in hashes.tolist()]))
    for column in columns[1:]:
        column[rng.random(rows) < 0.1] = ""
    lines = ("\t".join(fields) + "\n" for fields in zip(*(c.tolist() for c in columns), strict=True))
    path.write_bytes(gzip.compress("".join(lines).encode(), 6))


def ours(archives: Path, out: Path) -> None:
    for names in [*steps(SETTINGS).values(), ["manifest"]]:
        for step in names:
            prepare(step, archives, out, SETTINGS)


def by_frames(archives: Path) -> np.ndarray:
    """The days' rows, int32 of shape (N, 40), in their order."""
    import pandas as pd
    import polars as pl

    schema = {f"{column}": pl.Int32 if column < 14 else pl.String for column in range(COLUMNS)}
    days = [archives / f"day_{day}.gz" for day in range(2)]
    frame = pl.concat(pl.read_csv(day, separator="\t", has_header=False, schema=schema) for day in days)
    rows = np.empty((len(frame), COLUMNS), np.int32)
    for column, values in enumerate(frame):
        if column < 14:
            rows[:, column] = values.fill_null(0).clip(0).to_numpy()
        else:
            hashes = values.str.to_integer(base=16, dtype=pl.Int64).fill_null(0).to_numpy()
            rows[:, column] = pd.factorize(hashes % RANGE)[0]
    return rows


class Reads:
    """One read for each batch when it is asked for, into new memory: as the reference reads its binary format."""

    def __init__(self, path: Path, keys: list[Key]) -> None:
        self._path, self._keys = path, keys

    def __iter__(self) -> Iterator[Tensor]:
        with self._path.open("rb", buffering=0) as file:
            for first, count in self._keys:
                file.seek(first * ROW_BYTES)
                yield torch.from_numpy(np.fromfile(file, np.int32, count * COLUMNS).reshape(count, COLUMNS))


class RowsByKey(Dataset[Tensor]):
    """Whole batches for a DataLoader's worker processes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __getitem__(self, key: Key) -> Tensor:
        batch = torch.empty((key[1], COLUMNS), dtype=torch.int32)
        self._rows.fill(key[0], batch)
        return batch


def compare_costs(out: Path, manifest: dict[str, Any]) -> None:
    """What a batch of an eighth of the full one costs the process that trains: its own thread, and all of them."""
    shard = manifest["splits"]["train"][0]
    rows = manifest["shards"][shard]["bytes"] // ROW_BYTES
    starts = range(0, rows - RANK_BATCH + 1, RANK_BATCH)
    if not starts:
        sys.exit(f"no whole batch of {RANK_BATCH:,} rows in a shard of {rows:,}: give more rows")
    keys = [(start, RANK_BATCH) for start in starts] * (1 + 500 // len(starts))
    stored = Rows(out, manifest, "train")
    loaders = {
        "ours": Stream(stored, keys, torch.device("cpu"), thread=True),
        "a read for each batch": Reads(out / shard, keys),
        "worker processes": load(RowsByKey(stored), keys, workers=4, pin_memory=False),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for _ in range(6):  # in turn; the first time warms up
        for name, batches in loaders.items():
            started = time.thread_time(), time.process_time()
            for _batch in batches:
                pass
            ended = time.thread_time(), time.process_time()
            spent[name].append(tuple(b - a for a, b in zip(started, ended, strict=True)))
    rates = {
        name: [len(keys) / statistics.median(each[1:]) for each in zip(*times, strict=True)]
        for name, times in spent.items()
    }
    for what, own, *others in zip(("its thread", "its process"), *rates.values(), strict=True):
        for (name, note), other in zip(NOTES.items(), others, strict=True):
            show(f"click_logs loader, {what}", "batches/s", own, name, other, note)


def main(rows: int) -> None:
    torch.set_num_threads(1)
    os.environ["POLARS_MAX_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for day in range(2):
            draw_day(folder / f"day_{day}.gz", rows, day)
        print(HEADER)
        ours(folder, folder / "out")
        try:
            by_frames(folder)
        except ImportError:
            print("polars is not installed: no preparation to compare with")
        else:
            compare(
                "click_logs preparation",
                "rows/s",
                2 * rows,
                lambda: ours(folder, folder / "out"),
                "polars, pandas",
                lambda: by_frames(folder),
                "It holds both days in memory, counts nothing and stores nothing.",
            )
        manifest = read_json(folder / "out/manifest.json")
        compare_costs(folder / "out", manifest)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
