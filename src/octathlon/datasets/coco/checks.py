"""What an image, a category and an annotation of COCO must be, so that no timed run stumbles over one.

A check raises ValueError with words that go behind "annotation 7 of image 3", or KeyError for what is missing.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from octathlon.datasets.coco.run_lengths import plain_counts
from octathlon.datasets.pictures import PIXEL_LIMIT

ID_LIMIT = 2**53
"""Detections carry ids as float64, which is exact below."""
SIDE_LIMIT = 65_536
"""Pixels; JPEGs have fewer."""


def check_image(image: dict[str, Any]) -> None:
    """Its file name names a file below the archive's folder, its sides are pixels."""
    name, sides = image["file_name"], (image["width"], image["height"])
    plain = isinstance(name, str) and re.fullmatch(r"[^\x00-\x1f\x7f]+", name)
    if not plain or {"", ".", ".."} & set(name.split("/")):
        raise ValueError(f"has the file name {short(name)}")
    whole = all(type(side) is int and 0 < side < SIDE_LIMIT for side in sides)
    if not whole or sides[0] * sides[1] > PIXEL_LIMIT:
        raise ValueError("has no possible size")


def check_category(category: dict[str, Any]) -> None:
    """It has a name."""
    if not isinstance(category["name"], str):
        raise ValueError(f"has the name {short(category['name'])}")


def check_annotation(annotation: dict[str, Any], sizes: dict[int, tuple[int, int]], known: set[int]) -> None:
    """It is of a known category and image, of (width, height), and fits it. Its run lengths become plain ones."""
    if not is_id(annotation["image_id"]) or annotation["image_id"] not in sizes:
        raise ValueError("is of an image that is not in the list")
    category, crowd, area = annotation["category_id"], annotation["iscrowd"], annotation["area"]
    if not is_id(category) or category not in known:
        raise ValueError(f"has the unknown category {short(category)}")
    if crowd not in (0, 1):
        raise ValueError(f"says {short(crowd)}, neither 0 nor 1, for iscrowd")
    if type(area) not in (int, float) or not 0 <= area < SIDE_LIMIT**2:
        raise ValueError(f"has the impossible area {short(area)}")
    width, height = sizes[annotation["image_id"]]
    _check_box(annotation["bbox"], width, height)
    shape = annotation["segmentation"]
    if isinstance(shape, dict):
        shape.update(size=[height, width], counts=plain_counts(shape, height, width))
        if not crowd and not any(shape["counts"][1::2]):
            raise ValueError("has a mask without pixels")
    else:
        _check_polygons(shape, width, height)


def _check_box(box: Any, width: int, height: int) -> None:
    if _are_numbers(box) and len(box) == 4:
        left, top, *sides = box
        if min(sides) >= 0 and _near([left, left + sides[0]], width) and _near([top, top + sides[1]], height):
            return
    raise ValueError(f"has the impossible box {short(box)}")


def _check_polygons(polygons: Any, width: int, height: int) -> None:
    if not isinstance(polygons, list) or not polygons:
        raise ValueError(f"has the segmentation {short(polygons)}")
    for polygon in polygons:
        if not _are_numbers(polygon) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("has a polygon of less than three corners, or of what are no numbers")
        if not (_near(polygon[::2], width) and _near(polygon[1::2], height)):
            raise ValueError("has a polygon with a corner far outside of the image")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and set(map(type, values)) <= {int, float}


def _near(places: list[float], side: int) -> bool:
    """Whether all lie in the image or no further from it than its own side: what is drawn there later takes time and
    memory in proportion. JSON has no numbers that aren't finite."""
    return -side <= min(places) and max(places) <= 2 * side


def is_id(value: Any) -> bool:
    """Whether it is a whole number that all tools take as it is."""
    return type(value) is int and 0 <= value < ID_LIMIT


def short(value: Any) -> str:
    """As Python writes it, but never long."""
    return reprlib.repr(value)
