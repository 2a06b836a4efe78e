"""Annotations that are COCO's but not upstream's: masks as run lengths, ids from 0, own file names."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_run import benchmark, draw, prepare_all
from pycocotools import mask as official
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from octathlon.datasets.coco.loader import Split
from octathlon.datasets.coco.prepare import ANNOTATIONS
from octathlon.datasets.coco.run_lengths import outline, plain_counts
from octathlon.errors import OctathlonError
from octathlon.nn.coco_evaluation import Evaluation
from octathlon.receipts import read_json

Document = dict[str, Any]
SPLITS = ("train", "val")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("archives"))


def documents(archives: Path) -> dict[str, Document]:
    with zipfile.ZipFile(archives / ANNOTATIONS) as archive:
        return {
            split: json.loads(archive.read(f"annotations/instances_{split}2017.json")) for split in SPLITS
        }


def changed(archives: Path, folder: Path, change: Callable[[Document], None]) -> Path:
    """A copy of the archives whose annotations were changed, both splits alike."""
    shutil.copytree(archives, folder)
    with zipfile.ZipFile(folder / ANNOTATIONS, "w") as archive:
        for split, document in documents(archives).items():
            change(document)
            archive.writestr(f"annotations/instances_{split}2017.json", json.dumps(document))
    return folder


def read_officially(document: Document) -> COCO:
    coco = COCO()
    coco.dataset = deepcopy(document)
    coco.createIndex()
    return coco


def packed(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's tools write it."""
    return official.encode(np.asfortranarray(mask.astype(np.uint8)))


def perfect(document: Document) -> tuple[torch.Tensor, list[dict]]:
    """All boxes and masks that are no crowds, as detections; masks filled by COCO's own tools."""
    coco = read_officially(document)
    chosen = [each for each in document["annotations"] if not each["iscrowd"]]
    rows = [[each["image_id"], *each["bbox"], 1, each["category_id"]] for each in chosen]
    return torch.tensor(rows, dtype=torch.float64), [packed(coco.annToMask(each)) for each in chosen]


def officially(document: Document, kind: str, rows: torch.Tensor, masks: list[dict]) -> float:
    """What COCO's own evaluation says of detections."""
    coco = read_officially(document)
    results = [
        {"image_id": int(row[0]), "category_id": int(row[6]), "score": row[5]}
        | ({"bbox": row[1:5]} if kind == "bbox" else {"segmentation": mask})
        for row, mask in zip(rows.tolist(), masks, strict=True)
    ]
    evaluation = COCOeval(coco, coco.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0]


# Run lengths -----------------------------------------------------------------------------------------------------


def masks_of_many_kinds(rng: np.random.Generator) -> list[np.ndarray]:
    """Noise, rings with a hole, blocks that fill whole columns; each with at least one pixel."""
    masks = []
    for _ in range(60):
        height, width = rng.integers(1, 50, 2)
        y, x = np.mgrid[:height, :width] + 0.5
        radius = ((2 * y / height - 1) ** 2 + (2 * x / width - 1) ** 2) ** 0.5
        masks += [rng.random((height, width)) < rng.random(), (radius > 0.4) & (radius < 0.9)]
        masks.append((x > width / 3) & (x < width * rng.random()))
    return [mask for mask in masks if mask.any()]


def test_run_lengths_of_each_spelling_become_the_same_polygon_that_fills_the_mask() -> None:
    """Read as COCO's tools write them, filled as COCO's tools fill it, also when it is enlarged."""
    rng = np.random.default_rng(1)
    for mask in masks_of_many_kinds(rng):
        height, width = map(int, mask.shape)
        text = packed(mask)["counts"].decode()
        counts = plain_counts({"size": [height, width], "counts": text}, height, width)
        assert counts == plain_counts({"size": [height, width], "counts": counts}, height, width)
        plain = official.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        np.testing.assert_array_equal(official.decode(plain), mask)
        factor = int(rng.integers(1, 5))
        polygon = (outline(counts, height) * factor).ravel().tolist()
        (filled,) = official.frPyObjects([polygon], height * factor, width * factor)
        np.testing.assert_array_equal(official.decode(filled), mask.repeat(factor, 0).repeat(factor, 1))


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ("~~", "no compressed text"),
        ("é", "no compressed text"),
        ("o" * 100_000, "no compressed text"),  # a number that never ends
        ("o", "don't fit"),
        ("", "don't fit"),
        ([6, -3, 3], "don't fit"),
        ([6.0], "don't fit"),
        ([7], "don't fit"),
        ([2**64, 6], "don't fit"),
        (None, "don't fit"),
        (6, "don't fit"),
    ],
)
def test_run_lengths_that_are_none_are_refused(counts: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        plain_counts({"size": [2, 3], "counts": counts}, 2, 3)


def as_run_lengths(document: Document) -> None:
    """All outlines as run lengths, every other one compressed, and so all crowds."""
    coco = read_officially(document)
    for number, annotation in enumerate(document["annotations"]):
        mask = coco.annToMask(annotation)
        size, counts = list(mask.shape), packed(mask)["counts"].decode()
        if number % 2 and not annotation["iscrowd"]:
            counts = plain_counts({"size": size, "counts": counts}, *size)
        annotation["segmentation"] = {"size": size, "counts": counts}


@pytest.fixture(scope="module")
def run_lengths(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run lengths")
    return prepare_all(changed(archives, folder / "archives", as_run_lengths), folder / "prepared")


def test_masks_given_as_run_lengths_are_trained_on_to_the_pixel(archives: Path, run_lengths: Path) -> None:
    document = documents(archives)["train"]
    coco = read_officially(document)
    split = Split(run_lengths, read_json(run_lengths / "manifest.json"), "train")
    found = 0
    for number, image in enumerate(split.tables.images):
        for each in split.tables.of_image(number):
            expected = coco.annToMask(coco.anns[int(each["id"])])
            for polygon in split.tables.polygons(each):
                sides = int(image["height"]), int(image["width"])
                (filled,) = official.frPyObjects([polygon.ravel().tolist()], *sides)
                np.testing.assert_array_equal(official.decode(filled), expected)
                found += 1
    assert found == sum(not each["iscrowd"] for each in document["annotations"])


def test_mask_rcnn_learns_from_run_lengths_what_it_learns_from_outlines(
    archives: Path, run_lengths: Path, tmp_path: Path
) -> None:
    """The first batch of both has about the same loss of masks: outlines are finer than pixels."""
    losses = []
    for data in (prepare_all(archives, tmp_path), run_lengths):
        torch.manual_seed(1)
        chosen = benchmark("maskrcnn", data)
        model = chosen.build_model().train()
        batch = next(iter(chosen.train_batches(1)))
        torch.manual_seed(2)
        losses.append(chosen.loss(model, batch).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_truth_in_run_lengths_scores_as_officially(archives: Path, run_lengths: Path) -> None:
    document = documents(archives)["val"]
    as_run_lengths(document)
    rows, masks = perfect(document)
    rows[::3, 1:3] += 4  # not all perfect
    masks[::3] = [packed(np.roll(official.decode(mask), 4, axis=1)) for mask in masks[::3]]
    evaluation = Evaluation(run_lengths / "val-truth.json", torch.device("cpu"))
    found = [evaluation.boxes(rows), evaluation.masks(rows, masks)]
    assert found == pytest.approx(
        [officially(document, kind, rows, masks) for kind in ("bbox", "segm")], abs=1e-9
    )
    assert min(found) > 0.3 and max(found) < 0.9


# Ids -------------------------------------------------------------------------------------------------------------


def from_zero(document: Document) -> None:
    """Images, categories and annotations numbered from 0 on."""
    images = {image["id"]: number for number, image in enumerate(document["images"])}
    categories = {category["id"]: number for number, category in enumerate(document["categories"])}
    for image in document["images"]:
        image["id"] = images[image["id"]]
    for category in document["categories"]:
        category["id"] = categories[category["id"]]
    for number, each in enumerate(document["annotations"]):
        each.update(id=number, image_id=images[each["image_id"]], category_id=categories[each["category_id"]])


def alone(document: Document) -> None:
    """One object with the id 0 in all the pictures."""
    document["annotations"] = [each for each in document["annotations"] if not each["iscrowd"]][:1]
    document["annotations"][0]["id"] = 0


@pytest.mark.parametrize("change", [from_zero, alone])
def test_perfect_detections_score_one_where_ids_start_at_zero(
    archives: Path, tmp_path: Path, change: Callable[[Document], None]
) -> None:
    """An annotation with the id 0 would count as none: 0.997 in place of 1, and 0 for a lone one."""
    prepared = prepare_all(changed(archives, tmp_path / "archives", change), tmp_path / "prepared")
    document = documents(tmp_path / "archives")["val"]
    evaluation = Evaluation(prepared / "val-truth.json", torch.device("cpu"))
    rows, masks = perfect(document)
    assert evaluation.boxes(rows) == evaluation.masks(rows, masks) == pytest.approx(1, abs=1e-12)
    tables = Split(prepared, read_json(prepared / "manifest.json"), "val").tables
    assert sorted(tables.annotations["id"]) == sorted(each["id"] for each in document["annotations"])


# File names ------------------------------------------------------------------------------------------------------


def test_images_with_names_of_their_own_are_found(archives: Path, tmp_path: Path) -> None:
    """In folders, in capitals, with blanks and umlauts; the rest named as upstream's."""

    def own_name(image: int) -> str:
        return f"{image:012d}.jpg" if image % 3 == 0 else f"summer {image % 2}/Grüße {image}.JPEG"

    def rename(document: Document) -> None:
        for image in document["images"]:
            image["file_name"] = own_name(image["id"])

    folder = changed(archives, tmp_path / "archives", rename)
    for split in SPLITS:
        with (
            zipfile.ZipFile(archives / f"{split}2017.zip") as source,
            zipfile.ZipFile(folder / f"{split}2017.zip", "w") as target,
        ):
            for name in source.namelist():
                if name.endswith(".jpg"):
                    target.writestr(f"{split}2017/{own_name(int(Path(name).stem))}", source.read(name))
    ours, theirs = (
        prepare_all(folder, tmp_path / "own"),
        prepare_all(archives, tmp_path / "upstream's"),
    )
    assert read_json(ours / "manifest.json") == read_json(theirs / "manifest.json")


def test_an_image_that_is_not_in_the_archive_is_named(archives: Path, tmp_path: Path) -> None:
    def rename(document: Document) -> None:
        document["images"][0]["file_name"] = "IMG_0001.JPG"

    folder = changed(archives, tmp_path / "archives", rename)
    with pytest.raises(OctathlonError, match=r"train2017.zip: no member train2017/IMG_0001.JPG; "):
        prepare_all(folder, tmp_path / "prepared")
