"""Made-up data in the prepared format of ImageNet, to rehearse on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from octathlon.benchmarks.resnet.settings import Settings
from octathlon.datasets.imagenet.settings import Settings as DatasetSettings
from octathlon.datasets.imagenet.shards import write_shard
from octathlon.datasets.photos import photo
from octathlon.receipts import write_json

SHARD = "photos"


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """One shard of photos, which is listed until there are as many images as in the real data set."""
    sizes, rng = data.synthetic, np.random.default_rng(0)
    photos = (photo(rng, sizes["width"], sizes["height"]) for _ in range(sizes["pictures"]))
    write_shard(folder, SHARD, ((jpeg, number % sizes["classes"]) for number, jpeg in enumerate(photos)))
    counts = {"train": sizes["train"], "eval": sizes["evaluated"]}
    manifest = {
        "dataset": "imagenet",
        "splits": {split: [SHARD] * -(-count // sizes["pictures"]) for split, count in counts.items()},
        "counts": counts,
        "classes": list(range(sizes["classes"])),
    }
    write_json(folder / "manifest.json", manifest)
    return settings
