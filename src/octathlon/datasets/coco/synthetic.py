"""Made-up data in the prepared format of COCO, to rehearse on. The backbone is the benchmark's affair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from octathlon.datasets.coco.settings import Settings
from octathlon.datasets.coco.tables import ANNOTATION, IMAGE, Tables, write_array, write_jpegs, write_tables
from octathlon.datasets.photos import photo
from octathlon.receipts import write_json

SHARD = "photos"
UPRIGHT = 4
"""Each so many-th picture is higher than wide."""
SIDES = (0.04, 0.8)
"""Of the objects, as parts of the picture's; evenly distributed in their logarithm, as about in COCO."""


def write(folder: Path, settings: Settings, detector: str) -> None:
    """One shard of photos that is listed for each split as often as needed, with objects around regular polygons."""
    sizes, rng = settings.synthetic, np.random.default_rng(0)
    shapes = [_shape(sizes, number) for number in range(sizes["pictures"])]
    write_jpegs(folder, SHARD, (photo(rng, width, height) for width, height in shapes))
    train, evaluation = -(-sizes["train"] // len(shapes)) * len(shapes), sizes["evaluated"]
    for split, count in (("train", train), ("val", evaluation)):
        write_tables(folder, split, tables := _tables(sizes, count, rng))
    write_array(folder, f"train-{detector}", np.arange(sizes["train"], dtype=np.int32))
    categories = [{"id": number, "name": str(number)} for number in range(1, sizes["categories"] + 1)]
    (folder / "val-truth.json").write_bytes(orjson.dumps(_truth(tables, categories)))
    manifest = {
        "dataset": "coco",
        "splits": {"train": [SHARD] * (train // len(shapes)), "val": [SHARD] * -(-evaluation // len(shapes))},
        "counts": {"train": {detector: sizes["train"]}, "eval": evaluation},
        "categories": categories,
    }
    write_json(folder / "manifest.json", manifest)


def _shape(sizes: dict[str, int], number: int) -> tuple[int, int]:
    sides = sizes["width"], sizes["height"]
    return sides[::-1] if number % UPRIGHT == 0 else sides


def _tables(sizes: dict[str, int], count: int, rng: np.random.Generator) -> Tables:
    """Of `count` pictures with equally many objects, each one polygon."""
    objects, corners = sizes["objects"], sizes["corners"]
    images, annotations = np.zeros(count, IMAGE), np.zeros(count * objects, ANNOTATION)
    images["id"] = np.arange(1, count + 1)
    shapes = np.array([_shape(sizes, number % sizes["pictures"]) for number in range(count)])
    images["width"], images["height"] = shapes.T
    images["first"] = np.arange(count) * objects
    images["last"] = images["first"] + objects
    around = shapes.repeat(objects, axis=0)
    sides = np.exp(rng.uniform(*np.log(SIDES), size=(len(annotations), 2))) * around
    places = rng.random((len(annotations), 2)) * (around - sides)
    annotations["id"] = np.arange(1, len(annotations) + 1)
    annotations["label"] = rng.integers(1, sizes["categories"] + 1, len(annotations))
    annotations["box"] = np.concatenate([places, sides], axis=1)
    annotations["first"] = np.arange(len(annotations))
    annotations["last"] = annotations["first"] + 1
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    circle = 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = (places[:, None] + circle * sides[:, None]).reshape(-1, 2).astype(np.float32)
    return Tables(images, annotations, np.arange(len(annotations) + 1) * corners, points)


def _truth(tables: Tables, categories: list[dict[str, int | str]]) -> dict[str, list]:
    """What COCO's evaluation reads."""
    images = [{key: int(image[key]) for key in ("id", "width", "height")} for image in tables.images]
    annotations = [
        {
            "id": int(each["id"]),
            "image_id": image["id"],
            "category_id": int(each["label"]),
            "bbox": each["box"].tolist(),
            "area": float(each["box"][2:].prod() * np.pi / 4),
            "iscrowd": 0,
            "segmentation": [polygon.ravel().tolist() for polygon in tables.polygons(each)],
        }
        for number, image in enumerate(images)
        for each in tables.of_image(number)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}
