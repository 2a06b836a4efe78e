"""Mask R-CNN over ranks and micro-batches: ranks share each pass, and come to the weights of one process."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path

import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from test_maskrcnn_proposals import take_the_first
from test_world import on_ranks
from training_on_ranks import digest, steps, trainer_of, weights

from octathlon.benchmarks.maskrcnn.data import Batch
from octathlon.datasets.coco.loader import Split

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

RANKS = 8
SMALL = {"global_batch_size": RANKS, "warmup_steps": 0, "decay_steps": [3, 9]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(draw(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared"))


def first_pass(prepared: Path, **changes: int) -> list[tuple[list[int], float]]:
    """The images and the weight of each micro-batch of a rank's first pass over its part."""
    chosen = benchmark("maskrcnn", prepared, **SMALL | changes)
    keys = takewhile(lambda key: key[0] == 0, chosen._training_keys())
    return [(numbers.tolist(), weight) for _, numbers, weight in keys]


def test_each_image_of_a_pass_comes_once(prepared: Path) -> None:
    split = Split(prepared, benchmark("maskrcnn", prepared).run.manifest, "train")
    images = set(split.training_images("maskrcnn").tolist())
    for world in (1, RANKS):
        seen = Counter(
            number
            for rank in range(world)
            for numbers, _ in first_pass(prepared, rank=rank, world=world)
            for number in numbers
        )
        assert set(seen) == images
        assert seen.total() == -(-len(images) // world) * world  # filled up, for all to have as many
        assert sum(count > 1 for count in seen.values()) == seen.total() - len(images)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_small_batch_weighs_by_its_images(prepared: Path, accumulation: int) -> None:
    """In batches of 4 both orientations leave a rest."""
    changes = {"global_batch_size": 4 * accumulation, "gradient_accumulation_steps": accumulation}
    found = first_pass(prepared, **changes)
    sizes = [len(numbers) for numbers, _ in found]
    assert min(sizes) < max(sizes) == 4
    for start in range(0, len(found) // accumulation * accumulation, accumulation):
        update = found[start : start + accumulation]
        total = sum(len(numbers) for numbers, _ in update)
        assert [weight for _, weight in update] == [len(numbers) / total for numbers, _ in update]


def _epoch(prepared: Path, rank: int) -> tuple[int, list[float], str, dict[str, float]]:
    """The updates of a rank's epoch; its weights after 2, and after all of them; its quality."""
    chosen = benchmark("maskrcnn", prepared, rank=rank, world=RANKS, **SMALL)
    trainer = trainer_of(chosen)
    batches = iter(chosen.train_batches(1))
    early = steps(trainer, islice(batches, 2))
    late = steps(trainer, batches)
    with torch.inference_mode():
        quality = chosen.evaluate(trainer.model.eval())
    return trainer.progress.steps, early.tolist(), digest(late), quality


def _as_one(prepared: Path, updates: int) -> list[Batch]:
    """The micro-batches of all ranks, for one process that accumulates them."""
    ranks = [
        islice(benchmark("maskrcnn", prepared, rank=rank, world=RANKS, **SMALL).train_batches(1), updates)
        for rank in range(RANKS)
    ]
    return [replace(batch, weight=1 / RANKS) for update in zip(*ranks, strict=True) for batch in update]


def test_eight_ranks_are_as_one(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anchors and proposals are not drawn at random: the norms are constant, so all that differs is rounding."""
    take_the_first(monkeypatch)
    ranks = on_ranks(RANKS, tmp_path, lambda rank: _epoch(prepared, rank))
    alone = benchmark("maskrcnn", prepared, **SMALL, gradient_accumulation_steps=RANKS)
    assert {made for made, *_ in ranks} == {alone.sample_counts().train // RANKS + 1}
    assert len({late for _, _, late, _ in ranks}) == 1
    assert all(quality == ranks[0][3] for *_, quality in ranks)
    trainer = trainer_of(alone)
    start = weights(trainer)
    change = steps(trainer, _as_one(prepared, 2)) - start
    for _, early, *_ in ranks:
        assert (torch.tensor(early) - start - change).norm() < 1e-3 * change.norm()
