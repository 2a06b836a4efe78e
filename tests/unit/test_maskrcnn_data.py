"""Sizes, boxes, outlines and batches of Mask R-CNN, against the reference's examples and against filled pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from PIL import Image
from pycocotools import mask as official

from octathlon.benchmarks.maskrcnn import data
from octathlon.benchmarks.maskrcnn.data import Images, collate, grouped_batches, load_truth, resized
from octathlon.datasets.coco.loader import Split
from octathlon.receipts import read_json

MEAN = torch.tensor(data.MEAN_BGR).view(3, 1, 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(draw(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def split(prepared: Path) -> Split:
    return Split(prepared, read_json(prepared / "manifest.json"), "train")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (1066, 800)),
        ((500, 375), (1066, 800)),
        ((640, 427), (1199, 800)),
        ((640, 360), (1333, 750)),
        ((612, 612), (800, 800)),
        ((1024, 300), (1334, 391)),  # one more than the longest: the reference rounds so
        ((640, 383), (1333, 798)),
        ((480, 640), (800, 1066)),
        ((1200, 800), (1200, 800)),
    ],
)
def test_images_are_resized_by_the_references_rule(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized(*size, 800, 1333) == expected


class OneBox:
    """A split of one image of 640 x 480 with one box."""

    def __init__(self) -> None:
        from octathlon.datasets.coco.tables import ANNOTATION, IMAGE, Tables

        images = np.array([(1, 640, 480, 0, 1)], IMAGE)
        annotations = np.array([(1, 7, False, (10, 20, 30, 40), 0, 1)], ANNOTATION)
        points = np.array([[10, 20], [40, 20], [40, 60]], np.float32)
        self.tables = Tables(images, annotations, np.array([0, 3]), points)


def test_boxes_and_outlines_are_scaled_and_flipped_as_in_the_reference() -> None:
    truth = load_truth(OneBox(), 0, 640, 480, flipped=True)
    assert (truth.boxes - torch.tensor([0, 0, 1, 1])).tolist() == [[600, 20, 629, 59]]
    assert truth.polygons[0][0].tolist() == [[629, 20], [599, 20], [599, 60]]
    truth = load_truth(OneBox(), 0, 1066, 800, flipped=False)
    expected = (16.65625, 33.333332, 64.959373, 98.333328)
    assert (truth.boxes - torch.tensor([0, 0, 1, 1]))[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_images_stay_channels_last_and_are_resized_as_pil_does_it(split: Split) -> None:
    image, found = split.image(0), data.load_image(split, 0, 96, 128)
    size = (found.shape[2], found.shape[1])
    expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BILINEAR)
    assert (found.permute(1, 2, 0).int() - torch.from_numpy(np.array(expected)).int()).abs().max() <= 1
    pixels = collate([found, found.flip(2)]).pixels
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    assert found.stride(0) == 1  # else a copy of each would turn it


def test_outlines_fill_what_the_picture_shows_even_flipped(split: Split) -> None:
    """An object's pixels differ from what surrounds it: a mask that is off by a flip or a scale does not."""
    contrast = []
    for number in split.training_images("maskrcnn")[:20].tolist():
        for flipped in (False, True):
            image = data.load_image(split, number, 96, 128)
            image = (image.flip(2) if flipped else image).float().numpy()
            height, width = image.shape[1:]
            truth = load_truth(split, number, width, height, flipped)
            for parts in truth.polygons:
                outline = [part.astype(float).ravel().tolist() for part in parts]
                mask = official.decode(official.merge(official.frPyObjects(outline, height, width))).astype(
                    bool
                )
                contrast.append(np.abs(np.median(image[:, mask], 1) - np.median(image[:, ~mask], 1)).max())
    assert np.median(contrast) > 90 and np.mean(np.array(contrast) > 40) > 0.95


def test_crowds_are_no_truth(split: Split) -> None:
    for number in range(40):
        labels = load_truth(split, number, 100, 100, False).labels
        assert len(labels) == (~split.tables.of_image(number)["crowd"]).sum()


@pytest.fixture
def filled_memory() -> Iterator[None]:
    """PyTorch fills new tensors, with 255 where they are bytes."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("filled_memory")
def test_batches_are_padded_with_zeros_to_multiples_of_32() -> None:
    images = collate(
        [torch.full((3, 40, 100), 255, dtype=torch.uint8), torch.full((3, 96, 50), 255, dtype=torch.uint8)]
    )
    assert images.pixels.sum() == 3 * 255 * (40 * 100 + 96 * 50)
    assert images.pixels.shape == (2, 3, 96, 128) and images.sizes.tolist() == [[40, 100], [96, 50]]
    pixels = images.normalised(MEAN, torch.channels_last).pixels
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([255 - 102.9801, 255 - 115.9465, 255 - 122.7717])
    assert not pixels[0, :, 40:].any() and not pixels[0, :, :, 100:].any() and not pixels[1, :, :, 50:].any()
    assert pixels[0, :, :40, :100].all() and pixels[1, :, :96, :50].all()


def test_colours_are_in_the_order_blue_green_red() -> None:
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 255
    pixels = Images(red, torch.tensor([[32, 32]])).normalised(MEAN, torch.channels_last).pixels[0, :, 0, 0]
    assert pixels.tolist() == pytest.approx([-102.9801, -115.9465, 255 - 122.7717])


def test_batches_hold_one_orientation_and_all_images_once() -> None:
    rng = np.random.default_rng(1)
    numbers, portrait = rng.permutation(103), rng.random(103) < 0.4
    batches = list(grouped_batches(numbers, portrait, 4))
    where = {number: position for position, number in enumerate(numbers.tolist())}
    kinds = [{bool(portrait[where[number]]) for number in batch.tolist()} for batch in batches]
    assert all(len(kind) == 1 for kind in kinds)
    assert sorted(np.concatenate(batches).tolist()) == list(range(103))
    firsts = [where[batch[0]] for batch in batches]
    assert firsts == sorted(firsts)
    assert sum(len(batch) < 4 for batch in batches) <= 2


def test_an_epoch_is_a_number_of_steps_and_passes_go_on(prepared: Path) -> None:
    """One step more than there are full batches."""
    run = benchmark("maskrcnn", prepared)
    steps = run.sample_counts().train // run.settings.global_batch_size + 1
    first = [batch for batch in run.train_batches(1)]
    assert len(first) == steps and len(list(run.train_batches(2))) == steps


def test_ranks_share_each_pass(prepared: Path) -> None:
    """Contiguous parts of one permutation, so that over two ranks every image comes up."""
    seen = []
    for rank in range(2):
        run = benchmark("maskrcnn", prepared, rank=rank, world=2)
        keys, parts = run._training_keys(), []
        for turn, numbers, _ in keys:
            if turn:
                break
            parts += numbers.tolist()
        seen.append(parts)
    assert len(seen[0]) == len(seen[1])
    assert set(seen[0] + seen[1]) == set(run._training_split.training_images("maskrcnn").tolist())


def test_evaluation_sees_each_image_once_and_keeps_orientations_apart(prepared: Path) -> None:
    """Over two ranks, whose shares are as even as can be."""
    images = Split(prepared, read_json(prepared / "manifest.json"), "val").tables.images
    upright = images["height"] >= images["width"]
    assert 0 < upright.sum() < len(images)
    batches = [benchmark("maskrcnn", prepared, rank=rank, world=2)._evaluation_keys for rank in range(2)]
    assert all(len(set(upright[batch])) == 1 for share in batches for batch in share)
    assert [sum(map(len, share)) for share in batches] == [12, 12]
    assert sorted(number for share in batches for batch in share for number in batch) == list(range(24))


def test_the_synthetic_batch_is_as_large_as_any(prepared: Path) -> None:
    """At full scale an image of 1,333 pixels is padded to 1,344."""
    sizes = {"min_image_size": 800, "max_image_size": 1333, "global_batch_size": 2}
    pixels = benchmark("maskrcnn", prepared, **sizes).synthetic_batch().images.pixels
    assert pixels.shape == (2, 3, 800, 1344)
    assert resized(640, 384, 800, 1333) == (1333, 800)
