"""Genuine Criteo rows, prepared, against a plain computation row by row."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octathlon import config
from octathlon.datasets.click_logs.prepare import archives, prepare, steps
from octathlon.receipts import read_json

REALDATA = Path(__file__).parents[3] / "shared/realdata"


def source(name: str) -> Path:
    folder = REALDATA / name
    if not folder.is_dir():
        pytest.skip(f"no genuine rows: {folder} is not there")
    return folder


def prepared(folder: Path, out: Path, **keys: int) -> dict[str, Any]:
    """The manifest after all steps with the mini scale's settings and `keys`."""
    settings = config.resolve("datasets", "click_logs", "mini", {"source": str(folder)} | keys)
    for names in [*steps(settings).values(), ["manifest"]]:
        for step in names:
            prepare(step, folder, out, settings)
    return read_json(out / "manifest.json")


def plain(folder: Path, days: int) -> Iterator[list[list[int]]]:
    """Each day's rows as the reference computes them: one row, one field after the other."""
    dictionaries: list[dict[int, int]] = [{} for _ in range(26)]
    for day in range(days):
        rows = []
        for line in gzip.decompress((folder / f"day_{day}.gz").read_bytes()).decode("ascii").splitlines():
            label, *fields = line.split("\t")
            integers = [max(int(field), 0) if field else 0 for field in fields[:13]]
            hashes = [int(field, 16) % 40_000_000 if field else 0 for field in fields[13:]]
            indices = [
                seen.setdefault(value, len(seen)) for seen, value in zip(dictionaries, hashes, strict=True)
            ]
            rows.append([int(label), *integers, *indices])
        yield rows


def split(out: Path, manifest: dict[str, Any], name: str) -> list[list[int]]:
    files = [np.fromfile(out / file, "<i4").reshape(-1, 40) for file in manifest["splits"][name]]
    return np.concatenate(files).tolist()


def check(folder: Path, out: Path, days: int) -> dict[str, Any]:
    """Prepared rows and table sizes are the plain computation's."""
    manifest = prepared(folder, out, days=days)
    *train, last = plain(folder, days)
    half = (len(last) + 1) // 2
    assert sorted(split(out, manifest, "train")) == sorted(sum(train, []))
    assert split(out, manifest, "eval") == last[:half]
    assert split(out, manifest, "val") == last[half:]
    rows = np.array(sum([*train, last], []))
    assert manifest["table_sizes"] == (rows[:, 14:].max(axis=0) + 1).tolist()
    return manifest


def test_24_days_of_kaggle_rows(tmp_path: Path) -> None:
    manifest = check(source("criteo"), tmp_path, days=24)
    clicks = sum(manifest["click_rates"][name] * count for name, count in manifest["counts"].items())
    assert manifest["counts"] == {"train": 5111, "eval": 112, "val": 111}
    assert round(clicks) == 1151


def test_one_day_of_the_terabyte_logs(tmp_path: Path) -> None:
    """There is only a day 0, which is then the last one: nothing to train on."""
    folder = source("criteo-terabyte")
    manifest = check(folder, tmp_path, days=1)
    clicks = sum(manifest["click_rates"][name] * count for name, count in manifest["counts"].items())
    assert manifest["counts"] == {"train": 0, "eval": 334, "val": 333}
    assert round(clicks) == 14


def test_the_days_of_the_sample_are_those_that_are_wanted() -> None:
    """As a source of the workflow the folder lacks nothing."""
    folder = source("criteo")
    settings = config.resolve("datasets", "click_logs", "mini", {"source": str(folder)})
    assert all((folder / name).is_file() for name in archives(settings))
