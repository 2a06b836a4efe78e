"""`instances_<split>2017.json` -> tables. Each annotation is checked, as a timed run must not stumble over one.

Fields: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from octathlon.datasets.coco.boxes import inclusive_boxes
from octathlon.datasets.coco.checks import check_annotation, check_category, check_image, is_id, short
from octathlon.datasets.coco.run_lengths import outline
from octathlon.datasets.coco.tables import ANNOTATION, IMAGE, Tables
from octathlon.errors import OctathlonError
from octathlon.formats.json import Records, read_records

IMAGE_KEYS = ("id", "file_name", "width", "height")
REMEDY = "mend it, or use the archive as it is published"


@dataclass(frozen=True)
class Instances:
    """One split's images, annotations and categories, as upstream lists them, but in the order of the ids."""

    where: str
    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    records: Records
    """Annotations as they stand there: no split's fit into memory at once."""
    order: np.ndarray
    """Their numbers, image after image."""

    def labels(self) -> dict[int, int]:
        """category id -> label, from 1 on in the order of the ids; 0 is the background."""
        return {category["id"]: label for label, category in enumerate(self.categories, start=1)}

    def annotations(self) -> Iterator[dict[str, Any]]:
        """One after the other, checked, image after image; compressed run lengths come as lists.

        Raises:
            OctathlonError: naming the annotation, if something is missing in it or contradicts itself.
        """
        sizes = {image["id"]: (image["width"], image["height"]) for image in self.images}
        known = {category["id"] for category in self.categories}
        for number in self.order:
            each = self.records[number]
            name = f"{self.where}: annotation {each['id']} of image {short(each.get('image_id'))}"
            _check(check_annotation, each, name, sizes, known)
            yield each

    def own_names(self) -> dict[str, str]:
        """image id, in digits -> file name, of images that are not named as upstream's."""
        names = {str(image["id"]): image["file_name"] for image in self.images}
        return {image: name for image, name in names.items() if name != file_name(int(image))}

    def truth(self) -> dict[str, Any]:
        """What COCO's evaluation needs, and no more. Ids from 0 on move up by one: to it, 0 is no annotation."""
        keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation")
        annotations = [{key: each[key] for key in keys} for each in self.annotations()]
        if any(each["id"] == 0 for each in annotations):
            annotations = [each | {"id": each["id"] + 1} for each in annotations]
        return {
            "images": [{key: image[key] for key in ("id", "width", "height")} for image in self.images],
            "annotations": annotations,
            "categories": [{"id": category["id"], "name": category["name"]} for category in self.categories],
        }


def file_name(image: int) -> str:
    """What upstream calls the file of an image."""
    return f"{image:012d}.jpg"


def parse(content: bytes, where: str) -> Instances:
    """Read the JSON; the annotations are checked when they are asked for.

    Raises:
        OctathlonError: naming `where` and the image or annotation, if something is missing or contradicts itself.
    """
    images, annotations, categories = read_records(content, where, ("images", "annotations", "categories"))
    images = _in_order(
        ({key: each[key] for key in IMAGE_KEYS if key in each} for each in images), "image", where
    )
    categories = _in_order(categories, "category", where)
    for image in images:
        _check(check_image, image, f"{where}: image {image['id']}")
    for category in categories:
        _check(check_category, category, f"{where}: category {category['id']}")
    return Instances(where, images, categories, annotations, _by_image(annotations, where))


def _in_order(records: Iterable[dict[str, Any]], kind: str, where: str) -> list[dict[str, Any]]:
    """Sorted by their ids, which are distinct."""
    records = list(records)
    ids = np.array([_id(each, kind, where) for each in records], np.int64)
    _check_distinct(ids, kind, where)
    return [records[number] for number in np.argsort(ids)]


def _by_image(annotations: Records, where: str) -> np.ndarray:
    """Their numbers in the order of their images and, within one, of their ids, which are distinct."""
    pairs = np.empty((len(annotations), 2), np.int64)
    for number, each in enumerate(annotations):
        image = each.get("image_id")
        pairs[number] = _id(each, "annotation", where), image if is_id(image) else -1
    ids, images = pairs.T
    _check_distinct(ids, "annotation", where)
    return np.lexsort((ids, images))


def _check_distinct(ids: np.ndarray, kind: str, where: str) -> None:
    if not len(ids):
        raise OctathlonError(f"{where}: no {kind} in it; {REMEDY}")
    ids = np.sort(ids)
    twice = ids[1:][np.diff(ids) == 0]
    if len(twice):
        raise OctathlonError(f"{where}: {kind} {twice[0]} is there twice; {REMEDY}")


def _id(record: dict[str, Any], kind: str, where: str) -> int:
    if not is_id(found := record.get("id")):
        raise OctathlonError(
            f"{where}: the id {short(found)} of one {kind} is no whole number from 0 to 2**53; {REMEDY}"
        )
    return found


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
    annotations = np.empty(len(instances.order), ANNOTATION)
    owners = np.empty(len(annotations), np.int64)
    parts, points = array("q", [0]), array("f")
    for number, each in enumerate(instances.annotations()):
        first = len(parts) - 1
        for polygon in () if each["iscrowd"] else _polygons(each["segmentation"]):
            points.extend(polygon)
            parts.append(len(points) // 2)
        record = (each["id"], labels[each["category_id"]], bool(each["iscrowd"]), tuple(each["bbox"]))
        annotations[number] = (*record, first, len(parts) - 1)
        owners[number] = each["image_id"]
    images = np.empty(len(instances.images), IMAGE)
    for name in ("id", "width", "height"):
        images[name] = [image[name] for image in instances.images]
    for name, side in (("first", "left"), ("last", "right")):
        images[name] = np.searchsorted(owners, images["id"], side)
    corners = np.frombuffer(points, np.float32).reshape(-1, 2)
    return Tables(images, annotations, np.frombuffer(parts, np.int64), corners)


def _polygons(shape: Any) -> list[list[float]]:
    """A segmentation as polygons: x and y in turns."""
    if isinstance(shape, dict):
        return [outline(shape["counts"], shape["size"][0]).ravel().tolist()]
    return shape


def flat(tables: Tables) -> list[tuple[int, int]]:
    """(image, annotation) ids of boxes without area, of which upstream has two."""
    numbers = np.flatnonzero((tables.annotations["box"][:, 2:] == 0).any(axis=1))
    images = np.searchsorted(tables.images["last"], numbers, side="right")
    return list(
        zip(tables.images["id"][images].tolist(), tables.annotations["id"][numbers].tolist(), strict=True)
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
