"""ImageNet: our preparation beside tarfile's extraction, our loader beside torchvision's on tensors, in one run.

    python benchmarks/imagenet.py [IMAGES]

Draws IMAGES (default 400) pictures of upstream's commonest size, compressed to files of its mean size (115 kB: the
training archive's 147,897,477,120 bytes have 1,281,167 pictures), and packs them as upstream does. The preparation
reads them in place, decodes each once to find the broken ones, and writes shards; the peer unpacks the tars into a
folder of files. The loader makes training batches of 32 from the shards, as bytes; the peer does so from the folder,
with torchvision's decoder and its transforms of tensors, which are faster than those of PIL images. One process, one
thread, warm caches; figures are per second of CPU time.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from pictures import picture
from scipy.io import savemat
from timing import HEADER, compare
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from octathlon.datasets.imagenet import prepare
from octathlon.datasets.imagenet.loader import Batches, Images, RandomCrops
from octathlon.datasets.imagenet.settings import Settings
from octathlon.receipts import read_json

CLASSES, SIZE, QUALITY, BATCH = 4, (375, 500), 89, 32
SETTINGS = Settings(source="upstream", miniature={}, train_shards=1, val_shards=1)
FIELDS = [
    "ILSVRC2012_ID",
    "WNID",
    "words",
    "gloss",
    "num_children",
    "children",
    "wordnet_height",
    "num_train_images",
]


def tar(files: dict[str, bytes], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def draw(folder: Path, images: int) -> None:
    """The three archives, with `images` training pictures and one for the validation."""
    rng = np.random.default_rng(1)
    wnids = [f"n{number:08d}" for number in range(1, CLASSES + 1)]
    train = {
        f"{wnid}.tar": tar(
            {f"{wnid}_{number}.JPEG": picture(rng, SIZE, QUALITY) for number in range(images // CLASSES)}
        )
        for wnid in wnids
    }
    rows = [(number, wnid, wnid, "", 0, 0, 0, 0) for number, wnid in enumerate(wnids, start=1)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=[(name, object) for name in FIELDS])[:, None]})
    data = "ILSVRC2012_devkit_t12/data"
    kit = {f"{data}/meta.mat": meta.getvalue(), f"{data}/ILSVRC2012_validation_ground_truth.txt": b"1\n"}
    (folder / prepare.TRAIN).write_bytes(tar(train))
    (folder / prepare.VAL).write_bytes(tar({"ILSVRC2012_val_00000001.JPEG": picture(rng, SIZE, QUALITY)}))
    (folder / prepare.DEVKIT).write_bytes(tar(kit, "w:gz"))


def prepare_ours(archives: Path, out: Path) -> None:
    for step in ("train-000", "val-000", "manifest"):
        prepare.prepare(step, archives, out, SETTINGS)


def extract(archives: Path, out: Path) -> None:
    """The peer of the preparation."""
    with tarfile.open(archives / prepare.TRAIN) as outer:
        for synset in outer:
            with tarfile.open(fileobj=outer.extractfile(synset)) as inner:
                inner.extractall(out / synset.name.removesuffix(".tar"), filter="data")


def our_batches(prepared: Path, order: list[int]) -> Iterable[Tensor]:
    images = Images(prepared, read_json(prepared / "manifest.json"), "train")
    batches = Batches(images, RandomCrops(224, seed=1))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        yield batches[1, order[start : start + BATCH]][0]


def peer_batches(folder: Path, order: list[int]) -> Iterator[Tensor]:
    files = sorted(map(str, folder.glob("*/*.JPEG")))
    transform = v2.Compose([v2.RandomResizedCrop(224, scale=(0.05, 1)), v2.RandomHorizontalFlip()])
    for start in range(0, len(order) - BATCH + 1, BATCH):
        decoded = (
            decode_jpeg(read_file(files[number]), ImageReadMode.RGB)
            for number in order[start : start + BATCH]
        )
        yield torch.stack([transform(image) for image in decoded])


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DeprecationWarning)
    with tempfile.TemporaryDirectory() as work:
        archives, prepared, folder = (Path(work) / name for name in ("archives", "prepared", "folder"))
        archives.mkdir()
        draw(archives, images)
        size = (archives / prepare.TRAIN).stat().st_size / 1e6
        print(HEADER)
        compare(
            "imagenet preparation",
            "MB/s",
            size,
            lambda: prepare_ours(archives, prepared),
            "tarfile",
            lambda: extract(archives, folder),
            "It decodes nothing; ours also finds broken pictures.",
        )
        order = np.random.default_rng(1).permutation(images).tolist()
        compare(
            "imagenet loader",
            "images/s",
            images // BATCH * BATCH,
            lambda: list(our_batches(prepared, order)),
            "torchvision, tensors",
            lambda: list(peer_batches(folder, order)),
            "Bytes in both; it decodes whole pictures, and its crops are drawn by another rule, and antialiased.",
        )


if __name__ == "__main__":
    main()
