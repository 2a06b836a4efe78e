"""The miniature is worth its targets: both detectors reach them, broken pipelines stay below.

What only the evaluation gets wrong is tried on one trained model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from coco_run import PICTURES, benchmark, prepare_all

from octathlon import config
from octathlon.benchmarks.maskrcnn import benchmark as heavy
from octathlon.benchmarks.maskrcnn import data as heavy_data
from octathlon.benchmarks.maskrcnn import heads, masks
from octathlon.benchmarks.maskrcnn.boxes import clip
from octathlon.benchmarks.maskrcnn.model import Detections
from octathlon.benchmarks.ssd import augment, boxes, loss
from octathlon.contracts import Benchmark
from octathlon.datasets.coco import loader
from octathlon.datasets.coco.backbones import R50, RESNET34
from octathlon.datasets.coco.tables import Tables, read_tables
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.miniatures import coco

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
]

Quality = dict[str, float]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archives")
    for archive in (*PICTURES, RESNET34, R50):
        coco.draw(archive, folder, seed=1, **config.resolve("datasets", "coco", "mini", {}).miniature)
    return prepare_all(folder, tmp_path_factory.mktemp("prepared"))


def train(
    name: str, prepared: Path, watch: Callable[[Benchmark], None] = lambda _: None
) -> tuple[bool, Quality]:
    """A whole run; returns whether it reached the target, and its last quality."""
    run = benchmark(name, prepared)
    watch(run)
    outcome = timed_run(run, Events([], wall_clock()))
    return outcome.reached, outcome.quality


def with_faults(
    faults: dict[str, Callable[[Benchmark], Any]], found: dict[str, Quality]
) -> Callable[[Benchmark], None]:
    """Makes a benchmark also evaluate with each fault, a context to work in, and note the best it gets."""

    def watch(run: Benchmark) -> None:
        evaluate = run.evaluate

        def evaluate_all(model: torch.nn.Module) -> Quality:
            quality = evaluate(model)
            for name, fault in faults.items():
                with fault(run):
                    broken = evaluate(model)
                found[name] = {key: max(value, found.get(name, broken)[key]) for key, value in broken.items()}
            return quality

        run.evaluate = evaluate_all

    return watch


@contextmanager
def patched(target: Any, name: str, value: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, name, value)
        yield


def sizes(run: Benchmark, change: Callable[[np.ndarray], None]) -> Any:
    """The validation images' sizes as `change` makes them."""
    images = run._validation.tables.images.copy()
    change(images)
    return patched(run._validation, "tables", SimpleNamespace(images=images))


def swap(images: np.ndarray) -> None:
    images["width"], images["height"] = images["height"].copy(), images["width"].copy()


def square(images: np.ndarray) -> None:
    images["width"] = images["height"] = 96


def unmapped(run: Benchmark) -> Any:
    return patched(run, "_categories", torch.arange(len(run._categories)))


def rolled(run: Benchmark) -> Any:
    return patched(run, "_categories", run._categories[[0, 2, 3, 4, 1, 5]])


def corners_as_sizes(run: Benchmark) -> Any:
    """Detections as left, top, right, bottom where COCO wants left, top, width, height."""
    evaluation = run._evaluation
    score = evaluation.boxes

    def wrong(found: torch.Tensor) -> float:
        found = found.clone()
        found[:, 3:5] += found[:, 1:3]
        return score(found)

    return patched(evaluation, "boxes", wrong)


# What is wrong with the training annotations; true boxes are left, top, width, height.


def shuffled_boxes(tables: Tables) -> np.ndarray:
    """As fractions of the pictures, so that none falls out of its own."""
    annotations, images = tables.annotations.copy(), tables.images
    sides = np.stack([images["width"], images["height"]], axis=1).repeat(
        images["last"] - images["first"], axis=0
    )
    sides = np.tile(sides, 2)
    annotations["box"] = np.random.default_rng(1).permutation(annotations["box"] / sides) * sides
    return annotations


def labels_of_another_image(tables: Tables) -> np.ndarray:
    annotations = tables.annotations.copy()
    annotations["label"] = np.roll(annotations["label"], 5)  # no picture has as many
    return annotations


def sizes_as_corners(tables: Tables) -> np.ndarray:
    annotations = tables.annotations.copy()
    annotations["box"][:, 2:] += annotations["box"][:, :2]
    return annotations


WRONG_ANNOTATIONS = (shuffled_boxes, labels_of_another_image, sizes_as_corners)


@pytest.mark.parametrize(("name", "metric", "bound"), [("ssd", "mAP", 0.2), ("maskrcnn", "BBOX", 0.25)])
@pytest.mark.parametrize("wrong", WRONG_ANNOTATIONS)
def test_wrong_annotations_miss_the_target(
    prepared: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[Tables], np.ndarray],
    name: str,
    metric: str,
    bound: float,
) -> None:
    def read(folder: Path, split: str) -> Tables:
        tables = read_tables(folder, split)
        return replace(tables, annotations=wrong(tables)) if split == "train" else tables

    monkeypatch.setattr(loader, "read_tables", read)
    reached, quality = train(name, prepared)
    assert not reached and quality[metric] < bound


# SSD -----------------------------------------------------------------------------------------------------


def test_ssd_reaches_its_target_and_a_broken_evaluation_does_not(prepared: Path) -> None:
    decode = boxes.decode
    found: dict[str, Quality] = {}
    faults = {
        "no suppression": lambda _: patched(boxes, "NMS_IOU", 1.0),
        "labels instead of ids": unmapped,
        "ids in another order": rolled,
        "corners as sizes": corners_as_sizes,
        "not rescaled": lambda run: sizes(run, square),
        "width and height swapped": lambda run: sizes(run, swap),
        "variances forgotten": lambda _: patched(
            boxes,
            "decode",
            lambda offsets, defaults: decode(offsets * torch.tensor([10, 10, 5, 5]), defaults),
        ),
    }
    reached, quality = train("ssd", prepared, with_faults(faults, found))
    assert reached and quality["mAP"] >= 0.45
    assert found["no suppression"]["mAP"] < 0.39
    assert all(found[name]["mAP"] < 0.1 for name in faults if name != "no suppression")


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        (augment, "flip_boxes", lambda boxes: boxes),
        (augment, "cut_boxes", lambda boxes, window: boxes),
        (loss, "NEGATIVES", 0),
        (loss, "NEGATIVES", 10**6),
    ],
    ids=["boxes not flipped", "boxes not cut", "no negatives", "all negatives"],
)
def test_ssd_misses_its_target_with_broken_training(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, wrong: Any
) -> None:
    monkeypatch.setattr(module, name, wrong)
    reached, quality = train("ssd", prepared)
    assert not reached and quality["mAP"] < 0.43


# Mask R-CNN ----------------------------------------------------------------------------------------------


def full_boxes(masks_found: torch.Tensor, corners: torch.Tensor, size: tuple[int, int]) -> Any:
    return masks.paste(torch.ones_like(masks_found), corners, size)


def ellipses(masks_found: torch.Tensor, corners: torch.Tensor, size: tuple[int, int]) -> Any:
    places = (torch.arange(masks.SIDE) + 0.5) / masks.SIDE * 2 - 1
    ellipse = (places[:, None] ** 2 + places**2 < 1).float()
    return masks.paste(ellipse.expand_as(masks_found), corners, size)


def not_rescaled(run: Benchmark) -> Any:
    in_picture = run._in_picture

    def wrong(number: int, _size: tuple[int, int], found: Detections) -> Any:
        image = run._validation.tables.images[number]
        size = int(image["height"]), int(image["width"])
        return in_picture(
            number, size, replace(found, boxes=clip(found.boxes[None], torch.tensor([size]))[0])
        )

    return patched(run, "_in_picture", wrong)


def test_maskrcnn_reaches_its_targets_and_a_broken_evaluation_does_not(prepared: Path) -> None:
    found: dict[str, Quality] = {}
    faults = {
        "no suppression": lambda _: patched(heads, "NMS_IOU", 1.0),
        "labels instead of ids": unmapped,
        "ids in another order": rolled,
        "corners as sizes": corners_as_sizes,
        "not rescaled": not_rescaled,
        "whole boxes as masks": lambda _: patched(heavy, "paste", full_boxes),
        "ellipses as masks": lambda _: patched(heavy, "paste", ellipses),
    }
    reached, quality = train("maskrcnn", prepared, with_faults(faults, found))
    assert reached and quality["BBOX"] >= 0.48 and quality["SEGM"] >= 0.47
    for name in ("labels instead of ids", "ids in another order", "not rescaled"):
        assert max(found[name].values()) < 0.15
    assert found["corners as sizes"]["BBOX"] < 0.1
    assert found["no suppression"]["BBOX"] < 0.42 and found["no suppression"]["SEGM"] < 0.4
    assert found["whole boxes as masks"]["SEGM"] < 0.3
    assert found["ellipses as masks"]["SEGM"] < 0.39


@pytest.mark.parametrize("boxes_too", [False, True], ids=["outlines", "boxes and outlines"])
def test_maskrcnn_misses_its_targets_with_truth_that_is_not_flipped(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, boxes_too: bool
) -> None:
    load_truth = heavy_data.load_truth

    def wrong(*arguments: Any) -> heavy_data.Truth:
        right, still = load_truth(*arguments), load_truth(*arguments[:-1], False)
        return still if boxes_too else replace(right, polygons=still.polygons)

    monkeypatch.setattr(heavy_data, "load_truth", wrong)
    reached, quality = train("maskrcnn", prepared)
    assert not reached and quality["SEGM"] < 0.38
