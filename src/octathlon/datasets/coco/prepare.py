"""COCO 2017 archives -> shards of untouched JPEGs, tables of annotations, backbones, and a manifest.

One preparation serves both detectors; nothing is resized or encoded again. Steps, each a job:

    annotations-<split>     the tables, and for evaluation the truth as JSON (the split is train or val)
    <split>-<n>             a shard of JPEGs, in the order of the image ids: after annotations-<split>
    backbone-<n>            published weights as safetensors
    manifest                after all of them
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from octathlon.datasets.coco.annotations import Instances, file_name, flat, parse, tabulate, training_images
from octathlon.datasets.coco.backbones import R50, RESNET34, convert
from octathlon.datasets.coco.settings import Settings
from octathlon.datasets.coco.tables import DETECTORS, read_array, write_array, write_jpegs, write_tables
from octathlon.datasets.pictures import decode_cheaply, opened
from octathlon.errors import OctathlonError
from octathlon.formats.zips import ZipReader
from octathlon.receipts import describe, publish, read_json, write_json

ANNOTATIONS = "annotations_trainval2017.zip"
BACKBONES = {"resnet34": RESNET34, "resnet50": R50}
SPLITS = ("train", "val")
TRUTH = "val-truth.json"
JSON_LIMIT, IMAGE_LIMIT = 2_000_000_000, 20_000_000
"""Bytes. Upstream's largest JSON has 470 million, its largest image less than one million."""


def archives(_settings: Settings) -> list[str]:
    """The archives that the preparation needs."""
    return ["train2017.zip", "val2017.zip", ANNOTATIONS, *BACKBONES.values()]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The names of the steps before `manifest`, by kind."""
    return {
        "annotations": [f"annotations-{split}" for split in SPLITS],
        "train": [f"train-{number:03d}" for number in range(settings.train_shards)],
        "val": [f"val-{number:03d}" for number in range(settings.val_shards)],
        "backbone": [f"backbone-{name}" for name in BACKBONES],
    }


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, or `manifest` after all of them.

    Raises:
        OctathlonError: naming archive and image or annotation, if one is damaged or they contradict each other.
    """
    known = steps(settings)
    kind, _, rest = step.partition("-")
    if step == "manifest":
        write_json(out / "manifest.json", _manifest(out, known))
        return
    if step not in known.get(kind, ()):
        names = [name for group in known.values() for name in group]
        raise OctathlonError(f"coco has no step {step!r}; choose {', '.join(names)} or manifest")
    if kind == "annotations":
        facts = _tabulate(archives / ANNOTATIONS, rest, out)
    elif kind == "backbone":
        file = f"{rest}.safetensors"
        facts = {"files": [file], "tensors": convert(archives / BACKBONES[rest], out / file)}
    else:
        facts = _pack(step, archives / f"{kind}2017.zip", out, known[kind])
    head = {"format": 1, "stage": "prepare", "dataset": "coco", "step": step}
    files = {name: describe(out / name) for name in facts["files"]}
    write_json(_receipt(out, step), head | facts | {"files": files})


def _receipt(out: Path, step: str) -> Path:
    return out / "receipts" / f"{step}.json"


def _tabulate(path: Path, split: str, out: Path) -> dict[str, Any]:
    name = f"annotations/instances_{split}2017.json"
    with ZipReader(path) as archive:
        instances = parse(archive.read(name, JSON_LIMIT), f"{path}: {name}")
    tables = tabulate(instances)
    for image, annotation in flat(tables):
        print(
            f"{name}: annotation {annotation} of image {image} has no area: SSD keeps it, Mask R-CNN does not"
        )
    files = write_tables(out, split, tables)
    counts = {"images": len(tables.images), "annotations": len(tables.annotations)}
    counts["crowds"] = int(tables.annotations["crowd"].sum())
    if split == "train":
        for detector, numbers in training_images(tables).items():
            if not len(numbers):
                raise OctathlonError(f"{path}: {name} has no image that {detector} can train on")
            files.append(write_array(out, f"train-{detector}", numbers))
            counts[detector] = len(numbers)
    else:
        files.append(_write_truth(out, instances))
    categories = [{"id": category["id"], "name": category["name"]} for category in instances.categories]
    facts = {"files": files, "counts": counts, "categories": categories}
    names = instances.own_names()
    return facts | {"own_names": names} if names else facts


def _write_truth(out: Path, instances: Instances) -> str:
    with publish(out / TRUTH) as temporary:
        temporary.write_bytes(orjson.dumps(instances.truth()))
    return TRUTH


def _pack(step: str, path: Path, out: Path, shards: list[str]) -> dict[str, Any]:
    """Copy a shard's images: those of a run of the split's numbers."""
    split = step.partition("-")[0]
    images = read_array(out, f"{split}-images")
    bounds = [len(images) * part // len(shards) for part in range(len(shards) + 1)]
    part = shards.index(step)
    own_names = read_json(_receipt(out, f"annotations-{split}")).get("own_names", {})
    members = (
        (f"{split}2017/{own_names.get(str(image['id']), file_name(image['id']))}", image)
        for image in images[bounds[part] : bounds[part + 1]]
    )
    with ZipReader(path) as archive:
        files = write_jpegs(out, step, _jpegs(archive, members))
    return {"files": files, "counts": {"images": bounds[part + 1] - bounds[part]}}


def _jpegs(archive: ZipReader, members: Iterable[tuple[str, np.ndarray]]) -> Iterator[bytes]:
    """The content of each member, which must be an image as its record says."""
    for name, image in members:
        content = archive.read(name, IMAGE_LIMIT)
        try:
            _check_jpeg(content, int(image["width"]), int(image["height"]))
        except ValueError as error:
            raise OctathlonError(
                f"{archive.path}: {name} cannot be used ({error}); convert it to JPEG, or fetch the archive again"
            ) from None
        yield content


def _check_jpeg(content: bytes, width: int, height: int) -> None:
    """Raise unless it is a whole JPEG of that size: a broken one must be found here and not by a timed run."""
    with opened(content, ["JPEG"]) as image:
        if image.size != (width, height):
            raise ValueError(
                f"{image.width} x {image.height} pixels where the annotations say {width} x {height}"
            )
        if image.mode not in ("RGB", "L"):
            raise ValueError(f"colours as {image.mode}")
        decode_cheaply(image)


def _manifest(out: Path, known: dict[str, list[str]]) -> dict[str, Any]:
    """`splits` lists each split's shards in order."""
    receipts = {step: read_json(_receipt(out, step)) for group in known.values() for step in group}
    train, val = (receipts[f"annotations-{split}"] for split in SPLITS)
    if train["categories"] != val["categories"]:
        raise OctathlonError("coco: the categories of train and val differ; use archives of one edition")
    return {
        "format": 1,
        "dataset": "coco",
        "shards": {name: facts for receipt in receipts.values() for name, facts in receipt["files"].items()},
        "splits": {split: known[split] for split in SPLITS},
        "counts": {
            "train": {detector: train["counts"][detector] for detector in DETECTORS},
            "eval": val["counts"]["images"],
        },
        "annotations": {split: receipts[f"annotations-{split}"]["counts"] for split in SPLITS},
        "categories": train["categories"],
    }
