"""Batches: every sample once, the same for any number of ranks, and nothing padded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from wikipedia_archives import draw, prepare_all

from octathlon.datasets.wikipedia.loader import Batch, collate, evaluation_batches, load, training_keys
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples
from octathlon.receipts import read_json

SHARDS = {"a": 37, "b": 0, "c": 64, "d": 11}


def keys(epoch: int = 1, size: int = 10, rank: int = 0, world: int = 1, seed: int = 5):
    return list(training_keys(SHARDS, seed, epoch, size, rank, world))


def flat(key) -> list[tuple[str, int]]:
    return [(name, int(row)) for name, rows in key for row in rows]


def test_an_epoch_holds_every_sample_once_in_full_batches() -> None:
    batches = [flat(key) for key in keys()]
    assert [len(batch) for batch in batches] == [10] * 11  # of 112
    counts = Counter(sample for batch in batches for sample in batch)
    assert max(counts.values()) == 1
    assert all(row < SHARDS[name] for name, row in counts)
    assert len([flat(key) for key in keys(size=112)][0]) == 112


def test_order_is_random_and_depends_on_seed_and_epoch() -> None:
    orders = [str(keys(epoch, seed=seed)) for epoch, seed in ((1, 5), (2, 5), (1, 6), (1, 5))]
    assert orders[0] == orders[3]
    assert len(set(orders)) == 3
    rows = [row for key in keys() for name, row in flat(key) if name == "c"]
    assert rows != sorted(rows)


def test_ranks_together_see_the_batches_of_one() -> None:
    ranks = [keys(size=5, rank=rank, world=2) for rank in range(2)]
    together = [flat(first) + flat(second) for first, second in zip(*ranks, strict=True)]
    assert together == [flat(key) for key in keys()]


def samples() -> Samples:
    rows = {
        "input_ids": ([2, 9, 3, 8, 3], [2, 7, 6, 3, 5, 3, 4][:7]),
        "segment_ids": ([0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1]),
        "masked_lm_positions": ([1], [2, 4]),
        "masked_lm_ids": ([11], [12, 13]),
    }
    fields = {name: Ragged.of([np.array(row) for row in two], "<i2") for name, two in rows.items()}
    return Samples(fields, np.array([1, 0], dtype=np.int8))


def test_a_batch_is_its_samples_one_after_the_other() -> None:
    batch = collate(samples())
    assert batch.pieces.tolist() == [2, 9, 3, 8, 3, 2, 7, 6, 3, 5, 3, 4]
    assert batch.segments.tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    assert batch.positions.tolist() == [*range(5), *range(7)]
    assert batch.places.tolist() == [*range(5), *range(7, 14)]
    assert batch.lengths.tolist() == [5, 7]
    assert batch.pieces[batch.masked].tolist() == [9, 6, 5]
    assert batch.labels.tolist() == [11, 12, 13]
    assert batch.random_next.tolist() == [1, 0]
    assert batch.longest == 7
    assert all(tensor.dtype == torch.int64 for tensor in batch[:-1])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wikipedia")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


def test_workers_change_nothing(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    shards = {name: manifest["samples"][name] for name in manifest["splits"]["train"]}
    batches = []
    for workers in (0, 2):
        chosen = training_keys(shards, 1, 1, 64, 0, 1)
        batches.append(list(load(prepared, chosen, workers=workers, pin_memory=False)))
    assert len(batches[0]) == manifest["counts"]["train"] // 64
    for one, other in zip(*batches, strict=True):
        assert isinstance(other, Batch)
        assert all(a.equal(b) for a, b in zip(one[:-1], other[:-1], strict=True))
        assert one.longest == other.longest


def test_evaluation_shares_hold_every_sample_once(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    shares = [range(0, 17), range(17, 40)]
    batches = [evaluation_batches(prepared, manifest, share, 6) for share in shares]
    assert [sum(len(batch.lengths) for batch in share) for share in batches] == [17, 23]
    labels = sorted(int(label) for share in batches for batch in share for label in batch.labels)
    (whole,) = evaluation_batches(prepared, manifest, range(40), 40)
    assert labels == sorted(whole.labels.tolist())
    assert len(labels) == manifest["masked"]["eval"]
