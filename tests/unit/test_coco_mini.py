"""The miniature is worth its targets: both detectors reach them, broken pipelines stay below.

What only the evaluation gets wrong is tried on one trained model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from coco_run import PICTURES, benchmark, prepare_all

from octathlon import config
from octathlon.benchmarks.maskrcnn import data as heavy_data
from octathlon.benchmarks.maskrcnn import masks
from octathlon.benchmarks.ssd import augment, boxes, loss
from octathlon.contracts import Benchmark
from octathlon.datasets.coco.backbones import R50, RESNET34
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


def test_ssd_reaches_its_target_and_a_broken_evaluation_does_not(prepared: Path) -> None:
    decode = boxes.decode
    found: dict[str, Quality] = {}
    faults = {
        "no suppression": lambda _: patched(boxes, "NMS_IOU", 1.0),
        "labels instead of ids": unmapped,
        "not rescaled": lambda run: sizes(run, square),
        "width and height swapped": lambda run: sizes(run, swap),
        "variances forgotten": lambda _: patched(
            boxes,
            "decode",
            lambda offsets, defaults: decode(offsets * torch.tensor([10, 10, 5, 5]), defaults),
        ),
    }
    reached, quality = train("ssd", prepared, with_faults(faults, found))
    assert reached and quality["mAP"] >= 0.35
    assert found["no suppression"]["mAP"] < 0.345
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
    assert not reached and quality["mAP"] < 0.3


def full_boxes(masks_found: torch.Tensor, corners: torch.Tensor, size: tuple[int, int]) -> Any:
    return masks.paste(torch.ones_like(masks_found), corners, size)


def test_maskrcnn_reaches_its_targets_and_a_broken_evaluation_does_not(prepared: Path) -> None:
    from octathlon.benchmarks.maskrcnn import benchmark as heavy

    found: dict[str, Quality] = {}
    faults = {
        "labels instead of ids": unmapped,
        "whole boxes as masks": lambda _: patched(heavy, "paste", full_boxes),
    }
    reached, quality = train("maskrcnn", prepared, with_faults(faults, found))
    assert reached and quality["BBOX"] >= 0.38 and quality["SEGM"] >= 0.28
    assert max(found["labels instead of ids"].values()) < 0.15
    assert found["whole boxes as masks"]["SEGM"] < 0.25


def test_maskrcnn_misses_its_targets_with_outlines_that_are_not_flipped(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_truth = heavy_data.load_truth

    def wrong(*arguments: Any) -> heavy_data.Truth:
        truth = load_truth(*arguments)
        return heavy_data.Truth(truth.boxes, truth.labels, load_truth(*arguments[:-1], False).polygons)

    monkeypatch.setattr(heavy_data, "load_truth", wrong)
    reached, quality = train("maskrcnn", prepared)
    assert not reached and quality["SEGM"] < 0.3
