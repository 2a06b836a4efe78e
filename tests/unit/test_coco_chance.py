"""What the miniature gives without looking at a picture: far less than its targets ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as rle

from octathlon import config
from octathlon.datasets.coco.prepare import ANNOTATIONS, TRUTH, prepare
from octathlon.datasets.coco.tables import Tables, read_tables
from octathlon.miniatures import coco
from octathlon.nn.coco_evaluation import Evaluation

Detection = tuple[int, np.ndarray, float, int]
"""Image number, box as fractions (left, top, width, height), score, label."""
IDS = [0, *coco.CATEGORIES]
CIRCLE = np.arange(24) * 2 * np.pi / 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coco")
    settings = config.resolve("datasets", "coco", "mini", {})
    coco.draw(ANNOTATIONS, folder, seed=1, **settings.miniature)
    for split in ("train", "val"):
        prepare(f"annotations-{split}", folder, folder, settings)
    return folder


def objects(tables: Tables) -> list[tuple[int, np.ndarray, int]]:
    """Image number, box as fractions, label; without crowds."""
    return [
        (number, each["box"] / sides(tables, number), int(each["label"]))
        for number in range(len(tables.images))
        for each in tables.of_image(number)
        if not each["crowd"]
    ]


def sides(tables: Tables, number: int) -> np.ndarray:
    image = tables.images[number]
    return np.array([image["width"], image["height"]] * 2, float)


def precisions(folder: Path, detections: list[Detection]) -> tuple[float, float]:
    """Box AP, and mask AP of ellipses in the boxes."""
    tables, rows, masks = read_tables(folder, "val"), [], []
    for number, box, score, label in detections:
        image = tables.images[number]
        left, top, width, height = pixels = box * sides(tables, number)
        rows.append([image["id"], *pixels, score, IDS[label]])
        x, y = left + width * (1 + np.cos(CIRCLE)) / 2, top + height * (1 + np.sin(CIRCLE)) / 2
        outline = np.column_stack([x, y]).ravel().tolist()
        masks += rle.frPyObjects([outline], int(image["height"]), int(image["width"]))
    found = torch.tensor(rows, dtype=torch.float64)
    evaluation = Evaluation(folder / TRUTH, torch.device("cpu"))
    return evaluation.boxes(found), evaluation.masks(found, masks)


def test_true_boxes_are_perfect_and_ellipses_in_them_are_not(folder: Path) -> None:
    truth = [(number, box, 1.0, label) for number, box, label in objects(read_tables(folder, "val"))]
    boxes, masks = precisions(folder, truth)
    assert boxes == pytest.approx(1) and masks < 0.5


def test_the_right_labels_and_sizes_at_random_places_find_nothing(folder: Path) -> None:
    rng = np.random.default_rng(1)
    anywhere = [
        (number, np.append(rng.uniform(0, 1 - box[2:]), box[2:]), rng.random(), label)
        for number, box, label in objects(read_tables(folder, "val"))
    ]
    assert max(precisions(folder, anywhere)) < 0.02


def test_constant_detections_find_nothing(folder: Path) -> None:
    """In every picture the same 25 training boxes of each category, those that meet the most others."""
    constant = []
    for label in range(1, 1 + len(coco.DRAWN)):
        boxes = np.array([box for _, box, each in objects(read_tables(folder, "train")) if each == label])
        meeting, left = overlaps(boxes) > 0.5, np.ones(len(boxes), bool)
        for _ in range(25):
            met = meeting & left
            best = met.sum(1).argmax()
            constant.append((boxes[best], met[best].mean(), label))
            left &= ~meeting[best]
    images = range(len(read_tables(folder, "val").images))
    found = precisions(folder, [(number, *each) for number in images for each in constant])
    assert max(found) < 0.02


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of each with each."""
    low, high, areas = boxes[:, :2], boxes[:, :2] + boxes[:, 2:], boxes[:, 2:].prod(1)
    common = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low)).clip(0).prod(2)
    return common / (areas[:, None] + areas - common)
