"""Miniature ILSVRC2012 archives: one shape per class, packed exactly as upstream packs its photographs.

Colour, position and size carry no class information, so a network has to learn the shapes. The real
archives' traps are in: validation labels as ILSVRC2012_IDs whose order is not that of the WordNet ids, an
internal synset in meta.mat, and among the training pictures a PNG under a JPEG's name, a CMYK and a
greyscale file.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from octathlon.miniatures.files import add_member, replacing

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"

SYNSETS = {  # the first ten of the 1,000, with their real words
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n01484850": "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias",
    "n01491361": "tiger shark, Galeocerdo cuvieri",
    "n01494475": "hammerhead, hammerhead shark",
    "n01496331": "electric ray, crampfish, numbfish, torpedo",
    "n01498041": "stingray",
    "n01514668": "cock",
    "n01514859": "hen",
    "n01518878": "ostrich, Struthio camelus",
}
META_FIELDS = [
    *("ILSVRC2012_ID", "WNID", "words", "gloss"),
    *("num_children", "children", "wordnet_height", "num_train_images"),
]

INTERNAL = ("n00015388", "animal, animate being, beast, brute, creature, fauna")

SIDES = (72, 120)
"""Height and width of a picture: each uniform in this half-open range, in pixels."""


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [TRAIN, VAL, DEVKIT]


def draw(archive: str, folder: Path, *, seed: int, train_per_class: int, val_per_class: int) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn.

    Args:
        train_per_class, val_per_class: pictures of each of the ten classes.
    """
    labels = _val_labels(seed, val_per_class)
    writers: dict[str, Callable[[BinaryIO], None]] = {
        TRAIN: lambda file: _write_train(file, seed, train_per_class),
        VAL: lambda file: _write_val(file, seed, labels),
        DEVKIT: lambda file: _write_devkit(file, seed, labels, train_per_class),
    }
    write = writers[archive]
    with replacing(folder / archive) as file:
        write(file)


def _write_train(file: BinaryIO, seed: int, per_class: int) -> None:
    with tarfile.open(fileobj=file, mode="w:") as tar:
        for label, wnid in enumerate(SYNSETS):
            rng = np.random.default_rng([seed, 1, label])
            numbers = np.sort(rng.choice(32_000, per_class, replace=False))
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w:") as pictures:
                for position, number in enumerate(numbers):
                    encode = ODD_FILES.get((label, position), _jpeg)
                    add_member(pictures, f"{wnid}_{number}.JPEG", encode(_picture(rng, label)))
            add_member(tar, f"{wnid}.tar", inner.getvalue())


def _write_val(file: BinaryIO, seed: int, labels: np.ndarray) -> None:
    rng = np.random.default_rng([seed, 2])
    with tarfile.open(fileobj=file, mode="w:") as tar:
        for number, label in enumerate(labels, start=1):
            add_member(tar, f"ILSVRC2012_val_{number:08d}.JPEG", _jpeg(_picture(rng, label)))


def _write_devkit(file: BinaryIO, seed: int, labels: np.ndarray, train_per_class: int) -> None:
    ids = _ids(seed)
    truth = "".join(f"{ids[label]}\n" for label in labels).encode()
    files = {
        "readme.txt": b"A miniature of the ILSVRC2012 development kit: drawn shapes, not photographs.\n",
        "data/meta.mat": _meta(ids, train_per_class),
        "data/ILSVRC2012_validation_ground_truth.txt": truth,
    }
    with (
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w:") as tar,
    ):
        for name, content in files.items():
            add_member(tar, f"ILSVRC2012_devkit_t12/{name}", content)


def _val_labels(seed: int, per_class: int) -> np.ndarray:
    """The class of each validation picture, mixed; int64 of shape (10 * per_class,)."""
    return np.random.default_rng([seed, 3]).permutation(np.repeat(np.arange(len(SYNSETS)), per_class))


def _ids(seed: int) -> np.ndarray:
    """The ILSVRC2012_ID of each class: 1 to 10, no class keeping its own position, as good as upstream's."""
    rng = np.random.default_rng([seed, 4])
    positions = np.arange(1, len(SYNSETS) + 1)
    ids = rng.permutation(positions)
    while (ids == positions).any():
        ids = rng.permutation(positions)
    return ids


def _meta(ids: np.ndarray, train_per_class: int) -> bytes:
    """meta.mat: one struct array `synsets`, leaves in the order of their ids, then an internal node."""
    from scipy.io import savemat

    wnids = list(SYNSETS)
    rows = [
        (number, wnids[label], SYNSETS[wnids[label]], "", 0, np.zeros((1, 0)), 0, train_per_class)
        for number, label in sorted(zip(ids.tolist(), range(len(ids)), strict=True))
    ]
    rows.append((len(rows) + 1, *INTERNAL, "", len(ids), ids, 1, 0))
    synsets = np.array(rows, dtype=[(name, object) for name in META_FIELDS])[:, None]
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets}, do_compression=True)
    content = bytearray(buffer.getvalue())
    content[:116] = b"MATLAB 5.0 MAT-file".ljust(116)  # scipy's header text holds the time of day
    return bytes(content)


# Pictures ----------------------------------------------------------------------------------------------


def _picture(rng: np.random.Generator, label: int) -> np.ndarray:
    """A noisy picture with one light shape on a darker ground, uint8 of shape (height, width, 3)."""
    height, width = rng.integers(*SIDES, size=2)
    half = min(height, width) / 2
    radius = rng.uniform(0.65, 0.95) * half
    centre_y, centre_x = rng.uniform(radius, [height - radius, width - radius])
    y = ((np.arange(height) - centre_y) / radius)[:, None]
    x = ((np.arange(width) - centre_x) / radius)[None, :]
    inside = SHAPES[label](y, x) & (np.abs(y) < 1) & (np.abs(x) < 1)
    background, foreground = _colours(rng)
    pixels = rng.standard_normal((height, width, 3), dtype=np.float32) * 12
    pixels += np.where(inside[..., None], foreground, background)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> np.ndarray:
    """A ground and a clearly lighter colour of any hue, float64 of shape (2, 3)."""
    while True:
        colours = rng.uniform(0, 255, (2, 3))
        if colours[1].sum() - colours[0].sum() > 150:
            return colours


def _star(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A pentagram: within every sector of 72 degrees, left of the line from the tip to the inner corner."""
    angle = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    along, across = np.hypot(x, y) * np.cos(angle), np.hypot(x, y) * np.sin(angle)
    return along + across / np.tan(np.pi / 10) < 1


SHAPES: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = [
    lambda y, x: np.hypot(y, x) < 1,  # disc
    lambda y, x: np.maximum(abs(y), abs(x)) < 0.85,  # square
    lambda y, x: 2 * abs(x) < y + 1,  # triangle
    lambda y, x: np.minimum(abs(y), abs(x)) < 0.33,  # plus
    lambda y, x: (np.hypot(y, x) < 1) & (np.hypot(y, x) > 0.6),  # ring
    lambda y, x: np.floor(3 * (y + 1)) % 2 == 0,  # horizontal bars
    lambda y, x: np.floor(3 * (x + 1)) % 2 == 0,  # vertical bars
    lambda y, x: (np.floor(2 * (y + 1)) + np.floor(2 * (x + 1))) % 2 == 0,  # 4x4 checker
    _star,
    lambda y, x: np.maximum(abs(y), abs(x)) > 0.6,  # square frame
]


def _jpeg(pixels: np.ndarray, mode: str = "RGB", quality: int = 90) -> bytes:
    return _encode(Image.fromarray(pixels).convert(mode), "JPEG", quality=quality)


def _encode(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


ODD_FILES: dict[tuple[int, int], Callable[[np.ndarray], bytes]] = {
    # (class, position) -> encoding
    (2, 1): lambda pixels: _encode(Image.fromarray(pixels), "PNG"),
    (5, 0): lambda pixels: _jpeg(pixels, "CMYK"),
    (8, 2): lambda pixels: _jpeg(pixels, "L"),
}
