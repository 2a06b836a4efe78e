"""bert on 8 gloo processes: an epoch's samples once over all ranks, equal weights, those of one that accumulates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from test_bert import SMALL, benchmark
from test_world import on_ranks
from wikipedia_archives import draw, prepare_all, settings

from octathlon.datasets.wikipedia.loader import Batch
from octathlon.datasets.wikipedia.samples import FIELDS
from octathlon.datasets.wikipedia.shards import read_shard
from octathlon.harness.events import Events
from octathlon.harness.trainer import StepTrainer
from octathlon.receipts import read_json

RANKS, GLOBAL_BATCH = 8, 32
Seen = Counter[tuple[tuple[int, ...], ...]]
Trained = tuple[Seen, float, dict[str, np.ndarray]]


def samples_of(batch: Batch) -> Seen:
    """Each sample's pieces, segments, masked positions and their labels."""
    lengths = batch.lengths
    owners = torch.bucketize(batch.masked, batch.offsets[1:], right=True)
    counts = owners.bincount(minlength=len(lengths)).tolist()
    fields = (
        *(batch.pieces.split(lengths), batch.segments.split(lengths)),
        *(batch.positions[batch.masked].split(counts), batch.labels.split(counts)),
    )
    return Counter(tuple(tuple(field.tolist()) for field in sample) for sample in zip(*fields, strict=True))


def one_epoch(data: Path, rank: int, world: int, accumulation: int) -> Trained:
    """The samples that a rank saw, the quality, the weights."""
    torch.manual_seed(1)
    over = {
        "global_batch_size": GLOBAL_BATCH,
        "gradient_accumulation_steps": accumulation,
        "num_warmup_steps": 0,
    }
    chosen = benchmark(data=data, rank=rank, world=world, **SMALL | over)
    model = chosen.build_model()
    trainer, seen = StepTrainer(chosen, model, *chosen.build_optimizer(model), Events([], float)), Counter()
    for batch in chosen.train_batches(1):
        seen += samples_of(batch)
        trainer.step(batch)
    with torch.inference_mode():
        quality = chosen.evaluate(model.eval())["mlm_accuracy"]
    return seen, quality, {name: weight.detach().numpy() for name, weight in model.named_parameters()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wikipedia")
    return prepare_all(draw(folder / "archives"), folder / "prepared", settings(dupe_factor=2))


@pytest.fixture(scope="module")
def ranks(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Trained]:
    """What an epoch gives on each of 8 processes."""
    return on_ranks(RANKS, tmp_path_factory.mktemp("ranks"), lambda rank: one_epoch(prepared, rank, RANKS, 1))


def test_ranks_see_each_sample_of_an_epoch_once(prepared: Path, ranks: list[Trained]) -> None:
    """But for those that don't fill a last batch."""
    stored: Seen = Counter()
    for name in read_json(prepared / "manifest.json")["splits"]["train"]:
        fields = read_shard(prepared / name).fields
        rows = zip(*(fields[field].rows() for field in FIELDS), strict=True)
        stored.update(tuple(tuple(field.tolist()) for field in row) for row in rows)
    seen = sum((each for each, _, _ in ranks), Counter())
    assert seen.total() == stored.total() // GLOBAL_BATCH * GLOBAL_BATCH
    assert seen <= stored
    assert {each.total() for each, _, _ in ranks} == {seen.total() // RANKS}


def test_ranks_end_with_equal_weights(ranks: list[Trained]) -> None:
    _, quality, weights = ranks[0]
    for _, other_quality, other_weights in ranks[1:]:
        assert other_quality == quality
        for name, weight in weights.items():
            assert (other_weights[name] == weight).all(), name


def test_ranks_end_as_one_that_accumulates(prepared: Path, ranks: list[Trained]) -> None:
    """The same micro-batches, each with its own mean: the same gradients to rounding."""
    torch.set_num_threads(1)
    seen, quality, weights = one_epoch(prepared, 0, 1, RANKS)
    assert seen == sum((each for each, _, _ in ranks), Counter())
    assert quality == pytest.approx(ranks[0][1], abs=0.01)
    for name, weight in weights.items():
        np.testing.assert_allclose(ranks[0][2][name], weight, rtol=0, atol=1e-4, err_msg=name)
