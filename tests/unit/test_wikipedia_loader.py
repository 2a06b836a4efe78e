"""Batches: every sample once, from many parts of the text, the same for any number of ranks, and nothing padded."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from wikipedia_archives import draw, prepare_all

from octathlon.datasets.wikipedia.loader import (
    Batch,
    Batches,
    collate,
    evaluation_batches,
    open_batches,
    training_keys,
)
from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples
from octathlon.errors import OctathlonError
from octathlon.nn.loading import load
from octathlon.receipts import read_json

SHARDS = {"a": 37, "b": 0, "c": 64, "d": 11}


def keys(epoch: int = 1, size: int = 10, rank: int = 0, world: int = 1, seed: int = 5, accumulation: int = 1):
    return list(training_keys(SHARDS, seed, epoch, size, rank, world, accumulation))


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


def test_ranks_see_the_micro_batches_of_one() -> None:
    alone = [flat(key) for key in keys(size=3, accumulation=6)]
    assert len(alone) == 6 * (112 // 18)
    for world, accumulation in ((6, 1), (2, 3), (3, 2)):
        ranks = [keys(size=3, rank=rank, world=world, accumulation=accumulation) for rank in range(world)]
        updates = range(0, len(ranks[0]), accumulation)
        together = [
            flat(key) for first in updates for rank in ranks for key in rank[first : first + accumulation]
        ]
        assert together == alone


@pytest.mark.parametrize("world", [1, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_batch_is_drawn_from_many_parts(world: int, seed: int) -> None:
    """500 parts as at full scale, but shorter ones, so that 200 batches go through many of them."""
    sizes = {f"train-{part:05d}-{shard}": 380 + part % 41 for part in range(500) for shard in range(8)}
    ranks = [training_keys(sizes, seed, 1, 448 // world, rank, world) for rank in range(world)]
    seen: list[set[str]] = [set() for _ in ranks]
    for _ in range(200):
        batches = [{name for name, _ in next(rank)} for rank in ranks]
        assert len({name.split("-")[1] for names in batches for name in names}) >= 8
        for names, before in zip(batches, seen, strict=True):
            before |= names
    shards = len(set().union(*seen))
    assert shards > 200  # of 16 at a time
    assert sum(map(len, seen)) <= shards + 16  # each is read by one rank, or two


def test_shards_are_read_once_while_they_are_open(prepared: Path, tmp_path: Path) -> None:
    """A shard is read as a whole and kept; with too many, the one that was used longest ago goes."""
    names = read_json(prepared / "manifest.json")["splits"]["train"]
    for name in names:
        shutil.copy(prepared / name, tmp_path)
    batches, rows = Batches(tmp_path, limit=2), np.arange(3)
    before = batches[[(names[0], rows), (names[1], rows)]]
    for name in names[:2]:
        (tmp_path / name).unlink()
    assert batches[[(names[0], rows), (names[1], rows)]].pieces.equal(before.pieces)
    assert len(batches[[(names[1], rows), (names[2], rows)]].lengths) == 6
    with pytest.raises(OctathlonError, match=names[0]):
        batches[[(names[0], rows)]]


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
    assert batch.offsets.tolist() == [0, 5, 12]
    assert batch.lengths == [5, 7]
    assert batch.pieces[batch.masked].tolist() == [9, 6, 5]
    assert batch.labels.tolist() == [11, 12, 13]
    assert batch.random_next.tolist() == [1, 0]
    assert {tensor.dtype for tensor in batch[:-1] if tensor is not batch.offsets} == {torch.int64}
    assert batch.offsets.dtype == torch.int32  # as attention's kernel takes it


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
        batches.append(list(load(open_batches(prepared), chosen, workers=workers, pin_memory=False)))
    assert len(batches[0]) == manifest["counts"]["train"] // 64
    for one, other in zip(*batches, strict=True):
        assert isinstance(other, Batch)
        assert all(a.equal(b) for a, b in zip(one[:-1], other[:-1], strict=True))
        assert one.lengths == other.lengths


def test_evaluation_shares_hold_every_sample_once(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    shares = [range(0, 17), range(17, 40)]
    batches = [evaluation_batches(prepared, manifest, share, 6) for share in shares]
    assert [sum(len(batch.lengths) for batch in share) for share in batches] == [17, 23]
    labels = sorted(int(label) for share in batches for batch in share for label in batch.labels)
    (whole,) = evaluation_batches(prepared, manifest, range(40), 40)
    assert labels == sorted(whole.labels.tolist())
    assert len(labels) == manifest["masked"]["eval"]
