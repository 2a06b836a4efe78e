"""Made-up data in the prepared format of KiTS19, to rehearse on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from octathlon.benchmarks.unet3d.settings import Settings
from octathlon.datasets.kits19.settings import Settings as DatasetSettings
from octathlon.datasets.kits19.shards import write_shard
from octathlon.receipts import write_json

CLASSES = ("background", "kidney", "tumour")
SHARD = "volumes"


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """A few volumes of one size, each listed as many cases."""
    sizes = data.synthetic
    write_shard(folder, SHARD, _volumes(sizes))
    shape = _shape(sizes)
    middle = [[[size // 3, size // 2] for size in shape]]
    boxes = {name: middle for name in CLASSES[1:]}
    facts = {"shape": list(shape), "boxes": boxes, "shard": SHARD}
    counts = {"train": sizes["train"], "eval": sizes["evaluated"]}
    cases = {
        split: [facts | {"name": str(number % sizes["cases"])} for number in range(count)]
        for split, count in counts.items()
    }
    manifest = {"dataset": "kits19", "classes": list(CLASSES), "splits": cases, "counts": counts}
    write_json(folder / "manifest.json", manifest)
    return settings


def _shape(sizes: dict[str, int]) -> tuple[int, int, int]:
    return sizes["depth"], sizes["height"], sizes["width"]


def _volumes(sizes: dict[str, int]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Noise, with a block of each class in the middle."""
    rng, shape = np.random.default_rng(0), _shape(sizes)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(size // 3, size // 2) for size in shape)] = 1
    label[tuple(slice(size * 2 // 5, size // 2) for size in shape)] = 2
    for number in range(sizes["cases"]):
        yield str(number), rng.standard_normal(shape, np.float32), label
