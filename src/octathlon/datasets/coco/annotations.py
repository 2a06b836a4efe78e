"""`instances_<split>2017.json` -> tables. Each annotation is checked, as a timed run must not stumble over one.

Fields: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.checks import check_annotation, check_category, check_image, is_id, short
from octathlon.datasets.coco.run_lengths import outline
from octathlon.datasets.coco.tables import ANNOTATION, IMAGE, Tables
from octathlon.errors import OctathlonError
from octathlon.formats.json import read_json

REMEDY = "mend it, or use the archive as it is published"


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

    def own_names(self) -> dict[str, str]:
        """image id, in digits -> file name, of images that are not named as upstream's."""
        names = {str(image["id"]): image["file_name"] for image in self.images}
        return {image: name for image, name in names.items() if name != file_name(int(image))}

    def truth(self) -> dict[str, Any]:
        """What COCO's evaluation needs, and no more. Ids from 0 on move up by one: to it, 0 is no annotation."""
        keys = ("image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
        shift = any(each["id"] == 0 for group in self.annotations.values() for each in group)
        return {
            "images": [{key: image[key] for key in ("id", "width", "height")} for image in self.images],
            "annotations": [
                {"id": each["id"] + shift} | {key: each[key] for key in keys}
                for image in self.images
                for each in self.annotations.get(image["id"], ())
            ],
            "categories": [{"id": category["id"], "name": category["name"]} for category in self.categories],
        }


def file_name(image: int) -> str:
    """What upstream calls the file of an image."""
    return f"{image:012d}.jpg"


def parse(content: bytes, where: str) -> Instances:
    """Read the JSON; compressed run lengths come as lists.

    Raises:
        OctathlonError: naming `where` and the image or annotation, if something is missing or contradicts itself.
    """
    document = read_json(content, where)
    try:
        images = _in_order(document["images"], "image", where)
        categories = _in_order(document["categories"], "category", where)
        annotations = _in_order(document["annotations"], "annotation", where)
    except (KeyError, TypeError) as error:
        raise OctathlonError(
            f"{where}: not as COCO describes it ({error!r}); fetch the archive again"
        ) from None
    for image in images:
        _check(check_image, image, f"{where}: image {image['id']}")
    for category in categories:
        _check(check_category, category, f"{where}: category {category['id']}")
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    known = {category["id"] for category in categories}
    groups = defaultdict(list)
    for annotation in annotations:
        name = f"{where}: annotation {annotation['id']} of image {short(annotation.get('image_id'))}"
        _check(check_annotation, annotation, name, sizes, known)
        groups[annotation["image_id"]].append(annotation)
    return Instances(images, dict(groups), categories)


def _in_order(records: list[dict[str, Any]], kind: str, where: str) -> list[dict[str, Any]]:
    """Sorted by their ids, which are distinct."""
    for each in records:
        if not is_id(each["id"]):
            raise OctathlonError(
                f"{where}: the id {short(each['id'])} of one {kind} is no whole number from 0 to 2**53; {REMEDY}"
            )
    records = sorted(records, key=lambda each: each["id"])
    if not records:
        raise OctathlonError(f"{where}: no {kind} in it; {REMEDY}")
    for one, other in pairwise(records):
        if one["id"] == other["id"]:
            raise OctathlonError(f"{where}: {kind} {one['id']} is there twice; {REMEDY}")
    return records


def _check(check: Callable[..., None], record: dict[str, Any], name: str, *rest: Any) -> None:
    """Put the name in front of what `check` complains of."""
    try:
        check(record, *rest)
    except KeyError as error:
        raise OctathlonError(f"{name} has no {error}; {REMEDY}") from None
    except ValueError as error:
        raise OctathlonError(f"{name} {error}; {REMEDY}") from None


def tabulate(instances: Instances) -> Tables:
    """The tables of a split."""
    labels = instances.labels()
    images, annotations, parts, points = [], [], [0], []
    for image in instances.images:
        first = len(annotations)
        for each in instances.annotations.get(image["id"], ()):
            first_part = len(parts) - 1
            for polygon in () if each["iscrowd"] else _polygons(each["segmentation"]):
                points.append(polygon)
                parts.append(parts[-1] + len(polygon))
            record = (each["id"], labels[each["category_id"]], bool(each["iscrowd"]), tuple(each["bbox"]))
            annotations.append((*record, first_part, len(parts) - 1))
        images.append((image["id"], image["width"], image["height"], first, len(annotations)))
    return Tables(
        np.array(images, dtype=IMAGE),
        np.array(annotations, dtype=ANNOTATION),
        np.array(parts, dtype=np.int64),
        np.concatenate(points) if points else np.zeros((0, 2), np.float32),
    )


def _polygons(shape: Any) -> list[np.ndarray]:
    """A segmentation as polygons, each float32 of shape (corners, 2)."""
    if isinstance(shape, dict):
        return [outline(shape["counts"], shape["size"][0])]
    return [np.array(polygon, dtype=np.float32).reshape(-1, 2) for polygon in shape]


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
