"""Small click logs for tests, and the whole way through their preparation."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from octathlon.datasets.click_logs.prepare import prepare, steps
from octathlon.datasets.click_logs.settings import Settings
from octathlon.miniatures import click_logs
from octathlon.receipts import read_json

SIZES = {"rows_per_day": 500, "last_day_rows": 2001}


def draw(folder: Path, seed: int = 1, **sizes: int) -> Path:
    """All archives of a miniature."""
    folder.mkdir(parents=True)
    for name in click_logs.archives(**SIZES | sizes):
        click_logs.draw(name, folder, seed=seed, **SIZES | sizes)
    return folder


def settings(**changes: Any) -> Settings:
    keys = {
        "source": "miniature",
        "days": 3,
        "day_jobs": 2,
        "max_ind_range": 40_000_000,
        "buckets": 2,
        "shuffle_seed": 123,
    }
    return Settings(**keys | changes)


def prepare_all(archives: Path, out: Path, chosen: Settings) -> dict[str, Any]:
    """All steps in order; the manifest."""
    for names in [*steps(chosen).values(), ["manifest"]]:
        for step in names:
            prepare(step, archives, out, chosen)
    return read_json(out / "manifest.json")


def read_rows(out: Path, manifest: dict[str, Any], split: str) -> np.ndarray:
    files = [np.fromfile(out / name, "<i4").reshape(-1, 40) for name in manifest["splits"][split]]
    return np.concatenate(files)


def write_day(folder: Path, day: int, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"day_{day}.gz").write_bytes(gzip.compress(content, 1))
