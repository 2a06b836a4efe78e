"""ILSVRC2012 archives -> shards of untouched JPEGs with labels, and a manifest.

Only the packing changes: no image is resized, cropped or (but for the repairs of `images`) re-encoded. The
training tar, a tar of one tar per synset, is read in place by offset, so that each shard of synsets is a
job of its own and nothing is unpacked.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from octathlon.datasets.imagenet.devkit import Devkit, read_devkit
from octathlon.datasets.imagenet.images import as_jpeg
from octathlon.datasets.imagenet.settings import Settings
from octathlon.datasets.imagenet.shards import shard_files, write_shard
from octathlon.errors import OctathlonError
from octathlon.formats.tars import Member, index_tar
from octathlon.receipts import describe, read_json, write_json

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
IMAGE_LIMIT = 100_000_000
"""No image file is larger; upstream's largest have some 15 MB."""


def archives(_settings: Settings) -> list[str]:
    """The archives that the preparation needs."""
    return [TRAIN, VAL, DEVKIT]


def steps(settings: Settings) -> dict[str, list[str]]:
    """The steps before `manifest`: one for each shard, and named like it."""
    return {
        "train": [f"train-{number:03d}" for number in range(settings.train_shards)],
        "val": [f"val-{number:03d}" for number in range(settings.val_shards)],
    }


def prepare(step: str, archives: Path, out: Path, settings: Settings) -> None:
    """Run one step: one of `steps`, or `manifest` after all of them.

    Raises:
        OctathlonError: naming archive and member, if one is damaged or contradicts the development kit.
    """
    train, val = steps(settings).values()
    if step not in (*train, *val, "manifest"):
        raise OctathlonError(f"imagenet has no step {step!r}; choose {train[0]} to {val[-1]}, or manifest")
    kit = read_devkit(archives / DEVKIT)
    if step in train:
        images = _train_images(kit, archives / TRAIN, train.index(step), len(train))
        _prepare_shard(step, images, kit, out)
    elif step in val:
        _prepare_shard(step, _val_images(kit, archives / VAL, val.index(step), len(val)), kit, out)
    else:
        _write_manifest(kit, out, train, val)


def _prepare_shard(step: str, images: Iterator[tuple[bytes, int]], kit: Devkit, out: Path) -> None:
    """Write a shard and then its receipt."""
    labels = write_shard(out, step, images)["label"]
    receipt = {
        "format": 1,
        "stage": "prepare",
        "dataset": "imagenet",
        "step": step,
        "files": {name: describe(out / name) for name in shard_files(step)},
        "counts": {"images": len(labels)},
        "images_per_class": dict(Counter(kit.wnids[label] for label in labels)),
    }
    write_json(out / "receipts" / f"{step}.json", receipt)


def _train_images(kit: Devkit, path: Path, part: int, parts: int) -> Iterator[tuple[bytes, int]]:
    """The images, with labels, of one of `parts` groups of neighbouring classes."""
    tars = {member.name: member for member in index_tar(path)}
    known = {f"{wnid}.tar" for wnid in kit.wnids}
    if unknown := sorted(set(tars) - known):
        raise OctathlonError(
            f"{path}: {unknown[0]} is not of a class in meta.mat; use archives of one edition"
        )
    if missing := sorted(known - set(tars)):
        raise OctathlonError(f"{path}: {missing[0]} is missing; use archives of one edition")
    for label in _share(len(kit.wnids), part, parts):
        tar = tars[f"{kit.wnids[label]}.tar"]
        for jpeg in _read(path, _index_inner(path, tar), within=f"{tar.name}/"):
            yield jpeg, label


def _val_images(kit: Devkit, path: Path, part: int, parts: int) -> Iterator[tuple[bytes, int]]:
    """The images, with labels, of one of `parts` runs of the validation images in their numbers' order."""
    members = sorted(index_tar(path), key=lambda member: member.name)
    for number, member in enumerate(members, start=1):
        if member.name != f"ILSVRC2012_val_{number:08d}.JPEG":
            raise OctathlonError(f"{path}: {member.name} stands where image {number} should; fetch it again")
    if len(members) != len(kit.val_labels):
        raise OctathlonError(
            f"{path}: {len(members):,} images, but the ground truth in {DEVKIT} has {len(kit.val_labels):,} "
            "lines; use archives of one edition"
        )
    share = _share(len(members), part, parts)
    labels = kit.val_labels[share.start : share.stop].tolist()
    yield from zip(_read(path, members[share.start : share.stop]), labels, strict=True)


def _share(total: int, part: int, parts: int) -> range:
    """The contiguous share of one of `parts`; their sizes differ by at most one."""
    return range(total * part // parts, total * (part + 1) // parts)


def _index_inner(path: Path, tar: Member) -> list[Member]:
    try:
        return index_tar(path, tar.offset, tar.size)
    except OctathlonError as error:
        raise OctathlonError(f"{tar.name} in {error}") from error


def _read(path: Path, members: Iterable[Member], within: str = "") -> Iterator[bytes]:
    """The members' JPEGs, checked and repaired."""
    with path.open("rb") as file:
        for member in members:
            where = f"{path}: {within}{member.name}"
            if member.size > IMAGE_LIMIT:
                raise OctathlonError(f"{where}: {member.size:,} bytes are no image; fetch the archive again")
            try:
                yield as_jpeg(os.pread(file.fileno(), member.size, member.offset))
            except (OSError, ValueError) as error:
                raise OctathlonError(
                    f"{where}: cannot be decoded ({error}); convert it to JPEG, or fetch the archive again"
                ) from None


def _write_manifest(kit: Devkit, out: Path, train: list[str], val: list[str]) -> None:
    """Sum up the receipts of all shards. `splits` lists each split's shards in order."""
    receipts = {step: read_json(out / "receipts" / f"{step}.json") for step in train + val}
    per_class = {
        "train": _sum_counts(receipts[step]["images_per_class"] for step in train),
        "eval": _sum_counts(receipts[step]["images_per_class"] for step in val),
    }
    manifest = {
        "format": 1,
        "dataset": "imagenet",
        "shards": {name: facts for receipt in receipts.values() for name, facts in receipt["files"].items()},
        "splits": {"train": train, "eval": val},
        "counts": {split: counts.total() for split, counts in per_class.items()},
        "classes": [
            {"wnid": wnid, "words": words, "train": per_class["train"][wnid], "eval": per_class["eval"][wnid]}
            for wnid, words in zip(kit.wnids, kit.words, strict=True)
        ],
    }
    write_json(out / "manifest.json", manifest)


def _sum_counts(counts: Iterable[dict[str, int]]) -> Counter[str]:
    return sum((Counter(count) for count in counts), Counter())
