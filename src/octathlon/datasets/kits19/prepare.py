"""KiTS19 cases -> volumes at one spacing, normalised and padded, in shards of a few cases, and a manifest.

What is prepared equals, to the bit, what preprocess_dataset.py of mlcommons/training (image_segmentation/pytorch)
writes; only the packing differs. Beside the volumes go the boxes around each class's two largest components: the
training crops aim at them, and finding them takes longer than a training step.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from octathlon.datasets.kits19.case import CLASSES, case_files, case_name, read_case
from octathlon.datasets.kits19.resample import SPACING, resample_image, resample_label, target_shape
from octathlon.datasets.kits19.settings import Settings
from octathlon.datasets.kits19.shards import shard_file, write_shard
from octathlon.errors import OctathlonError
from octathlon.formats.errors import REMEDY
from octathlon.receipts import describe, read_json, write_json

HOUNSFIELD_RANGE = (-79.0, 304.0)
MEAN, STD = 101.0, 76.9
"""Of the reference: over the foreground of the training set, in Hounsfield units."""
TARGET_LIMIT, GROWTH = 30_000_000, 3
"""Voxels once resampled and padded: no more, but where a volume has more than a third of them. The reference's largest
has 93 million, and slices of 5 mm make three of each; flat ones are padded to 25 million."""
COMPONENT_LIMIT = 10_000
"""Parts of a label that don't touch, of one class: kidneys and tumours have few, drawn by hand as they were."""
PUBLISHED = Path(__file__).with_name("published.csv")

Facts = dict[str, Any]


def archives(settings: Settings) -> list[str]:
    """The archives that the preparation needs: no case without a label, no clinical records."""
    return [name for number in settings.train_cases + settings.eval_cases for name in case_files(number)]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The steps before `manifest`: one for each group of cases, and named like its shard."""
    return {
        split: [f"{split}-{number:03d}" for number in range(len(groups))]
        for split, groups in _groups(settings)
    }


def needs(step: str, settings: Settings) -> tuple[list[str], list[str]]:
    """The archives, and the steps before it (none), that a step other than `manifest` reads."""
    return [name for number in _cases(step, settings) for name in case_files(number)], []


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, or `manifest` after all of them.

    Raises:
        OctathlonError: naming the case, if it is damaged or is not the published one.
    """
    if step == "manifest":
        _write_manifest(out, settings)
        return
    facts: list[Facts] = []
    volumes = _prepared(_cases(step, settings), archives, settings, facts)
    write_shard(out, step, volumes)
    receipt = {
        "format": 1,
        "stage": "prepare",
        "dataset": "kits19",
        "step": step,
        "files": {shard_file(step): describe(out / shard_file(step))},
        "counts": {"cases": len(facts)},
        "cases": facts,
    }
    write_json(out / "receipts" / f"{step}.json", receipt)


def prepare_volumes(
    image: np.ndarray, label: np.ndarray, spacing: tuple[float, ...], least_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """A volume as it is trained on: float32 and uint8, both of the same shape.

    In the reference's order: resample, cut off and normalise, then pad with the edge's values.
    """
    shape = target_shape(image.shape, spacing)
    image, label = resample_image(image, shape), resample_label(label, shape)
    np.clip(image, *HOUNSFIELD_RANGE, out=image)
    image -= np.float32(MEAN)
    image /= np.float32(STD)
    missing = [max(least_size - size, 0) for size in shape]
    if not any(missing):  # np.pad would copy them
        return image, label
    widths = [(count // 2, count - count // 2) for count in missing]
    return np.pad(image, widths, "edge"), np.pad(label, widths, "edge")


def class_boxes(label: np.ndarray, path: Path) -> dict[str, list[list[list[int]]]]:
    """For each class but the background that is there: the boxes of the two largest components, largest first.

    A box is [first, end) along each axis. Components hang together by their voxels' faces; largest is the largest box.

    Raises:
        OctathlonError: naming `path`, the label's file, if a class has more than COMPONENT_LIMIT components.
    """
    from scipy import ndimage

    boxes = {}
    for number, around in enumerate(ndimage.find_objects(label, len(CLASSES) - 1), start=1):
        if around:
            components, count = ndimage.label(label[around] == number)
            if count > COMPONENT_LIMIT:
                raise OctathlonError(
                    f"{path}: a {CLASSES[number]} in {count:,} pieces was not drawn by hand; {REMEDY}"
                )
            found = [
                [
                    [part.start + whole.start, part.stop + whole.start]
                    for part, whole in zip(box, around, strict=True)
                ]
                for box in ndimage.find_objects(components)
            ]
            boxes[CLASSES[number]] = sorted(found, key=_volume, reverse=True)[:2]
    return boxes


def _volume(box: list[list[int]]) -> int:
    return int(np.prod([end - first for first, end in box], dtype=np.int64))


def _groups(settings: Settings) -> list[tuple[str, list[tuple[int, ...]]]]:
    """The cases of each job, by split."""
    size = settings.cases_per_job
    splits = {"train": settings.train_cases, "eval": settings.eval_cases}
    return [
        (split, [numbers[start : start + size] for start in range(0, len(numbers), size)])
        for split, numbers in splits.items()
    ]


def _cases(step: str, settings: Settings) -> tuple[int, ...]:
    known = {
        f"{split}-{n:03d}": numbers for split, groups in _groups(settings) for n, numbers in enumerate(groups)
    }
    if step not in known:
        raise OctathlonError(f"kits19 has no step {step!r}; choose one of {', '.join(known)}, or manifest")
    return known[step]


def _prepared(
    numbers: tuple[int, ...], archives: Path, settings: Settings, facts: list[Facts]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, image and label of each case; what the manifest tells of it is added to `facts`."""
    for number in numbers:
        image_path, label_path = (archives / file for file in case_files(number))
        case = read_case(archives, number)
        shape = target_shape(case.image.shape, case.spacing)
        voxels = np.prod(np.maximum(shape, settings.least_size), dtype=float)
        if not (all(shape) and voxels <= max(TARGET_LIMIT, GROWTH * case.image.size)):
            raise OctathlonError(
                f"{image_path}: shape {shape} at {SPACING} mm is not that of a CT volume; {REMEDY}"
            )
        image, label = prepare_volumes(case.image, case.label, case.spacing, settings.least_size)
        del case  # its volumes are larger than these
        name = case_name(number)
        boxes = class_boxes(label, label_path)
        facts.append(
            _facts(name, image, label, boxes) | _compare(name, image, label, settings.published_checksums)
        )
        yield name, image, label


def _facts(name: str, image: np.ndarray, label: np.ndarray, boxes: Facts) -> Facts:
    voxels = [int(np.count_nonzero(label == number)) for number in range(len(CLASSES))]
    return {
        "name": name,
        "shape": list(image.shape),
        "boxes": boxes,
        "voxels": dict(zip(CLASSES, voxels, strict=True)),
    }


def _compare(name: str, image: np.ndarray, label: np.ndarray, published: bool) -> Facts:
    """Whether a volume is bit for bit the reference's.

    Labels must be. Images need not: the last bits depend on the machine that interpolated them.
    """
    if not published:
        return {}
    image_md5, label_md5 = _published_md5s()[name]
    if npy_md5(label) != label_md5:
        raise OctathlonError(
            f"{name}: the prepared label is not the reference's; use the labels as corrected in December 2019, "
            "or, for data of your own, set datasets/kits19/published_checksums to false"
        )
    return {"image_as_published": npy_md5(image) == image_md5}


def npy_md5(volume: np.ndarray) -> str:
    """The MD5 of the file that numpy.save writes of a volume with a channel axis in front."""
    volume = np.ascontiguousarray(volume[None])
    digest = hashlib.md5(usedforsecurity=False)
    header = np.lib.format.header_data_from_array_1_0(volume)
    np.lib.format.write_array_header_1_0(_Hashed(digest), header)
    digest.update(volume)
    return digest.hexdigest()


class _Hashed:
    """A file that is only hashed."""

    def __init__(self, digest: Any) -> None:
        self.write = digest.update


@cache
def _published_md5s() -> dict[str, tuple[str, str]]:
    """The reference's checksum.json: case -> MD5s of its image and its label."""
    with PUBLISHED.open(newline="") as file:
        return {row["case"]: (row["image_md5"], row["label_md5"]) for row in csv.DictReader(file)}


def _write_manifest(out: Path, settings: Settings) -> None:
    """Sum up the receipts of all shards. `splits` lists each split's cases in order."""
    splits: dict[str, list[Facts]] = {}
    files = {}
    for split, names in steps(settings).items():
        receipts = [read_json(out / "receipts" / f"{name}.json") for name in names]
        files |= {name: facts for receipt in receipts for name, facts in receipt["files"].items()}
        splits[split] = [
            case | {"shard": receipt["step"]} for receipt in receipts for case in receipt["cases"]
        ]
    manifest = {
        "format": 1,
        "dataset": "kits19",
        "classes": list(CLASSES),
        "shards": files,
        "splits": splits,
        "counts": {split: len(cases) for split, cases in splits.items()},
    }
    write_json(out / "manifest.json", manifest)
