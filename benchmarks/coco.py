"""COCO: our preparation and loader beside zipfile's and torchvision's, in one run; for the steps see `steps.py`.

    python benchmarks/coco.py [IMAGES]

Draws IMAGES (default 300) pictures of upstream's usual size with a few polygons each, packed as upstream packs them.
The preparation reads them in place, decodes each once to find the broken ones, and writes shards; the peer unpacks the
zips into a folder and has PIL decode each picture. The loader makes training batches for SSD (300 pixels, crop, flip,
colours); the peer does so from the folder with torchvision's transforms on tensors and the same crop. One process, one
thread, warm caches; figures are per second of CPU time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pictures import picture
from PIL import Image
from timing import HEADER, compare
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from octathlon.benchmarks.ssd import augment
from octathlon.benchmarks.ssd.data import Key, TrainingBatches
from octathlon.config import resolve
from octathlon.datasets.coco import prepare
from octathlon.datasets.coco.loader import Split

SIZE, BATCH, CLASSES = (480, 640), 16, 5
CPU = torch.device("cpu")
STEPS = ["annotations-train", "annotations-val", "train-000", "train-001", "val-000"]


def document(rng: np.random.Generator, images: int) -> bytes:
    """Annotations: rectangles as polygons, seven in each image, as upstream has on average."""
    annotations = []
    for number in range(7 * images):
        left, top = rng.uniform(0, [400, 300])
        width, height = rng.uniform(20, 180, 2)
        corners = [left, top, left + width, top, left + width, top + height, left, top + height]
        annotations.append(
            {"id": number + 1, "image_id": number // 7 + 1, "category_id": number % (CLASSES - 1) + 1, "iscrowd": 0,
             "bbox": [left, top, width, height], "area": width * height, "segmentation": [corners]}
        )  # fmt: skip
    listed = [
        {"id": number, "file_name": f"{number:012d}.jpg", "width": SIZE[1], "height": SIZE[0]}
        for number in range(1, images + 1)
    ]
    categories = [{"id": number, "name": str(number)} for number in range(1, CLASSES)]
    return json.dumps({"images": listed, "annotations": annotations, "categories": categories}).encode()


def draw(folder: Path, images: int) -> None:
    """The archives of pictures and annotations, one picture for the evaluation."""
    rng = np.random.default_rng(1)
    for split, count in (("train", images), ("val", 1)):
        with zipfile.ZipFile(folder / f"{split}2017.zip", "w") as archive:
            for number in range(1, count + 1):
                archive.writestr(f"{split}2017/{number:012d}.jpg", picture(rng, SIZE))
    with zipfile.ZipFile(folder / prepare.ANNOTATIONS, "w") as archive:
        for split, count in (("train", images), ("val", 1)):
            archive.writestr(f"annotations/instances_{split}2017.json", document(rng, count))


def prepare_ours(archives: Path, out: Path) -> None:
    settings = resolve("datasets", "coco", "mini", {})
    for step in STEPS:
        prepare.prepare(step, archives, out, settings)


def extract(archives: Path, out: Path) -> None:
    """The peer of the preparation: it finds broken pictures, too."""
    for archive in archives.glob("*.zip"):
        with zipfile.ZipFile(archive) as source:
            source.extractall(out)
    for path in out.glob("*2017/*.jpg"):
        with Image.open(path) as image:
            image.load()


class TensorBatches:
    """The peer of the loader: the same crop, then torchvision's transforms on tensors from a folder."""

    def __init__(self, folder: Path, split: Split, size: int) -> None:
        self._paths = [
            str(folder / f"train2017/{identity:012d}.jpg") for identity in split.tables.images["id"]
        ]
        self._split = split
        steps = [v2.Resize((size, size)), v2.RandomHorizontalFlip(), v2.ColorJitter(0.125, 0.5, 0.5, 0.05)]
        steps += [v2.ToDtype(torch.float32, scale=True)]
        self._transform = v2.Compose([*steps, v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])

    def __getitem__(self, key: Key) -> torch.Tensor:
        epoch, numbers, _weight = key
        images = []
        for number in numbers:
            rng = np.random.default_rng([1, epoch, number])
            boxes = self._split.tables.of_image(number)["box"] / np.tile(SIZE[::-1], 2)
            window, _ = augment.random_crop(
                rng, np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1), 1
            )
            image = decode_jpeg(read_file(self._paths[number]), ImageReadMode.RGB)
            images.append(self._transform(augment.cut_pixels(image, window)))
        return torch.stack(images)


def our_batches(split: Split) -> Callable[[Key], torch.Tensor]:
    """Ours, with the colours and the normalisation that otherwise the training device applies."""
    batches = TrainingBatches(split, 300, 1, seed=1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def make(key: Key) -> torch.Tensor:
        batch = batches[key]
        return (augment.recolour(batch.images, batch.colours) - mean) / std

    return make


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as work:
        archives, prepared, folder = (Path(work) / name for name in ("archives", "prepared", "folder"))
        archives.mkdir()
        draw(archives, count)
        size = (archives / "train2017.zip").stat().st_size / 1e6
        print(HEADER)
        compare(
            "coco preparation",
            "MB/s",
            size,
            lambda: prepare_ours(archives, prepared),
            "zipfile, PIL",
            lambda: extract(archives, folder),
            "It decodes each picture, as ours, but reads no annotations.",
        )
        manifest = {"splits": {"train": ["train-000", "train-001"]}}
        split = Split(prepared, manifest, "train")
        order = np.random.default_rng(1).permutation(count).tolist()
        keys = [(1, order[start : start + BATCH], 1.0) for start in range(0, count - BATCH + 1, BATCH)]
        make, peer = our_batches(split), TensorBatches(folder, split, 300)
        compare(
            "ssd loader",
            "images/s",
            len(keys) * BATCH,
            lambda: [make(key) for key in keys],
            "torchvision, tensors",
            lambda: [peer[key] for key in keys],
            "Colours and normalisation, which otherwise the training device applies, in both. Ours also brings boxes.",
        )


if __name__ == "__main__":
    main()
