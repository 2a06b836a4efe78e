"""`instances_<split>2017.json` -> tables. Each annotation is checked, as a timed run must not stumble over one.

Fields: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.tables import ANNOTATION, IMAGE, Tables
from octathlon.errors import OctathlonError

REMEDY = "use the archive as it is published"


@dataclass(frozen=True)
class Instances:
    """One split's images, annotations and categories, as upstream lists them, but in the order of the ids."""

    images: list[dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    """image id -> annotations"""
    categories: list[dict[str, Any]]

    def labels(self) -> dict[int, int]:
        """category id -> label, from 1 on in the order of the ids; 0 is the background."""
        return {category["id"]: label for label, category in enumerate(self.categories, start=1)}

    def flat(self) -> list[tuple[int, int]]:
        """(image, annotation) ids of boxes without area, of which upstream has two."""
        return [
            (each["image_id"], each["id"])
            for group in self.annotations.values()
            for each in group
            if not (each["bbox"][2] and each["bbox"][3])
        ]

    def truth(self) -> dict[str, Any]:
        """What COCO's evaluation needs, and no more."""
        keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
        return {
            "images": [{key: image[key] for key in ("id", "width", "height")} for image in self.images],
            "annotations": [
                {key: each[key] for key in keys}
                for image in self.images
                for each in self.annotations.get(image["id"], ())
            ],
            "categories": [{"id": category["id"], "name": category["name"]} for category in self.categories],
        }


def parse(content: bytes, where: str) -> Instances:
    """Read the JSON.

    Raises:
        OctathlonError: naming `where` and the image or annotation, if something is missing or contradicts itself.
    """
    try:
        document = orjson.loads(content)
        images = sorted(document["images"], key=lambda image: image["id"])
        categories = sorted(document["categories"], key=lambda category: category["id"])
        annotations = sorted(document["annotations"], key=lambda annotation: annotation["id"])
        _check_images(images, where)
        _check_distinct([category["id"] for category in categories], "category", where)
        _check_distinct([annotation["id"] for annotation in annotations], "annotation", where)
        sizes = {image["id"]: (image["height"], image["width"]) for image in images}
        known = {category["id"] for category in categories}
        groups = defaultdict(list)
        for annotation in annotations:
            if problem := _problem(annotation, sizes, known):
                raise OctathlonError(
                    f"{where}: annotation {annotation['id']} of image {annotation['image_id']} {problem}; {REMEDY}"
                )
            groups[annotation["image_id"]].append(annotation)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise OctathlonError(
            f"{where}: not as COCO describes it ({error!r}); fetch the archive again"
        ) from None
    return Instances(images, dict(groups), categories)


def _check_images(images: list[dict[str, Any]], where: str) -> None:
    _check_distinct([image["id"] for image in images], "image", where)
    for image in images:
        if image["file_name"] != f"{image['id']:012d}.jpg":
            raise OctathlonError(
                f"{where}: image {image['id']} has the file name {image['file_name']!r}; {REMEDY}"
            )
        if not (0 < image["width"] < 65_536 and 0 < image["height"] < 65_536):
            raise OctathlonError(f"{where}: image {image['id']} has no possible size; {REMEDY}")


def _check_distinct(ids: list[int], kind: str, where: str) -> None:
    if not ids or any(type(each) is not int for each in ids):
        raise OctathlonError(f"{where}: no {kind}, or one whose id is not a number; {REMEDY}")
    for one, other in zip(ids, ids[1:], strict=False):
        if one == other:
            raise OctathlonError(f"{where}: {kind} {one} is there twice; {REMEDY}")


def _problem(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]], known: set[int]) -> str | None:
    """What is wrong with an annotation, in words."""
    if annotation["image_id"] not in sizes:
        return "is of an image that is not in the list"
    if annotation["category_id"] not in known:
        return f"has the unknown category {annotation['category_id']}"
    box = annotation["bbox"]
    if len(box) != 4 or not all(math.isfinite(value) for value in box) or min(box[2:]) < 0:
        return f"has the impossible box {box}"
    shape = annotation["segmentation"]
    if annotation["iscrowd"]:
        if shape["size"] != list(sizes[annotation["image_id"]]) or sum(shape["counts"]) != math.prod(
            shape["size"]
        ):
            return "has run lengths that don't fit the image"
    elif not shape or any(len(polygon) < 6 or len(polygon) % 2 for polygon in shape):
        return "has a polygon of less than three corners"
    return None


def tabulate(instances: Instances) -> Tables:
    """The tables of a split."""
    labels = instances.labels()
    images, annotations, parts, points = [], [], [0], []
    for image in instances.images:
        first = len(annotations)
        for each in instances.annotations.get(image["id"], ()):
            first_part = len(parts) - 1
            for polygon in () if each["iscrowd"] else each["segmentation"]:
                points.append(np.array(polygon, dtype=np.float32).reshape(-1, 2))
                parts.append(parts[-1] + len(points[-1]))
            record = (each["id"], labels[each["category_id"]], bool(each["iscrowd"]), tuple(each["bbox"]))
            annotations.append((*record, first_part, len(parts) - 1))
        images.append((image["id"], image["width"], image["height"], first, len(annotations)))
    return Tables(
        np.array(images, dtype=IMAGE),
        np.array(annotations, dtype=ANNOTATION),
        np.array(parts, dtype=np.int64),
        np.concatenate(points) if points else np.zeros((0, 2), np.float32),
    )


def training_images(tables: Tables) -> dict[str, np.ndarray]:
    """The numbers of the images that each detector trains on.

    SSD leaves out images without any annotation. Mask R-CNN drops crowds, and boxes of which nothing is left between
    the image's first and last pixel, and then leaves out images without boxes. With upstream's data both lists are
    the same 117,266 images (mlcommons/training, single_stage_detector/ssd/utils.py and
    object_detection/pytorch/maskrcnn_benchmark/data/datasets/coco.py).
    """
    some = tables.images["last"] > tables.images["first"]
    counts = tables.images["last"] - tables.images["first"]
    owners = np.repeat(np.arange(len(tables.images)), counts)
    usable = np.zeros(len(tables.images), dtype=bool)
    images = tables.images[owners]
    _, sizeable = inclusive_boxes(tables.annotations["box"], images["width"], images["height"])
    usable[owners[sizeable & ~tables.annotations["crowd"]]] = True
    return {"ssd": np.flatnonzero(some).astype(np.int32), "maskrcnn": np.flatnonzero(usable).astype(np.int32)}
