"""Miniature COCO 2017 archives: small pictures of outlined shapes, packed and annotated exactly as upstream does.

The real archives' traps are in: category ids with gaps and a category that never occurs, image ids with gaps and
in no order, images without annotations, an image with nothing but a crowd, crowds as uncompressed run lengths,
objects of several polygons, a greyscale file, and sizes that force every detector to resize. The two backbones
that upstream publishes are here trained on single shapes, see `coco_backbones`.
"""

from __future__ import annotations

import colorsys
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageDraw

from octathlon.miniatures import coco_backbones
from octathlon.miniatures.files import replacing

TRAIN, VAL, ANNOTATIONS = "train2017.zip", "val2017.zip", "annotations_trainval2017.zip"

CATEGORIES = {2: "disc", 5: "square", 9: "triangle", 11: "cross", 13: "ring"}
"""The last one is in the list, as upstream's, but in no picture."""
DRAWN = (2, 5, 9, 11)
HUES = {2: 0.0, 5: 0.25, 9: 0.5, 11: 0.75}
"""Parts of the colour circle: a category is told by its colours as well as by its outline."""
CROWDED = 2

FACTORS = ((0.72, 0.93), (1.07, 1.3))
"""A picture has 128 x 96 or 96 x 128 pixels, times one of these, so that no side is as a network wants it."""
RADII = (16, 32)
EMPTY, ONLY_CROWD, GREY, IN_PARTS = 0, 1, 2, 3
"""Positions of the odd pictures among a split's."""


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [TRAIN, VAL, ANNOTATIONS, *coco_backbones.WRITERS]


def draw(archive: str, folder: Path, *, seed: int, train_images: int, val_images: int) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn."""
    counts = {"train": train_images, "val": val_images}
    with replacing(folder / archive) as file:
        if archive in coco_backbones.WRITERS:
            coco_backbones.WRITERS[archive](file, seed, labelled_crops)
        elif archive == ANNOTATIONS:
            _write_annotations(file, seed, counts)
        else:
            split = {TRAIN: "train", VAL: "val"}[archive]
            _write_pictures(file, seed, split, counts[split])


# Scenes ------------------------------------------------------------------------------------------------


@dataclass
class Shape:
    """One object, of one or two polygons of [x, y] corners in pixels."""

    category: int
    polygons: list[np.ndarray]

    def box(self) -> np.ndarray:
        """[left, top, right, bottom]"""
        corners = np.concatenate(self.polygons)
        return np.concatenate([corners.min(0), corners.max(0)])


@dataclass
class Scene:
    """What is in a picture of `width` x `height` pixels."""

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)
    crowd: list[np.ndarray] = field(default_factory=list)


def _scene(rng: np.random.Generator, position: int) -> Scene:
    sides = np.array([128, 96]) * rng.uniform(*FACTORS[rng.integers(2)]) * rng.uniform(0.92, 1.08, 2)
    width, height = np.rint(sides if rng.random() < 0.5 else sides[::-1]).astype(int).tolist()
    scene = Scene(width, height)
    crowded = rng.random() < 0.04 or position == ONLY_CROWD
    empty = position in (EMPTY, ONLY_CROWD) or rng.random() < 0.03
    for _ in range(0 if empty else int(rng.integers(1, 5))):
        _place(scene, rng, int(rng.choice(DRAWN)), in_parts=position == IN_PARTS or rng.random() < 0.03)
    if crowded and (scene.shapes or position == ONLY_CROWD):
        middle = rng.uniform([20, 20], [width - 20, height - 20])
        centres = rng.normal(middle, [14, 9], (14, 2)).clip(4, [width - 4, height - 4])
        scene.crowd = [_outline(CROWDED, rng, rng.uniform(2, 3.5)) + centre for centre in centres]
    return scene


def _place(scene: Scene, rng: np.random.Generator, category: int, in_parts: bool) -> None:
    """Add a shape that covers no other one by much; give up after some tries."""
    size = [scene.width, scene.height]
    for _ in range(20):
        radius = np.exp(rng.uniform(*np.log(RADII)))
        outline = _outline(category, rng, radius) + rng.uniform([radius / 2] * 2, np.array(size) - radius / 2)
        shape = Shape(category, [np.round(outline.clip(0, size), 2)])
        if all(_overlap(shape.box(), other.box()) <= 0.25 for other in scene.shapes):
            if in_parts:
                shape.polygons = _cut(shape.polygons[0])
            scene.shapes.append(shape)
            return


def _outline(category: int, rng: np.random.Generator, radius: float) -> np.ndarray:
    """Corners around (0, 0), float64 of shape (corners, 2)."""
    angle = rng.uniform(-np.pi, np.pi) if category == 2 else rng.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.uniform(np.log(0.75), np.log(1.35)) * np.array([0.5, -0.5]))
    return UNIT_OUTLINES[category] * radius * stretch @ turn


def _regular(corners: int, first: float) -> np.ndarray:
    angles = first + np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


UNIT_OUTLINES = {
    2: _regular(20, 0),
    5: _regular(4, np.pi / 4),
    9: _regular(3, -np.pi / 2),
    11: np.array(
        [
            [-1, -3],
            [1, -3],
            [1, -1],
            [3, -1],
            [3, 1],
            [1, 1],
            [1, 3],
            [-1, 3],
            [-1, 1],
            [-3, 1],
            [-3, -1],
            [-1, -1],
        ]
    )
    / 3.2,
}


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The intersection of two boxes, as a part of the smaller one."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(sides.clip(0).prod() / min((one[2:] - one[:2]).prod(), (other[2:] - other[:2]).prod()))


def _cut(outline: np.ndarray) -> list[np.ndarray]:
    """The outline in two, as if a vertical bar hid its middle."""
    left, right = outline[:, 0].min(), outline[:, 0].max()
    middle, gap = (left + right) / 2, (right - left) / 20
    return [
        np.round(np.column_stack([side(outline[:, 0], middle + sign * gap), outline[:, 1]]), 2)
        for side, sign in ((np.minimum, -1), (np.maximum, 1))
    ]


# Pictures ----------------------------------------------------------------------------------------------


def _paint(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The shapes, each in one colour, on a patterned ground that is nearly grey, under noise."""
    image = Image.fromarray(_ground(scene, rng))
    pen = ImageDraw.Draw(image)
    shapes = scene.shapes + [Shape(CROWDED, [outline]) for outline in scene.crowd]
    for category, polygons in ((shape.category, shape.polygons) for shape in shapes):
        colour = _colour(rng, category)
        for polygon in polygons:
            pen.polygon(polygon.ravel().tolist(), fill=colour)
    noise = rng.standard_normal((scene.height, scene.width, 1), dtype=np.float32) * 6
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _ground(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    height, width = scene.height, scene.width
    colour = rng.uniform(50, 205) + rng.uniform(-20, 20, 3)
    blocks = rng.normal(0, 8, (height // 8 + 1, width // 8 + 1, 3))
    pixels = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width] + colour
    wave = rng.uniform(-0.6, 0.6, 2)
    stripes = np.sin(wave[0] * np.arange(height)[:, None] + wave[1] * np.arange(width) + rng.uniform(0, 6))
    pixels += 9 * stripes[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator, category: int) -> tuple[int, ...]:
    """A vivid colour of the category."""
    hue = HUES[category] + rng.uniform(-0.07, 0.07)
    colour = colorsys.hsv_to_rgb(hue % 1, rng.uniform(0.6, 1), rng.uniform(0.55, 1))
    return tuple(int(255 * part) for part in colour)


def _painted(seed: int, split: str, position: int) -> tuple[Scene, Image.Image]:
    rng = np.random.default_rng([seed, SPLITS.index(split), position])
    scene = _scene(rng, position)
    return scene, _paint(scene, rng)


SPLITS = ("train", "val", "backbone")


def labelled_crops(seed: int, scenes: int, size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Single shapes and bits of ground, from pictures of their own: what the backbones are trained on.

    Returns:
        uint8 of shape (N, size, size, 3), RGB, and int64 labels of shape (N,): 0 for the ground.
    """
    crops, labels = [], []
    for position in range(scenes):
        scene, image = _painted(seed, "backbone", position + 10)
        rng = np.random.default_rng([seed, 9, position])
        for shape in scene.shapes:
            box = shape.box()
            centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2 * rng.uniform(1, margin)
            centre += rng.uniform(-0.2, 0.2, 2) * half
            crops.append(image.crop((*(centre - half), *(centre + half))).resize((size, size)))
            labels.append(1 + DRAWN.index(shape.category))
        half = rng.uniform(10, 25)
        centre = rng.uniform(half, [scene.width - half, scene.height - half])
        box = np.concatenate([centre - half, centre + half])
        if all(_overlap(box, shape.box()) < 0.1 for shape in scene.shapes):
            crops.append(image.crop(tuple(box)).resize((size, size)))
            labels.append(0)
    return np.stack([np.asarray(crop) for crop in crops]), np.array(labels)


# Annotations -------------------------------------------------------------------------------------------


def _ids(seed: int, split: str, count: int) -> np.ndarray:
    """Image ids in the order of the pictures; upstream's have up to six digits, too."""
    rng = np.random.default_rng([seed, 5, SPLITS.index(split)])
    return rng.choice(np.arange(1, 600_000), count, replace=False)


def _write_annotations(file: BinaryIO, seed: int, counts: dict[str, int]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for split, count in counts.items():
            document = json.dumps(_instances(seed, split, count)).encode()
            _add(archive, f"annotations/instances_{split}2017.json", document, zipfile.ZIP_DEFLATED)


def _instances(seed: int, split: str, count: int) -> dict[str, Any]:
    images, annotations = [], []
    rng = np.random.default_rng([seed, 6, SPLITS.index(split)])
    for position, identity in enumerate(_ids(seed, split, count).tolist()):
        scene = _scene(np.random.default_rng([seed, SPLITS.index(split), position]), position)
        images.append(_image_record(identity, scene, split))
        annotations += [
            {"image_id": identity, "category_id": shape.category, "iscrowd": 0} | _outlined(shape)
            for shape in scene.shapes
        ]
        if scene.crowd:
            annotations.append(
                {"image_id": identity, "category_id": CROWDED, "iscrowd": 1} | _run_lengths(scene)
            )
    numbers = np.sort(rng.choice(900_000, len(annotations), replace=False) + 1).tolist()
    for number, annotation in zip(numbers, annotations, strict=True):
        annotation["id"] = number
    return {
        "info": {"description": "A miniature of COCO 2017: drawn shapes, not photographs."},
        "licenses": [{"id": 1, "name": "CC0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        "images": [images[index] for index in rng.permutation(count)],
        "annotations": [annotations[index] for index in rng.permutation(len(annotations))],
        "categories": [
            {"id": key, "name": name, "supercategory": "shape"} for key, name in CATEGORIES.items()
        ],
    }


def _image_record(identity: int, scene: Scene, split: str) -> dict[str, Any]:
    name = f"{identity:012d}.jpg"
    return {
        "id": identity,
        "file_name": name,
        "width": scene.width,
        "height": scene.height,
        "license": 1,
        "date_captured": "2017-01-01 00:00:00",
        "coco_url": f"http://images.cocodataset.org/{split}2017/{name}",
    }


def _outlined(shape: Shape) -> dict[str, Any]:
    left, top, right, bottom = shape.box().tolist()
    return {
        "segmentation": [polygon.ravel().tolist() for polygon in shape.polygons],
        "area": round(sum(_area(polygon) for polygon in shape.polygons), 4),
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
    }


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def _run_lengths(scene: Scene) -> dict[str, Any]:
    """A crowd's mask as upstream writes it: lengths of runs down the columns, of zeros first."""
    mask = Image.new("1", (scene.width, scene.height))
    pen = ImageDraw.Draw(mask)
    for outline in scene.crowd:
        pen.polygon(outline.ravel().tolist(), fill=1)
    pixels = np.asarray(mask)
    steps = np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=False, append=~pixels[-1, -1]))
    y, x = np.nonzero(pixels)
    return {
        "segmentation": {
            "counts": np.diff(steps, prepend=0).tolist(),
            "size": [scene.height, scene.width],
        },
        "area": int(pixels.sum()),
        "bbox": [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1],
    }


# Files -------------------------------------------------------------------------------------------------


def _write_pictures(file: BinaryIO, seed: int, split: str, count: int) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, f"{split}2017/", b"")
        ids = _ids(seed, split, count)
        for position in np.argsort(ids).tolist():
            _, image = _painted(seed, split, position)
            buffer = io.BytesIO()
            image.convert("L" if position == GREY else "RGB").save(buffer, "JPEG", quality=92)
            _add(archive, f"{split}2017/{ids[position]:012d}.jpg", buffer.getvalue())


def _add(archive: zipfile.ZipFile, name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> None:
    member = zipfile.ZipInfo(name)  # of 1980
    member.compress_type = method
    archive.writestr(member, content)
