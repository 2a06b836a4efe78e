"""Batches: random access, and the same for any number of workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from imagenet_archives import draw, jpeg, prepare_all, settings
from torchvision.io import ImageReadMode, decode_jpeg

from octathlon.datasets.imagenet.loader import Batches, CentralCrop, Images, RandomCrops
from octathlon.datasets.imagenet.shards import shard_files, write_shard
from octathlon.datasets.imagenet.transforms import Crop, Picture, eval_transform
from octathlon.errors import OctathlonError
from octathlon.nn.loading import load
from octathlon.receipts import read_json

# torchvision's decoder will move to torchcodec; the versions are pinned.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

Prepared = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """60 training and 30 validation images in 13 shards, of which some are empty, and 4."""
    folder = tmp_path_factory.mktemp("imagenet")
    out = prepare_all(draw(folder / "archives"), folder / "prepared", settings(13, 4))
    return out, read_json(out / "manifest.json")


def originals(prepared: Prepared, split: str) -> list[tuple[bytes, int]]:
    folder, manifest = prepared
    pairs = []
    for name in manifest["splits"][split]:
        data, index = (folder / each for each in shard_files(name))
        content = data.read_bytes()
        pairs += [(content[at : at + size], label) for at, size, label in np.load(index).tolist()]
    return pairs


@pytest.mark.parametrize("split", ["train", "eval"])
def test_any_image_is_read_in_any_order(prepared: Prepared, split: str) -> None:
    images, expected = Images(*prepared, split), originals(prepared, split)
    assert len(images) == len(expected)
    for number in np.random.default_rng(1).permutation(len(images)).tolist() + [0, 0, len(images) - 1]:
        image, label = images.read(number, pixels)
        content = torch.frombuffer(bytearray(expected[number][0]), dtype=torch.uint8)
        assert image.equal(decode_jpeg(content, mode=ImageReadMode.RGB))
        assert label == expected[number][1]


def pixels(picture: Picture) -> torch.Tensor:
    """All of a picture."""
    _, height, width = picture.shape
    return picture[Crop(0, 0, height, width).cut]


def keys(epoch: int = 1) -> list[tuple[int, list[int]]]:
    order = np.random.default_rng(epoch).permutation(60)
    return [(epoch, order[start : start + 8].tolist()) for start in range(0, 60, 8)]


def test_workers_change_no_batch(prepared: Prepared) -> None:
    def batches(workers: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        crops = Batches(Images(*prepared, "train"), RandomCrops(32, seed=7))
        return list(load(crops, keys(), workers=workers, pin_memory=False))

    alone, helped = batches(0), batches(2)
    assert len(alone) == len(helped) == 8
    for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
        assert images.equal(other_images) and labels.equal(other_labels)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert [len(labels) for _, labels in alone] == [8] * 7 + [4]


def test_an_images_crop_depends_on_seed_epoch_and_number_alone(prepared: Prepared) -> None:
    def crop(seed: int, epoch: int, numbers: list[int]) -> torch.Tensor:
        return Batches(Images(*prepared, "train"), RandomCrops(32, seed))[epoch, numbers][0][0]

    assert crop(1, 1, [9, 4]).equal(crop(1, 1, [9, 5, 6]))
    crops = {crop(seed, epoch, [9]).numpy().tobytes() for seed in (1, 2, 3) for epoch in (1, 2, 3)}
    assert len(crops) == 9


def test_evaluation_images_are_the_central_crops_in_every_epoch(prepared: Prepared) -> None:
    source = Images(*prepared, "eval")
    batches = Batches(source, CentralCrop(48, short_side=55))
    images, labels = batches[0, [3, 29, 11]]
    for position, number in enumerate((3, 29, 11)):
        image, label = source.read(number, pixels)
        exact = eval_transform(image, 48, 55)
        assert (images[position] - exact).abs().max() <= 0.5  # rounded, not cut off
        assert exact.frac().any()
        assert labels[position] == label
    assert batches[5, [3]][0].equal(images[:1])


def test_grey_images_have_three_equal_channels(tmp_path: Path) -> None:
    write_shard(tmp_path, "s", [(jpeg(60, "L"), 0)])
    image, _ = Images(tmp_path, {"splits": {"train": ["s"]}}, "train").read(0, pixels)
    assert image.shape == (3, 20, 30)
    assert image[0].equal(image[1]) and image[0].equal(image[2])


DAMAGE = {
    "gone": lambda data, index: data.unlink(),
    "cut": lambda data, index: data.write_bytes(data.read_bytes()[:-1]),
    "overwritten": lambda data, index: data.write_bytes(bytes(data.stat().st_size)),
    "sizes": lambda data, index: np.save(index, set_sizes(np.load(index), -5)),
}


def set_sizes(table: np.ndarray, size: int) -> np.ndarray:
    table["size"] = size
    return table


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_shard_is_named(tmp_path: Path, damage) -> None:
    write_shard(tmp_path, "s", [(jpeg(n), n) for n in range(3)])
    damage(*(tmp_path / name for name in shard_files("s")))
    with pytest.raises(OctathlonError, match=r"s.jpegs: cannot read image 2 .*; prepare imagenet again"):
        Images(tmp_path, {"splits": {"train": ["s"]}}, "train").read(2, pixels)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_workers_error_is_one_sentence(tmp_path: Path, workers: int) -> None:
    write_shard(tmp_path, "s", [(jpeg(1), 1)])
    (tmp_path / "s.jpegs").unlink()
    images = Images(tmp_path, {"splits": {"train": ["s"]}}, "train")
    loader = load(Batches(images, RandomCrops(8, seed=1)), [(1, [0])], workers=workers, pin_memory=False)
    with pytest.raises(OctathlonError) as raised:
        next(iter(loader))
    expected = (
        f"{tmp_path}/s.jpegs: cannot read image 0 ([Errno 2] No such file or directory: '{tmp_path}/s.jpegs')"
    )
    assert str(raised.value) == f"{expected}; prepare imagenet again"


def test_nothing_is_opened_before_the_first_read(tmp_path: Path) -> None:
    """The shards' files belong to the process that reads, so that workers inherit none."""
    write_shard(tmp_path, "s", [(jpeg(1), 1)])
    images = Images(tmp_path, {"splits": {"train": ["s"]}}, "train")
    assert str(tmp_path / "s.jpegs") not in open_files()
    images.read(0, pixels)
    assert str(tmp_path / "s.jpegs") in open_files()


def open_files() -> list[str]:
    return [file.path for file in psutil.Process().open_files()]
