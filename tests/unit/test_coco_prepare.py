"""Miniature COCO archives -> tables, JPEGs, lists of training images; and archives that are wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_run import PICTURES, SIZES, draw, prepare_all
from PIL import Image
from pycocotools import mask as official
from pycocotools.coco import COCO

from octathlon.config import resolve
from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.loader import Split
from octathlon.datasets.coco.prepare import ANNOTATIONS, prepare
from octathlon.datasets.coco.tables import read_array
from octathlon.errors import OctathlonError
from octathlon.miniatures import coco as miniature
from octathlon.receipts import read_json


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def prepared(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_all(archives, tmp_path_factory.mktemp("prepared"))


def instances(archives: Path, split: str = "train") -> dict[str, Any]:
    with zipfile.ZipFile(archives / ANNOTATIONS) as archive:
        return json.loads(archive.read(f"annotations/instances_{split}2017.json"))


def split_of(prepared: Path, name: str = "train") -> Split:
    return Split(prepared, read_json(prepared / "manifest.json"), name)


# The miniature ---------------------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_bytes(archives: Path, tmp_path: Path) -> None:
    for archive in PICTURES:
        miniature.draw(archive, tmp_path, seed=1, **SIZES)
        assert (tmp_path / archive).read_bytes() == (archives / archive).read_bytes()
        miniature.draw(archive, tmp_path, seed=2, **SIZES)
        assert (tmp_path / archive).read_bytes() != (archives / archive).read_bytes()


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_miniature_has_upstreams_traps(archives: Path, split: str) -> None:
    document = instances(archives, split)
    annotated = {each["image_id"] for each in document["annotations"]}
    alone = {
        image
        for image in annotated
        if all(each["iscrowd"] for each in document["annotations"] if each["image_id"] == image)
    }
    assert len(document["images"]) == SIZES[f"{split}_images"]
    assert {image["id"] for image in document["images"]} - annotated  # without annotations
    assert alone  # nothing but a crowd
    assert any(len(each["segmentation"]) > 1 for each in document["annotations"] if not each["iscrowd"])
    ids = [category["id"] for category in document["categories"]]
    assert ids != list(range(1, len(ids) + 1))
    assert set(ids) - {each["category_id"] for each in document["annotations"]}  # one that never occurs
    order = [image["id"] for image in document["images"]]
    assert order != sorted(order)


def test_pictures_are_jpegs_of_the_announced_sizes_and_one_is_grey(archives: Path) -> None:
    sizes = {image["file_name"]: (image["width"], image["height"]) for image in instances(archives)["images"]}
    modes = []
    with zipfile.ZipFile(archives / "train2017.zip") as archive:
        for name, size in sizes.items():
            with archive.open(f"train2017/{name}") as file, Image.open(file) as image:
                assert image.format == "JPEG" and image.size == size
                modes.append(image.mode)
    assert modes.count("L") == 1 and modes.count("RGB") == len(modes) - 1


def test_masks_boxes_and_areas_agree(archives: Path) -> None:
    """COCO's own tools fill the polygons and crowds to what the annotation says."""
    document = instances(archives)
    coco = COCO()
    coco.dataset = document
    coco.createIndex()
    for annotation in document["annotations"]:
        pixels = coco.annToMask(annotation)
        y, x = pixels.nonzero()
        left, top, width, height = annotation["bbox"]
        assert pixels.sum() == pytest.approx(annotation["area"], rel=0.2, abs=12)
        assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == pytest.approx(
            [left, top, left + width, top + height], abs=2
        )


# Preparation -----------------------------------------------------------------------------------------------------


def test_the_manifest_counts_what_the_archives_hold(archives: Path, prepared: Path) -> None:
    manifest, document = read_json(prepared / "manifest.json"), instances(archives)
    annotated = {each["image_id"] for each in document["annotations"]}
    not_crowds = {each["image_id"] for each in document["annotations"] if not each["iscrowd"]}
    assert manifest["counts"] == {"train": {"ssd": len(annotated), "maskrcnn": len(not_crowds)}, "eval": 24}
    assert len(not_crowds) < len(annotated) < 40
    assert [category["id"] for category in manifest["categories"]] == [2, 5, 9, 11, 13]
    assert set(manifest["shards"]) == {path.name for path in prepared.iterdir() if path.is_file()} - {
        "manifest.json"
    }


def test_images_are_byte_for_byte_the_archives(archives: Path, prepared: Path) -> None:
    for name in ("train", "val"):
        split = split_of(prepared, name)
        stored = b"".join(
            (prepared / f"{shard}.jpegs").read_bytes()
            for shard in read_json(prepared / "manifest.json")["splits"][name]
        )
        with zipfile.ZipFile(archives / f"{name}2017.zip") as archive:
            expected = [
                archive.read(f"{name}2017/{identity:012d}.jpg") for identity in split.tables.images["id"]
            ]
            assert b"".join(expected) == stored
            for number in (0, len(expected) // 2, len(expected) - 1):
                with archive.open(f"{name}2017/{split.tables.images['id'][number]:012d}.jpg") as file:
                    pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
                assert (split.image(number).int() - pixels.int()).abs().max() <= 2


def test_tables_hold_the_annotations(archives: Path, prepared: Path) -> None:
    tables, document = split_of(prepared).tables, instances(archives)
    by_id = {each["id"]: each for each in document["annotations"]}
    labels = {2: 1, 5: 2, 9: 3, 11: 4, 13: 5}
    found = 0
    assert tables.images["id"].tolist() == sorted(image["id"] for image in document["images"])
    for number, image in enumerate(tables.images):
        for each in tables.of_image(number):
            original = by_id[int(each["id"])]
            assert original["image_id"] == image["id"] and labels[original["category_id"]] == each["label"]
            assert original["bbox"] == each["box"].tolist() and original["iscrowd"] == each["crowd"]
            expected = [] if each["crowd"] else original["segmentation"]
            polygons = [polygon.ravel().tolist() for polygon in tables.polygons(each)]
            assert polygons == [pytest.approx(polygon, rel=1e-6) for polygon in expected]
            found += 1
    assert found == len(document["annotations"])


def test_the_truth_is_the_validation_set_with_its_crowds(archives: Path, prepared: Path) -> None:
    truth, document = json.loads((prepared / "val-truth.json").read_text()), instances(archives, "val")
    assert len(truth["images"]) == 24
    assert sorted(each["id"] for each in truth["annotations"]) == sorted(
        each["id"] for each in document["annotations"]
    )
    crowd = next(each for each in truth["annotations"] if each["iscrowd"])
    height, width = crowd["segmentation"]["size"]
    assert official.decode(official.frPyObjects(crowd["segmentation"], height, width)).sum() == crowd["area"]


def test_the_number_of_shards_changes_nothing_that_is_read(
    archives: Path, prepared: Path, tmp_path: Path
) -> None:
    other = prepare_all(archives, tmp_path, train_shards=5)
    ours, theirs = split_of(prepared), split_of(other)
    for number in range(40):
        assert torch.equal(ours.image(number), theirs.image(number))


def test_boxes_of_mask_rcnn_are_inclusive_clipped_and_have_an_area() -> None:
    boxes = np.array(
        [[10, 20, 30, 40], [5.5, 6.5, 0.5, 10], [-3, -4, 10, 10], [630, 470, 50, 50], [1, 1, 1, 0]]
    )
    corners, usable = inclusive_boxes(boxes, np.array(640), np.array(480))
    assert corners[0].tolist() == [10, 20, 39, 59]
    assert corners[2].tolist() == [0, 0, 6, 5] and corners[3].tolist() == [630, 470, 639, 479]
    assert usable.tolist() == [True, False, True, True, False]


# Archives that are wrong -----------------------------------------------------------------------------------------


def damaged(archives: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the archives whose training annotations were changed."""
    for archive in archives.iterdir():
        if archive.name != ANNOTATIONS:
            (folder / archive.name).symlink_to(archive)
    documents = {split: instances(archives, split) for split in ("train", "val")}
    change(documents["train"])
    with zipfile.ZipFile(folder / ANNOTATIONS, "w") as archive:
        for split, document in documents.items():
            archive.writestr(f"annotations/instances_{split}2017.json", json.dumps(document))
    return folder


def first(document: dict[str, Any], crowd: int = 0) -> dict[str, Any]:
    return next(each for each in document["annotations"] if each["iscrowd"] == crowd)


def empty(document: dict[str, Any]) -> dict[str, Any]:
    """Run lengths of nothing, for the image of the first crowd."""
    height, width = first(document, 1)["segmentation"]["size"]
    return {"size": [height, width], "counts": [height * width]}


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "image": (
        lambda d: first(d).update(image_id=999_999),
        r"annotation \d+ of image 999999 is of an image that",
    ),
    "category": (
        lambda d: first(d).update(category_id=3),
        r"annotation \d+ of image \d+ has the unknown category 3",
    ),
    "side": (
        lambda d: first(d)["bbox"].__setitem__(2, -1),
        r"annotation \d+ of image \d+ has the impossible box",
    ),
    "box": (lambda d: first(d).update(bbox=[1, 2, 3]), r"annotation \d+ of image \d+ has the impossible box"),
    "polygon": (
        lambda d: first(d).update(segmentation=[[1, 2, 3, 4]]),
        r"of image \d+ has a polygon of less than",
    ),
    "runs": (
        lambda d: first(d, 1)["segmentation"]["counts"].append(5),
        r"of image \d+ has run lengths that don't",
    ),
    "twice": (lambda d: d["images"].append(dict(d["images"][0])), r"image \d+ is there twice"),
    "key": (lambda d: d["images"][0].pop("width"), r"image \d+ has no 'width'"),
    "type": (lambda d: d.update(annotations=5), "not of the shape that it should have"),
    "name": (
        lambda d: d["images"][0].update(file_name="../x.jpg"),
        r"image \d+ has the file name '../x.jpg'",
    ),
    "none": (lambda d: d.update(annotations=[]), "no annotation"),
    "list": (lambda d: d.update(annotations=[7]), "not of the shape that it should have"),
    "far polygon": (
        lambda d: first(d)["segmentation"][0].__setitem__(0, 3.5e8),
        r"annotation \d+ of image \d+ has a polygon with a corner far outside of the image",
    ),
    "far box": (lambda d: first(d)["bbox"].__setitem__(1, -1e6), r"of image \d+ has the impossible box"),
    "wide box": (lambda d: first(d)["bbox"].__setitem__(2, 1e30), r"of image \d+ has the impossible box"),
    "null in a box": (lambda d: first(d)["bbox"].__setitem__(2, None), r"\d+ has the impossible box"),
    "text in a box": (lambda d: first(d)["bbox"].__setitem__(2, "7"), r"\d+ has the impossible box"),
    "null box": (lambda d: first(d).update(bbox=None), r"of image \d+ has the impossible box None"),
    "null corner": (
        lambda d: first(d)["segmentation"][0].__setitem__(0, None),
        r"\d+ has a polygon .* of what are no numbers",
    ),
    "text corner": (
        lambda d: first(d)["segmentation"][0].__setitem__(0, "3"),
        r"\d+ has a polygon .* of what are no numbers",
    ),
    "corner NaN": (lambda d: first(d)["segmentation"][0].__setitem__(0, np.nan), "no JSON"),
    "corner infinite": (
        lambda d: first(d)["segmentation"][0].__setitem__(0, -np.inf),
        "no JSON",
    ),
    "odd polygon": (lambda d: first(d)["segmentation"][0].append(1.0), r"\d+ has a polygon of less than"),
    "nested polygon": (lambda d: first(d).update(segmentation=[[[1, 2], [3, 4], [5, 6]]]), "has a polygon"),
    "null polygon": (lambda d: first(d).update(segmentation=[None]), r"of image \d+ has a polygon"),
    "no polygon": (lambda d: first(d).update(segmentation=[]), r"image \d+ has the segmentation \[\]"),
    "null segmentation": (
        lambda d: first(d).update(segmentation=None),
        r"image \d+ has the segmentation None",
    ),
    "no segmentation": (lambda d: first(d).pop("segmentation"), r"image \d+ has no 'segmentation'"),
    "no box": (lambda d: first(d).pop("bbox"), r"annotation \d+ of image \d+ has no 'bbox'"),
    "no area": (lambda d: first(d).pop("area"), r"annotation \d+ of image \d+ has no 'area'"),
    "area": (lambda d: first(d).update(area="big"), r"of image \d+ has the impossible area 'big'"),
    "negative area": (lambda d: first(d).update(area=-1), r"of image \d+ has the impossible area -1"),
    "no crowd": (lambda d: first(d).pop("iscrowd"), r"image \d+ has no 'iscrowd'"),
    "crowd": (lambda d: first(d, 1).update(iscrowd=2), r"says 2, neither 0 nor 1, for iscrowd"),
    "no image": (lambda d: first(d).pop("image_id"), r"annotation \d+ of image None has no 'image_id'"),
    "fractional image": (lambda d: first(d).update(image_id=7.5), r"of image 7.5 is of an image that is not"),
    "list for an image": (lambda d: first(d).update(image_id=[7]), r"of image \[7\] is of an image that"),
    "category null": (lambda d: first(d).update(category_id=None), r"has the unknown category None"),
    "no category name": (lambda d: d["categories"][0].pop("name"), r"category 2 has no 'name'"),
    "category name": (lambda d: d["categories"][0].update(name=None), r"category 2 has the name None"),
    "great id": (
        lambda d: first(d).update(id=2**63),
        r"the id 9223372036854775808 of one annotation is no whole",
    ),
    "fractional id": (lambda d: first(d).update(id=1.5), r"the id 1.5 of one annotation is no whole number"),
    "text for an id": (
        lambda d: d["images"][0].update(id="1"),
        r"the id '1' of one image is no whole number",
    ),
    "true for an id": (lambda d: first(d).update(id=True), r"the id True of one annotation is no whole"),
    "null id": (lambda d: first(d).update(id=None), r"the id None of one annotation is no whole"),
    "id beyond 64 bits": (
        lambda d: d["images"][0].update(id=2**70),
        r"the id 1.18\d+e\+21 of one image is no",
    ),
    "negative id": (lambda d: d["categories"][0].update(id=-1), r"the id -1 of one category is no whole"),
    "annotation twice": (
        lambda d: d["annotations"].append(dict(d["annotations"][0])),
        r"annotation \d+ is there twice",
    ),
    "category twice": (
        lambda d: d["categories"].append(dict(d["categories"][0])),
        r"category 2 is there twice",
    ),
    "fractional side": (lambda d: d["images"][0].update(width=100.5), r"image \d+ has no possible size"),
    "text side": (lambda d: d["images"][0].update(height="100"), r"image \d+ has no possible size"),
    "true for a side": (lambda d: d["images"][0].update(height=True), r"image \d+ has no possible size"),
    "too many pixels": (
        lambda d: d["images"][0].update(width=8001, height=8000),
        r"image \d+ has no possible size",
    ),
    "corner 1e300": (
        lambda d: first(d)["segmentation"][0].__setitem__(1, 1e300),
        r"of image \d+ has a polygon with a corner far outside",
    ),
    "box 1e300": (lambda d: first(d)["bbox"].__setitem__(0, 1e300), r"of image \d+ has the impossible box"),
    "area 1e300": (lambda d: first(d).update(area=1e300), r"of image \d+ has the impossible area 1e\+300"),
    "fractional runs": (
        lambda d: first(d, 1)["segmentation"]["counts"].__iadd__([0.5, -0.5]),
        r"of image \d+ has run lengths that don't fit",
    ),
    "giant run": (
        lambda d: first(d, 1)["segmentation"]["counts"].append(2**62),
        r"of image \d+ has run lengths that don't fit",
    ),
    "null run": (
        lambda d: first(d, 1)["segmentation"]["counts"].append(None),
        r"of image \d+ has run lengths that don't fit",
    ),
    "null runs": (
        lambda d: first(d, 1)["segmentation"].update(counts=None),
        r"of image \d+ has run lengths that don't fit",
    ),
    "runs without end": (
        lambda d: first(d, 1)["segmentation"].update(counts=[0] * 1_000_001),
        r"of image \d+ has more than 1,000,000 run lengths",
    ),
    "packed runs without end": (
        lambda d: first(d, 1)["segmentation"].update(counts="0" * 1_000_001),
        r"of image \d+ has more than 1,000,000 run lengths",
    ),
    "size of runs": (
        lambda d: first(d, 1)["segmentation"].update(size=[1, 1]),
        r"of image \d+ has run lengths that don't fit",
    ),
    "negative runs": (
        lambda d: first(d, 1)["segmentation"]["counts"].__iadd__([-5, 5]),
        r"of image \d+ has run lengths that don't fit",
    ),
    "no runs": (lambda d: first(d, 1)["segmentation"].pop("counts"), r"image \d+ has no 'counts'"),
    "empty mask": (
        lambda d: first(d, 1).update(iscrowd=0, segmentation=empty(d)),
        "has a mask without pixels",
    ),
    "line in a name": (lambda d: d["images"][0].update(file_name="a\nb.jpg"), r"the file name 'a\\nb.jpg'"),
    "number for a name": (lambda d: d["images"][0].update(file_name=7), r"has the file name 7"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_annotations_end_in_a_sentence(archives: Path, tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    folder = damaged(archives, tmp_path, change)
    out = tmp_path / "out"
    with pytest.raises(OctathlonError, match=message) as error:
        prepare("annotations-train", folder, out, resolve("datasets", "coco", "mini", {}))
    assert "instances_train2017.json" in str(error.value) and "\n" not in str(error.value)
    assert not (out / "receipts").exists()


def test_a_box_without_area_is_named_and_kept_for_ssd_alone(
    archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Upstream has two such boxes, so they are no fault."""
    changed = {}

    def flatten(document: dict[str, Any]) -> None:
        images = [each["image_id"] for each in document["annotations"]]
        lone = next(
            each
            for each in document["annotations"]
            if images.count(each["image_id"]) == 1 and not each["iscrowd"]
        )
        lone["bbox"][3] = 0.0
        changed.update(lone)

    out = tmp_path / "out"
    prepare(
        "annotations-train",
        damaged(archives, tmp_path, flatten),
        out,
        resolve("datasets", "coco", "mini", {}),
    )
    assert f"annotation {changed['id']} of image {changed['image_id']} has no area" in capsys.readouterr().out
    number = read_array(out, "train-images")["id"].tolist().index(changed["image_id"])
    assert number in read_array(out, "train-ssd") and number not in read_array(out, "train-maskrcnn")


def repack(archives: Path, folder: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy of the archives whose training images were changed or left out."""
    for archive in archives.iterdir():
        if archive.name != "train2017.zip":
            shutil.copy(archive, folder)
    with (
        zipfile.ZipFile(archives / "train2017.zip") as source,
        zipfile.ZipFile(folder / "train2017.zip", "w") as target,
    ):
        for name in source.namelist():
            if (content := change(name, source.read(name))) is not None:
                target.writestr(name, content)
    return folder


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", "no member"),
        ("short", "truncated"),
        ("other", "pixels where the annotations say"),
        ("text", "of unknown kind, no readable JPEG"),
        ("empty", "an empty file, no readable JPEG"),
        ("gif", "a GIF image, no readable JPEG"),
        ("scans", "101 scans where at most 50 are read"),
        ("giant", "8000 x 8001 pixels where at most 64,000,000 are read"),
    ],
)
def test_wrong_images_end_in_a_sentence_that_names_them(
    archives: Path, tmp_path: Path, fault: str, reason: str
) -> None:
    document = instances(archives)
    image = min(document["images"], key=lambda each: each["id"])
    other = max(document["images"], key=lambda each: each["width"])
    victim = f"train2017/{image['file_name']}"
    with zipfile.ZipFile(archives / "train2017.zip") as archive:
        larger = archive.read(f"train2017/{other['file_name']}")

    def change(name: str, content: bytes) -> bytes | None:
        if name != victim:
            return content
        short = content[: len(content) // 2]
        faults = {"missing": None, "short": short, "other": larger, "text": b"hello", "empty": b""}
        size = content.index(b"\xff\xc0") + 5
        giant = content[:size] + b"\x1f\x41\x1f\x40" + content[size + 4 :]
        scans = content[:-2] + content[content.index(b"\xff\xda") : -2] * 100 + content[-2:]
        return (faults | {"gif": b"GIF89a", "giant": giant, "scans": scans})[fault]

    folder, out, settings = (
        repack(archives, tmp_path, change),
        tmp_path / "out",
        resolve("datasets", "coco", "mini", {}),
    )
    prepare("annotations-train", folder, out, settings)
    with pytest.raises(OctathlonError, match=victim) as error:
        prepare("train-000", folder, out, settings)
    assert reason in str(error.value) and "\n" not in str(error.value) and " at 0x" not in str(error.value)
    assert not list(out.glob("train-000*"))  # nothing that looks finished


def test_an_unknown_step_is_named(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match="no step 'train-9'; choose annotations-train"):
        prepare("train-9", archives, tmp_path, resolve("datasets", "coco", "mini", {}))


def test_a_damaged_shard_ends_in_a_sentence(prepared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(prepared, tmp_path / "copy")
    shard = copy / "train-001.jpegs"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(
        OctathlonError, match="train-001.jpegs: cannot read image 39 of train .*; prepare coco again"
    ):
        split_of(copy).image(39)
    (copy / "train-points.npy").write_bytes(b"no array")
    with pytest.raises(OctathlonError, match="train-points.npy: cannot be read"):
        _ = split_of(copy).tables
