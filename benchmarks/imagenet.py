"""ImageNet: our preparation beside tarfile's extraction, our loader beside torchvision's ImageFolder, in one run.

    python benchmarks/imagenet.py [IMAGES]

Draws IMAGES (default 400) pictures of upstream's usual size and packs them as upstream does. The preparation reads
them in place, decodes each once to find the broken ones, and writes shards; the peer unpacks the tars into a folder of
files. The loader makes training batches of 32 from the shards; the peer does so from the folder, with the transforms
of torchvision's examples. One process, one thread, warm caches; figures are per second of CPU time.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from octathlon.datasets.imagenet import prepare
from octathlon.datasets.imagenet.loader import Batches, Images, RandomCrops
from octathlon.datasets.imagenet.settings import Settings
from octathlon.nn.loading import load
from octathlon.receipts import read_json

CLASSES, SIZE, BATCH = 4, (375, 500), 32
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


def picture(rng: np.random.Generator) -> bytes:
    """A JPEG of SIZE whose detail falls off with its frequency as a photograph's does."""
    down, across = np.meshgrid(np.fft.fftfreq(SIZE[0]), np.fft.rfftfreq(SIZE[1]), indexing="ij")
    spectrum = np.fft.rfft2(rng.standard_normal((3, *SIZE))) / np.maximum(
        np.hypot(down, across), 1 / max(SIZE)
    )
    pixels = np.fft.irfft2(spectrum, s=SIZE)
    pixels = 128 + 50 * pixels / pixels.std()
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels.clip(0, 255).astype(np.uint8), 0, 2)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


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
        f"{wnid}.tar": tar({f"{wnid}_{number}.JPEG": picture(rng) for number in range(images // CLASSES)})
        for wnid in wnids
    }
    rows = [(number, wnid, wnid, "", 0, 0, 0, 0) for number, wnid in enumerate(wnids, start=1)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=[(name, object) for name in FIELDS])[:, None]})
    data = "ILSVRC2012_devkit_t12/data"
    kit = {f"{data}/meta.mat": meta.getvalue(), f"{data}/ILSVRC2012_validation_ground_truth.txt": b"1\n"}
    (folder / prepare.TRAIN).write_bytes(tar(train))
    (folder / prepare.VAL).write_bytes(tar({"ILSVRC2012_val_00000001.JPEG": picture(rng)}))
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


def our_loader(prepared: Path) -> DataLoader:
    images = Images(prepared, read_json(prepared / "manifest.json"), "train")
    order = np.random.default_rng(1).permutation(len(images)).tolist()
    keys = [(1, order[start : start + BATCH]) for start in range(0, len(images) - BATCH + 1, BATCH)]
    return load(Batches(images, 224, RandomCrops(224, seed=1)), keys, workers=0, pin_memory=False)


def peer_loader(folder: Path) -> DataLoader:
    steps = [
        v2.RandomResizedCrop(224, scale=(0.05, 1), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
    ]
    steps += [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return DataLoader(ImageFolder(folder, v2.Compose(steps)), batch_size=BATCH, shuffle=True, drop_last=True)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of `work`, the system's included."""
    started = time.process_time()
    work()
    return time.process_time() - started


def rate(loader: DataLoader, batches: int) -> float:
    """Images per CPU second, after a first batch that opens the files."""
    stream = iter(loader)
    next(stream)
    return batches * BATCH / seconds(lambda: sum(len(labels) for _, labels in islice(stream, batches)))


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DeprecationWarning)
    with tempfile.TemporaryDirectory() as work:
        archives, prepared, folder = (Path(work) / name for name in ("archives", "prepared", "folder"))
        archives.mkdir()
        draw(archives, images)
        size = (archives / prepare.TRAIN).stat().st_size / 1e6
        prepare_ours(archives, Path(work) / "warm up")
        ours = size / seconds(lambda: prepare_ours(archives, prepared))
        theirs = size / seconds(lambda: extract(archives, folder))
        print(f"{images} pictures of {SIZE[1]} x {SIZE[0]}, {size / images * 1000:.0f} kB each")
        print(
            f"preparation   ours {ours:7.0f} MB/s   tarfile     {theirs:7.0f} MB/s   ratio {ours / theirs:.2f}"
        )
        batches = images // BATCH - 1
        ours, theirs = rate(our_loader(prepared), batches), rate(peer_loader(folder), batches)
        print(
            f"loader        ours {ours:7.0f} img/s  torchvision {theirs:7.0f} img/s  ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
