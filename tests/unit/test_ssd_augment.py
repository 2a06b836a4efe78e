"""Crops against the reference's statistics, colours against torchvision's jitter, boxes against pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from PIL import Image
from torchvision.transforms.v2 import functional

from octathlon.benchmarks.ssd import augment
from octathlon.benchmarks.ssd.data import TrainingBatches, truth
from octathlon.datasets.coco.loader import Split
from octathlon.nn.sampling import all_rank_batches
from octathlon.receipts import read_json

ONE = np.array([[0.25, 0.25, 0.75, 0.75]])
THREE = np.array([[0.05, 0.1, 0.3, 0.5], [0.5, 0.4, 0.95, 0.9], [0.4, 0.1, 0.5, 0.2]])


@pytest.mark.parametrize(
    ("boxes", "tries", "uncropped", "area", "kept"),
    [
        (ONE, 1, 0.306, 0.464, 1.0),
        (ONE, 50, 0.186, 0.426, 1.0),
        (THREE, 1, 0.577, 0.473, 1.88),
        (THREE, 50, 0.502, 0.469, 1.88),
    ],
)
def test_crops_have_the_references_statistics(boxes, tries, uncropped, area, kept) -> None:
    rng, trials = np.random.default_rng(1), 20_000 if tries == 1 else 2_000
    found = [augment.random_crop(rng, boxes, tries) for _ in range(trials)]
    areas = np.array([(window[2] - window[0]) * (window[3] - window[1]) for window, _ in found])
    tolerance = 0.015 if tries == 1 else 0.03
    assert (areas == 1).mean() == pytest.approx(uncropped, abs=tolerance)
    assert areas[areas < 1].mean() == pytest.approx(area, abs=tolerance)
    assert np.mean(
        [chosen.sum() for window, chosen in found if window[2] < 1 or window[0] > 0]
    ) == pytest.approx(kept, abs=2 * tolerance)


def test_crops_keep_boxes_whose_centres_are_inside() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        window, kept = augment.random_crop(rng, THREE, 1)
        centres = (THREE[:, :2] + THREE[:, 2:]) / 2
        assert kept.tolist() == ((centres > window[:2]) & (centres < window[2:])).all(1).tolist()
        cut = augment.cut_boxes(THREE[kept], window)
        assert (cut >= 0).all() and (cut <= 1).all() and (cut[:, 2:] >= cut[:, :2]).all()


def test_resizing_is_pils() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (90, 140, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
    found = augment.resize(torch.from_numpy(pixels).permute(2, 0, 1), 96).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - expected).max() <= 1


class Fixed:
    """A generator whose changes and order are given."""

    def __init__(self, changes: list[float], order: list[int]) -> None:
        self.changes, self.order = changes, order

    def uniform(self, *_: object) -> np.ndarray:
        return np.array(self.changes)

    def permutation(self, _: int) -> np.ndarray:
        return np.array(self.order)


def recoloured(image: torch.Tensor, changes: list[float], order: list[int]) -> torch.Tensor:
    mean = image.float().mean((1, 2)).double().numpy() / 255
    mapped = augment.jitter(Fixed(changes, order), mean)
    return augment.recolour(image[None], torch.from_numpy(mapped[None]).float())[0]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 1, 0, 3], [1, 3, 2, 0]])
def test_brightness_contrast_and_saturation_are_torchvisions(order: list[int]) -> None:
    """Where nothing is clamped on the way."""
    torch.manual_seed(1)
    image = torch.randint(100, 150, (3, 20, 30), dtype=torch.uint8)
    changes = [0.4, -0.6, 0.8, 0.0]
    expected = image.float() / 255
    steps = [
        lambda x: functional.adjust_brightness(x, 1 + 0.125 * changes[0]),
        lambda x: functional.adjust_contrast(x, 1 + 0.5 * changes[1]),
        lambda x: functional.adjust_saturation(x, 1 + 0.5 * changes[2]),
        lambda x: x,
    ]
    for kind in order:
        expected = steps[kind](expected)
    torch.testing.assert_close(recoloured(image, changes, order), expected, atol=2e-3, rtol=0)


def test_half_precision_leaves_colours_alone() -> None:
    images = torch.arange(256, dtype=torch.uint8).expand(1, 3, 4, 256)
    with torch.autocast("cpu", torch.bfloat16):
        found = augment.recolour(images, torch.eye(3, 4)[None])
    torch.testing.assert_close(found, images / 255)


@pytest.mark.parametrize("change", [-1.0, 1.0])
def test_the_hue_turns_as_far_as_torchvisions(change: float) -> None:
    """Around the grey axis instead of the hexagon of HSV: about as far, in the same direction."""
    torch.manual_seed(1)
    image = torch.randint(60, 190, (3, 20, 30), dtype=torch.uint8)
    before, ours = image.float() / 255, recoloured(image, [0, 0, 0, change], [3, 0, 1, 2])
    theirs = functional.adjust_hue(before, 0.05 * change)
    assert torch.corrcoef(torch.stack([(ours - before).flatten(), (theirs - before).flatten()]))[0, 1] > 0.75
    assert (ours - before).norm().item() == pytest.approx((theirs - before).norm().item(), rel=0.3)


def test_the_spread_of_the_jitter_is_torchvisions() -> None:
    from torchvision.transforms.v2 import ColorJitter

    torch.manual_seed(1)
    image = torch.randint(40, 220, (3, 16, 16), dtype=torch.uint8)
    mean, rng = image.float().mean((1, 2)).double().numpy() / 255, np.random.default_rng(1)
    maps = np.stack([augment.jitter(rng, mean) for _ in range(1500)])
    ours = augment.recolour(image.expand(1500, -1, -1, -1), torch.from_numpy(maps).float())
    jitter = ColorJitter(0.125, 0.5, 0.5, 0.05)
    theirs = torch.stack([jitter(image.float() / 255) for _ in range(1500)])
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 0.05
    assert ours.std(0).mean().item() == pytest.approx(theirs.std(0).mean().item(), rel=0.1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(draw(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def split(prepared: Path) -> Split:
    return Split(prepared, read_json(prepared / "manifest.json"), "train")


def test_crowds_are_truth_like_all_others(split: Split) -> None:
    crowds = sum(split.tables.of_image(number)["crowd"].sum() for number in range(40))
    assert crowds and sum(len(truth(split, number)[1]) for number in range(40)) == len(
        split.tables.annotations
    )


def test_boxes_follow_crop_and_flip(split: Split) -> None:
    """What is in a box differs from the border around it; a box that is off is like its surroundings."""
    batches = TrainingBatches(split, 96, 1, seed=3)
    contrast = []
    for epoch in range(6):
        batch = batches[epoch, split.training_images("ssd")[:16].tolist(), 1.0]
        for image, boxes, labels in zip(batch.images.float().numpy(), batch.boxes, batch.labels, strict=True):
            for left, top, right, bottom in (boxes[labels > 0] * 96).round().int().tolist():
                inner = image[:, (3 * top + bottom) // 4 : (top + 3 * bottom) // 4 + 1]
                inner = inner[:, :, (3 * left + right) // 4 : (left + 3 * right) // 4 + 1]
                ground = np.median(image.reshape(3, -1), 1)
                contrast.append(np.abs(np.median(inner.reshape(3, -1), 1) - ground).max())
    assert np.mean(np.array(contrast) > 40) > 0.85


def test_samples_depend_on_seed_epoch_and_number_alone(split: Split) -> None:
    numbers = split.training_images("ssd")[:6].tolist()
    batches = TrainingBatches(split, 96, 1, seed=3)
    alone, together = batches[1, numbers[4:5], 1.0], batches[1, numbers, 1.0]
    assert torch.equal(alone.images[0], together.images[4]) and torch.equal(
        alone.colours[0], together.colours[4]
    )
    assert not torch.equal(batches[2, numbers, 1.0].images, together.images)
    assert not torch.equal(TrainingBatches(split, 96, 1, seed=4)[1, numbers, 1.0].images, together.images)


def test_an_epoch_visits_every_image_on_any_number_of_ranks(prepared: Path) -> None:
    run = benchmark("ssd", prepared, global_batch_size=16)
    order = np.arange(run.sample_counts().train)
    assert len(order) % 16
    for world in (1, 2, 4):
        ranks = [list(all_rank_batches(order, 16 // world, rank, world)) for rank in range(world)]
        assert len({len(batches) for batches in ranks}) == 1
        for step in zip(*ranks, strict=True):
            assert len({len(part) for part in step}) == 1
        assert set(np.concatenate([part for batches in ranks for part in batches]).tolist()) == set(
            order.tolist()
        )
    assert sum(len(batch.images) for batch in run.train_batches(1)) == len(order)
