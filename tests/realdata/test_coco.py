"""Genuine COCO 2017 pictures and annotations, prepared, trained on for a block and evaluated."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as official

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tests" / "unit"))

from coco_run import draw, prepare_all  # noqa: E402

from octathlon import registry  # noqa: E402
from octathlon.benchmarks.maskrcnn.data import load_truth  # noqa: E402
from octathlon.config import resolve  # noqa: E402
from octathlon.contracts import Run  # noqa: E402
from octathlon.datasets.coco.backbones import R50, RESNET34  # noqa: E402
from octathlon.datasets.coco.loader import Split  # noqa: E402
from octathlon.harness.events import Events  # noqa: E402
from octathlon.harness.loop import timed_run  # noqa: E402
from octathlon.receipts import read_json  # noqa: E402

SAMPLE = REPOSITORY.parent / "shared" / "realdata" / "coco"

pytestmark = [
    pytest.mark.skipif(not SAMPLE.is_dir(), reason="../shared/realdata is not there"),
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The genuine pictures with drawn backbones, as a mirror would hold them."""
    folder = tmp_path_factory.mktemp("archives")
    drawn = draw(tmp_path_factory.mktemp("drawn"))
    for archive in (*SAMPLE.glob("*.zip"), drawn / RESNET34, drawn / R50):
        (folder / archive.name).symlink_to(archive)
    return prepare_all(folder, tmp_path_factory.mktemp("prepared"))


def test_counts_are_those_of_the_sample(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    assert manifest["counts"] == {"train": {"ssd": 106, "maskrcnn": 106}, "eval": 50}
    assert manifest["annotations"] == {
        "train": {"images": 106, "annotations": 1060, "crowds": 12, "ssd": 106, "maskrcnn": 106},
        "val": {"images": 50, "annotations": 473, "crowds": 6},
    }
    ids = [category["id"] for category in manifest["categories"]]
    assert len(ids) == 80 and set(range(1, 91)) - set(ids) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert manifest["categories"][79] == {"id": 90, "name": "toothbrush"}


def test_pictures_are_byte_for_byte_the_archives(prepared: Path) -> None:
    for name in ("train", "val"):
        ids = Split(prepared, read_json(prepared / "manifest.json"), name).tables.images["id"]
        shards = read_json(prepared / "manifest.json")["splits"][name]
        with zipfile.ZipFile(SAMPLE / f"{name}2017.zip") as archive:
            expected = b"".join(archive.read(f"{name}2017/{identity:012d}.jpg") for identity in ids)
        assert b"".join((prepared / f"{shard}.jpegs").read_bytes() for shard in shards) == expected


def test_polygons_fill_the_published_areas(prepared: Path) -> None:
    """An annotation's area was measured on its mask: ours, filled at the picture's size, has it."""
    with zipfile.ZipFile(SAMPLE / "annotations_trainval2017.zip") as archive:
        document = json.loads(archive.read("annotations/instances_train2017.json"))
    areas = {each["id"]: each["area"] for each in document["annotations"]}
    split = Split(prepared, read_json(prepared / "manifest.json"), "train")
    ratios = []
    for number, image in enumerate(split.tables.images):
        width, height = int(image["width"]), int(image["height"])
        for each in split.tables.of_image(number):
            if not each["crowd"]:
                outline = [part.astype(float).ravel().tolist() for part in split.tables.polygons(each)]
                mask = official.merge(official.frPyObjects(outline, height, width))
                ratios.append((official.area(mask) + 10) / (areas[int(each["id"])] + 10))
    assert len(ratios) == 1048 and np.percentile(ratios, [1, 50, 99]) == pytest.approx([1, 1, 1], abs=0.15)


def test_true_boxes_lie_around_their_outlines(prepared: Path) -> None:
    split = Split(prepared, read_json(prepared / "manifest.json"), "train")
    for number in split.training_images("maskrcnn").tolist():
        for flipped in (False, True):
            truth = load_truth(split, number, 640, 480, flipped)
            for box, parts in zip(truth.boxes.numpy(), truth.polygons, strict=True):
                corners = np.concatenate(parts)
                outer = np.concatenate([corners.min(0), corners.max(0)])
                assert outer == pytest.approx(box - [0, 0, 1, 1], abs=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssd", "maskrcnn"])
def test_a_block_of_training_lowers_the_loss(prepared: Path, name: str) -> None:
    cadence = {"unit": "epochs", "first": 3, "every": 1, "limit": 3}
    settings = resolve("benchmarks", name, "mini", {"cadence": cadence})
    run = Run(
        seed=1, device=torch.device("cpu"), data=prepared, manifest=read_json(prepared / "manifest.json")
    )
    benchmark, losses = registry.benchmark_class(name)(settings, run), []
    compute = benchmark.loss

    def loss(model: torch.nn.Module, batch: object) -> torch.Tensor:
        losses.append(compute(model, batch))
        return losses[-1]

    benchmark.loss = loss
    outcome = timed_run(benchmark, Events([], iter(range(10**6)).__next__))
    values = torch.stack(losses).detach()
    assert values.isfinite().all() and values[-8:].mean() < 0.8 * values[1:5].mean()
    assert all(0 <= value < 0.3 for value in outcome.quality.values())
