"""SSD over ranks and micro-batches: global batches end with the epoch, fragments weigh by their images, and ranks see
what one process sees and come to the weights that it comes to."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from test_world import on_ranks
from training_on_ranks import digest, steps, trainer_of, weights

from octathlon.benchmarks.ssd.benchmark import LightDetection
from octathlon.config import resolve
from octathlon.contracts import Run

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

IMAGES = 117_266
PARTS = 8
"""Of a global batch: micro-batches, or ranks, or both."""
SMALL = {"global_batch_size": 16, "warmup_epochs": 0.01}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """35 training images with objects: two global batches of 16 and a last one of 3."""
    return prepare_all(draw(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared"))


def full(rank: int = 0, world: int = 1, accumulation: int = 1) -> LightDetection:
    settings = resolve("benchmarks", "ssd", "full", {"gradient_accumulation_steps": accumulation})
    manifest = {"counts": {"train": {"ssd": IMAGES}, "eval": 5000}, "categories": [{"id": 1}]}
    device = torch.device("cpu")
    return LightDetection(settings, Run(seed=1, device=device, rank=rank, world=world, manifest=manifest))


@pytest.mark.parametrize(
    ("world", "accumulation", "local", "count", "last"),
    [
        (1, 1, 912, 129, [530]),
        (8, 1, 114, 129, [67]),  # 6 images are seen twice: 530 is no multiple of 8
        (1, 8, 114, 1029, [114, 114, 114, 114, 74]),
        (8, 2, 57, 258, [57, 10]),
    ],
)
def test_an_epoch_is_129_updates_at_full_size(
    world: int, accumulation: int, local: int, count: int, last: list[int]
) -> None:
    """117,266 images in batches of 912: 128 whole ones, and 530 images."""
    chosen = full(world - 1, world, accumulation)
    chosen._training_split = SimpleNamespace(training_images=lambda _name: np.arange(IMAGES))
    stream = chosen._training_keys(1)
    for epoch in (1, 2):
        keys = list(islice(stream, count))
        assert {key[0] for key in keys} == {epoch}
        sizes = [len(numbers) for _, numbers, _ in keys]
        assert sizes == [local] * (128 * accumulation) + last
        shares = [weight for _, _, weight in keys]
        assert shares[: 128 * accumulation] == [1 / accumulation] * (128 * accumulation)
        assert shares[128 * accumulation :] == [size / sum(last) for size in last]


def test_the_trainer_updates_at_the_end_of_each_global_batch(prepared: Path) -> None:
    """Three updates an epoch, of 8, 8 and 2 micro-batches; the very last has one image, the others two."""
    chosen = benchmark("ssd", prepared, **SMALL, gradient_accumulation_steps=8)
    trainer = trainer_of(chosen)
    for epoch in (1, 2):
        made = []
        for batch in chosen.train_batches(epoch):
            trainer.step(batch)
            made.append(trainer.progress.steps - 3 * (epoch - 1))
        assert made == [0] * 7 + [1] * 8 + [2] * 2 + [3]
        trainer.end_epoch()


def test_micro_batches_change_no_update(prepared: Path) -> None:
    """With constant norms each update is that of the whole global batch, also the last one: 3 images as 2 and 1."""
    found = []
    for accumulation in (1, 8):
        chosen = benchmark("ssd", prepared, **SMALL, gradient_accumulation_steps=accumulation)
        trainer = trainer_of(chosen)
        trainer.model.eval()
        start = weights(trainer)
        found.append(steps(trainer, chosen.train_batches(1)) - start)
    assert (found[0] - found[1]).norm() < 1e-4 * found[0].norm()


def _epoch(prepared: Path, rank: int, world: int) -> tuple[list[str], list[float], str, dict[str, float]]:
    """The images that a rank sees in an epoch; its weights after 2, and after all, updates; its quality."""
    accumulation = PARTS // world
    over = {**SMALL, "gradient_accumulation_steps": accumulation}
    chosen = benchmark("ssd", prepared, rank=rank, world=world, **over)
    trainer = trainer_of(chosen)
    batches = list(chosen.train_batches(1))
    early = steps(trainer, batches[: 2 * accumulation])
    late = steps(trainer, batches[2 * accumulation :])
    with torch.inference_mode():
        quality = chosen.evaluate(trainer.model.eval())
    seen = [digest(image) for batch in batches for image in batch.images]
    return seen, early.tolist(), digest(late), quality


@pytest.mark.parametrize("world", [8, 2])
def test_ranks_are_as_one(prepared: Path, tmp_path: Path, world: int) -> None:
    """A rank's batch norms see its 2 images, as those of one process see a micro-batch of 2: equal but for rounding."""
    ranks = on_ranks(world, tmp_path, lambda rank: _epoch(prepared, rank, world))
    alone = benchmark("ssd", prepared, **SMALL, gradient_accumulation_steps=PARTS)
    trainer = trainer_of(alone)
    batches = list(alone.train_batches(1))

    images = Counter(digest(image) for batch in batches for image in batch.images)
    seen = Counter(image for one, *_ in ranks for image in one)
    assert len(images) == 35 and set(seen) == set(images)
    assert seen.total() == {8: 40, 2: 36}[world]  # the last batch of 3 is filled up to be shared
    assert max(seen.values()) == 2

    assert len({late for _, _, late, _ in ranks}) == 1
    assert all(quality == ranks[0][3] for *_, quality in ranks)
    start = weights(trainer)
    change = steps(trainer, batches[: 2 * PARTS]) - start
    for _, early, *_ in ranks:
        assert (torch.tensor(early) - start - change).norm() < 1e-3 * change.norm()
