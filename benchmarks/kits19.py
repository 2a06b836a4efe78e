"""KiTS19: our preparation beside plain SciPy, our crops beside MONAI's, in one run.

    python benchmarks/kits19.py [CASES]

Draws CASES (default 2) volumes of upstream's shape (108 slices of 512 x 512) and prepares them. The peer does the same
with scipy.ndimage.zoom on volumes that are in memory already, and so without reading and storing. Then both loaders cut
crops of 128 voxels a side from the prepared volumes, 40 % of them aimed at a foreground class, with flips, brightness
and noise: ours out of the shards, MONAI's out of its CacheDataset, which keeps whole volumes and the places of their
foreground in memory. The last lines say what our crops take without noise, and without any change: then they are only
cut. One process, one thread, warm caches; figures are per second of CPU time.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel
import numpy as np
import torch
from scipy import ndimage
from timing import HEADER, ROUNDS, compare, figure, seconds

from octathlon.datasets.kits19 import augment, prepare
from octathlon.datasets.kits19.case import case_files
from octathlon.datasets.kits19.loader import Cases, Crops
from octathlon.datasets.kits19.resample import SPACING
from octathlon.datasets.kits19.settings import Settings
from octathlon.receipts import read_json

SHAPE, FROM = (108, 512, 512), (3.0, 0.78125, 0.78125)
SIZE, OVERSAMPLING, CROPS = 128, 0.4, 40


def draw(folder: Path, cases: int) -> None:
    """Smooth noise with two kidneys and a tumour."""
    z, y, x = FROM
    affine = np.array([[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1]])
    rng = np.random.default_rng(1)
    for number in range(cases):
        image = ndimage.zoom(rng.normal(0, 100, (27, 64, 64)), (4, 8, 8), order=1).astype(np.int16)
        label = np.zeros(SHAPE, np.uint8)
        label[40:70, 230:310, 120:190] = label[45:75, 230:310, 320:390] = 1
        label[50:60, 240:270, 130:160] = 2
        for name, volume in zip(case_files(number), (image, label), strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volume, affine), folder / name)


def settings(cases: int) -> Settings:
    return Settings(
        source="upstream",
        miniature={},
        train_cases=range(cases),
        eval_cases=[cases],
        cases_per_job=cases,
        least_size=SIZE,
        published_checksums=False,
    )


def by_scipy(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The peer of the preparation: the same steps, one call each."""
    factors = np.array(FROM) / SPACING
    image = ndimage.zoom(image.astype(np.float32), factors, order=1)
    label = ndimage.zoom(label, factors, order=0)
    image = (np.clip(image, *prepare.HOUNSFIELD_RANGE) - np.float32(prepare.MEAN)) / np.float32(prepare.STD)
    missing = [max(SIZE - size, 0) for size in image.shape]
    widths = [(count // 2, count - count // 2) for count in missing]
    return np.pad(image, widths, "edge"), np.pad(label, widths, "edge")


def our_crops(prepared: Path, cases: int) -> Iterable[Any]:
    manifest = read_json(prepared / "receipts" / "train-000.json")
    facts = [case | {"shard": "train-000"} for case in manifest["cases"]]
    crops = Crops(Cases(prepared, {"splits": {"train": facts}}, "train"), SIZE, OVERSAMPLING, seed=1)
    return (crops[1, [place], [place % cases]] for place in range(CROPS))


def monai_crops(volumes: Sequence[tuple[np.ndarray, np.ndarray]]) -> Iterator[Any]:
    from monai import transforms
    from monai.data import CacheDataset

    keys = ["image", "label"]
    steps = [
        transforms.FgBgToIndicesd("label"),
        transforms.RandCropByPosNegLabeld(
            keys,
            "label",
            (SIZE, SIZE, SIZE),
            pos=OVERSAMPLING,
            neg=1 - OVERSAMPLING,
            num_samples=1,
            fg_indices_key="label_fg_indices",
            bg_indices_key="label_bg_indices",
        ),
        *(transforms.RandFlipd(keys, prob=1 / 3, spatial_axis=axis) for axis in range(3)),
        transforms.RandScaleIntensityd("image", factors=(0.7, 1.3), prob=0.1),
        transforms.RandGaussianNoised("image", std=0.1, prob=0.1),
    ]
    cases = [dict(zip(keys, (volume[None] for volume in pair), strict=True)) for pair in volumes]
    cached = CacheDataset(cases, transforms.Compose(steps), num_workers=0, progress=False, copy_cache=False)
    return (cached[place % len(cases)] for place in itertools.cycle(range(CROPS)))


def tell_shares(prepared: Path, cases: int) -> None:
    """Our crops without what changes them."""
    changes = [f"{name}_PROBABILITY" for name in ("NOISE", "BRIGHTNESS", "FLIP")]
    for what, without in (("without noise", changes[:1]), ("only cut", changes)):
        with patch.multiple(augment, **dict.fromkeys(without, 0)):
            times = [seconds(lambda: [None for _ in our_crops(prepared, cases)]) for _ in range(ROUNDS)]
        print(f"* kits19 crops, {what}: {figure(CROPS / statistics.median(times))} crops/s")


def main(cases: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        draw(folder, cases)
        raw = [
            [np.asarray(nibabel.load(folder / name).dataobj) for name in case_files(n)] for n in range(cases)
        ]
        print(HEADER)
        compare(
            "kits19 preparation",
            "cases/s",
            cases,
            lambda: prepare.prepare("train-000", folder, folder, settings(cases)),
            "scipy",
            lambda: [by_scipy(*pair) for pair in raw],
            "Its volumes are in memory before and after; ours reads, checks and stores them.",
        )
        volumes = [prepare.prepare_volumes(image, label, FROM, SIZE) for image, label in raw]
        try:
            theirs = monai_crops(volumes)
        except ImportError:
            print("MONAI is not installed: no crops to compare with")
            return
        compare(
            "kits19 crops",
            "crops/s",
            CROPS,
            lambda: [None for _ in our_crops(folder, cases)],
            "MONAI, cached",
            lambda: [None for _ in itertools.islice(theirs, CROPS)],
            "All volumes, and where their foreground is, lie in its memory; ours maps files.",
        )
        tell_shares(folder, cases)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
