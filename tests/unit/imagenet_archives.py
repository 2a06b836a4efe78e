"""ILSVRC2012 archives, miniature or made by hand, for the tests of their readers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from preparing import draw_all, run_steps
from scipy.io import savemat

from octathlon.datasets.imagenet import prepare
from octathlon.datasets.imagenet.settings import Settings

WNIDS = ["n01440764", "n01443537", "n01484850"]
IDS = [2, 3, 1]
"""The ILSVRC2012_ID of each: not their order, as upstream."""
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
META = "ILSVRC2012_devkit_t12/data/meta.mat"
TRUTH = "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"


def settings(train_shards: int = 2, val_shards: int = 1) -> Settings:
    return Settings(
        source="miniature",
        miniature={"train_per_class": 6, "val_per_class": 3},
        train_shards=train_shards,
        val_shards=val_shards,
    )


def draw(folder: Path, seed: int = 1, train_per_class: int = 6, val_per_class: int = 3) -> Path:
    """All archives of a miniature in `folder`."""
    sizes = {"train_per_class": train_per_class, "val_per_class": val_per_class}
    return draw_all("imagenet", folder, seed, **sizes)


def prepare_all(archives: Path, out: Path, chosen: Settings | None = None) -> Path:
    """Run every step."""
    return run_steps("imagenet", archives, out, chosen or settings())


def tar(files: Mapping[str, bytes], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def jpeg(shade: int = 0, mode: str = "RGB", form: str = "JPEG", size: tuple[int, int] = (20, 30)) -> bytes:
    pixels = np.full((*size, 3), shade % 256, dtype=np.uint8)
    pixels[: size[0] // 2, :, 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, form)
    return buffer.getvalue()


def meta(rows: Sequence[tuple[int, str, int]], **options: bool) -> bytes:
    """meta.mat with (ILSVRC2012_ID, WNID, num_children) rows."""
    full = [(number, wnid, f"word {wnid}", "", children, 0, 0, 0) for number, wnid, children in rows]
    synsets = np.array(full, dtype=[(field, object) for field in FIELDS])[:, None]
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets}, **options)
    return buffer.getvalue()


LEAVES = [(number, wnid, 0) for number, wnid in zip(IDS, WNIDS, strict=True)]
INNER = (4, "n00015388", 3)


def kit_files() -> dict[str, bytes]:
    """Three classes and four validation images, of the classes 2, 0, 1, 0."""
    return {META: meta([*LEAVES, INNER]), TRUTH: b"1\n2\n3\n2\n"}


def train_files() -> dict[str, dict[str, bytes]]:
    """Two images of each class."""
    return {
        f"{wnid}.tar": {f"{wnid}_{n}.JPEG": jpeg(40 * label + 9 * n) for n in (3, 12)}
        for label, wnid in enumerate(WNIDS)
    }


def val_files() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(200 + n) for n in range(1, 5)}


def write(
    folder: Path,
    train: Mapping[str, Mapping[str, bytes] | bytes] | None = None,
    val: Mapping[str, bytes] | None = None,
    kit: Mapping[str, bytes] | None = None,
) -> Path:
    """The three archives in `folder`, with what is given in the place of the good content."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = {
        name: content if isinstance(content, bytes) else tar(content)
        for name, content in (train if train is not None else train_files()).items()
    }
    (folder / prepare.TRAIN).write_bytes(tar(inner))
    (folder / prepare.VAL).write_bytes(tar(val if val is not None else val_files()))
    (folder / prepare.DEVKIT).write_bytes(tar(kit if kit is not None else kit_files(), "w:gz"))
    return folder
