"""Made-up data in the prepared format of Wikipedia, to rehearse on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from octathlon.benchmarks.bert.settings import Settings
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import FIELDS, Samples
from octathlon.datasets.wikipedia.settings import Settings as DatasetSettings
from octathlon.datasets.wikipedia.shards import write_shard
from octathlon.receipts import write_json

WHOLE = 0.2
"""The part of the samples that are of the greatest length."""
SHORTEST = 8
MASKED = 0.15


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Random pieces. There is no checkpoint: training starts at random, which takes as long."""
    sizes, rng = data.synthetic, np.random.default_rng(0)
    train = {f"train-{number}.hdf5": sizes["samples"] for number in range(sizes["shards"])}
    samples = train | {"eval.hdf5": sizes["evaluated"]}
    for name, count in samples.items():
        write_shard(folder / name, _samples(count, data, rng))
    manifest = {
        "dataset": "wikipedia",
        "splits": {"train": list(train), "eval": ["eval.hdf5"]},
        "samples": samples,
        "counts": {"train": sum(train.values()), "eval": sizes["evaluated"]},
        "vocabulary": sizes["vocabulary"],
        "max_seq_length": data.max_seq_length,
        "max_predictions": data.max_predictions,
        "checkpoint": None,
    }
    write_json(folder / "manifest.json", manifest)
    return settings.model_copy(update={"start": "random"})


def _samples(count: int, data: DatasetSettings, rng: np.random.Generator) -> Samples:
    lengths = _lengths(count, data.max_seq_length, data.synthetic["mean_length"], rng)
    masked = [
        np.sort(rng.permutation(length - 2)[: min(max(int(length * MASKED), 1), data.max_predictions)]) + 1
        for length in lengths
    ]
    pieces = data.synthetic["vocabulary"]
    rows = {
        "input_ids": [rng.integers(pieces, size=length) for length in lengths],
        "segment_ids": [np.arange(length) > length // 2 for length in lengths],
        "masked_lm_positions": masked,
        "masked_lm_ids": [rng.integers(pieces, size=len(each)) for each in masked],
    }
    fields = {name: Ragged.of(rows[name], dtype) for name, dtype in FIELDS.items()}
    return Samples(fields, rng.integers(2, size=count).astype(np.int8))


def _lengths(count: int, longest: int, mean: int, rng: np.random.Generator) -> list[int]:
    """Some are of the greatest length, the others of any up to twice their mean."""
    others = int((mean - WHOLE * longest) / (1 - WHOLE))
    shorter = rng.integers(SHORTEST, 2 * others - SHORTEST, count).clip(max=longest)
    return np.where(rng.random(count) < WHOLE, longest, shorter).tolist()
