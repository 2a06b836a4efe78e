"""Made-up data in the prepared format of the click logs, to rehearse on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from octathlon.benchmarks.dlrm.settings import Settings
from octathlon.datasets.click_logs.rows import COLUMNS, DTYPE, FIRST_CATEGORY, ROW_BYTES
from octathlon.datasets.click_logs.settings import Settings as DatasetSettings
from octathlon.receipts import write_json

FILE = "rows.bin"
CLICKS = 0.03


def write(folder: Path, settings: Settings, data: DatasetSettings, share: float) -> Settings:
    """One file of rows, which is listed until there are as many as in the real data set.

    A part of a system has that part of the rows of each embedding table: as many look-ups and as much memory as one
    of its ranks, which has some of the tables whole.
    """
    sizes = data.synthetic
    tables = [max(int(size * share), 1) for size in sizes["table_sizes"]]
    _rows(sizes["rows"], tables).tofile(folder / FILE)
    counts = {"train": sizes["train"], "eval": sizes["evaluated"]}
    manifest = {
        "dataset": "click_logs",
        "shards": {FILE: {"bytes": sizes["rows"] * ROW_BYTES}},
        "splits": {split: [FILE] * -(-count // sizes["rows"]) for split, count in counts.items()},
        "counts": counts,
        "table_sizes": tables,
    }
    write_json(folder / "manifest.json", manifest)
    return settings


def _rows(count: int, tables: list[int]) -> np.ndarray:
    """Few clicks; a category's rank is distributed evenly in its logarithm: some categories are in most rows."""
    rng = np.random.default_rng(0)
    rows = np.empty((count, COLUMNS), DTYPE)
    rows[:, 0] = rng.random(count) < CLICKS
    rows[:, 1:FIRST_CATEGORY] = rng.geometric(0.05, size=(count, FIRST_CATEGORY - 1)) - 1
    ranks = np.exp(rng.random((count, len(tables))) * np.log(np.array(tables) + 1))
    rows[:, FIRST_CATEGORY:] = ranks.astype(np.int64) - 1
    return rows
