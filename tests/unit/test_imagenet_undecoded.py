"""Batches that the training device decodes: on a CPU those of the workers that decode, to the bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imagenet_archives import draw, jpeg, prepare_all, settings
from test_imagenet_jpegs import encode, rotated
from test_resnet_benchmark import benchmark

from octathlon.datasets.imagenet.jpegs import read_header
from octathlon.datasets.imagenet.loader import Batches, CentralCrop, Images, RandomCrops, Transform
from octathlon.datasets.imagenet.shards import shard_files, write_shard
from octathlon.datasets.imagenet.undecoded import Undecoded, UndecodedBatches, made_up
from octathlon.errors import OctathlonError
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.nn.loading import load
from octathlon.nn.shared_memory import empty
from octathlon.receipts import read_json

# torchvision's decoder will move to torchcodec; the versions are pinned.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

CPU = torch.device("cpu")
TRANSFORMS = [("train", RandomCrops(32, seed=7)), ("eval", CentralCrop(48, short_side=55))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 30 validation images."""
    folder = tmp_path_factory.mktemp("imagenet")
    return prepare_all(draw(folder / "archives"), folder / "prepared", settings(3, 2))


def shard(folder: Path, contents: Iterable[bytes]) -> Images:
    """Images with their numbers as labels."""
    write_shard(folder, "s", [(content, number) for number, content in enumerate(contents)])
    return Images(folder, {"splits": {"train": ["s"]}}, "train")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("split", "transform"), TRANSFORMS)
def test_batches_are_those_of_workers_that_decode(
    prepared: Path, split: str, transform: Transform, workers: int
) -> None:
    images = Images(prepared, read_json(prepared / "manifest.json"), split)
    order = np.random.default_rng(1).permutation(len(images))
    keys = [(epoch, order[start : start + 8]) for epoch in (1, 2) for start in range(0, len(order), 8)]
    loader = load(UndecodedBatches(images, transform, empty), keys, workers=workers, pin_memory=False)
    expected = Batches(images, transform)
    for key, (undecoded, labels) in zip(keys, loader, strict=True):
        found, (pictures, numbers) = undecoded.to(CPU), expected[key]
        assert found.equal(pictures) and labels.equal(numbers) and labels.dtype == torch.int64
        assert found.dtype == torch.uint8 and found.stride() == pictures.stride()
        assert all(file.common for file in undecoded.files)


ODD: dict[str, tuple[bool, dict[str, Any]]] = {  # whether any decoder can decode it
    "grey": (True, {"mode": "L"}),
    "CMYK": (False, {"mode": "CMYK"}),
    "rotated": (True, {"exif": rotated()}),
    "progressive": (True, {"progressive": True}),
    "restarts": (True, {"restart_marker_blocks": 3}),
    "fine colours": (True, {"subsampling": "4:4:4"}),
}


@pytest.mark.parametrize("transform", [transform for _, transform in TRANSFORMS])
@pytest.mark.parametrize("size", [(37, 50), (64, 1), (1, 1), (3, 200)])
def test_odd_pictures_are_decoded_as_before(
    tmp_path: Path, size: tuple[int, int], transform: Transform
) -> None:
    images = shard(tmp_path, [encode(*size, **options).tobytes() for _, options in ODD.values()])
    key = (3, range(len(ODD)))
    undecoded, _ = UndecodedBatches(images, transform)[key]
    assert [file.common for file in undecoded.files] == [common for common, _ in ODD.values()]
    assert undecoded.to(CPU).equal(Batches(images, transform)[key][0])


def test_a_header_is_found_behind_anything() -> None:
    content = encode(20, 30)
    thumbnail = encode(5, 6).tobytes()
    start, rest = content[:2].tobytes(), content[2:].tobytes()
    before = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + b"junk\xff\x00\xff\xff"
    header = read_header(np.frombuffer(start + before + rest, dtype=np.uint8))
    assert header == (20, 30, True)


def test_unusual_pictures_are_left_to_the_cpu() -> None:
    """12 bits, arithmetic codes, brightness coarser than the colours."""
    content = encode(20, 30)
    frame = content.tobytes().index(b"\xff\xc0")
    for place, value in ((frame + 4, 12), (frame + 1, 0xC9), (frame + 14, 0x22)):
        unusual = content.copy()
        unusual[place] = value
        assert read_header(content) == (20, 30, True) and read_header(unusual) == (20, 30, False)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x11\x08\x00", bytes(500)])
def test_what_has_no_header_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no JPEG, or without a size"):
        read_header(np.frombuffer(content, dtype=np.uint8))


def cut_short(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def without_codes(content: bytes) -> bytes:
    """With a table of Huffman codes that has too many of them."""
    place = content.index(b"\xff\xc4") + 5
    return content[:place] + b"\xff" * 16 + content[place + 16 :]


@pytest.mark.parametrize("damage", [cut_short, without_codes, lambda content: bytes(len(content))])
def test_a_damaged_picture_is_named(tmp_path: Path, damage) -> None:
    contents = [jpeg(9), jpeg(9, "CMYK"), damage(jpeg(9)), jpeg(9)]
    batches = UndecodedBatches(shard(tmp_path, contents), RandomCrops(8, seed=1))
    with pytest.raises(OctathlonError) as raised:
        batches[1, [0, 1, 2, 3]][0].to(CPU)
    told = str(raised.value)
    assert told.startswith(f"{tmp_path / shard_files('s')[0]}: cannot read image 2 (")
    assert told.endswith("; prepare imagenet again") and "\n" not in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_a_device_that_does_not_decode_is_told_with_what_to_set() -> None:
    undecoded = made_up(2, RandomCrops(8, seed=1))
    with pytest.raises(
        OctathlonError, match=r"^cuda:0 cannot decode a batch of JPEGs \(.*\); set decode_on_device to false$"
    ):
        undecoded._pictures(torch.device("cuda:0"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("split", "transform"), TRANSFORMS)
def test_a_gpus_images_are_nearly_those_of_a_cpu(prepared: Path, split: str, transform: Transform) -> None:
    images = Images(prepared, read_json(prepared / "manifest.json"), split)
    undecoded, _ = UndecodedBatches(images, transform)[1, range(len(images))]
    found, expected = undecoded.to(torch.device("cuda")).cpu(), undecoded.to(CPU)
    assert found.stride() == expected.stride()
    assert (found.int() - expected.int()).abs().float().mean() < 4


@pytest.mark.parametrize("transform", [transform for _, transform in TRANSFORMS])
def test_pictures_of_other_devices_become_bytes_there(transform: Transform) -> None:
    """As far as a device without any data can show it."""
    picture = torch.empty((3, 70, 90), dtype=torch.uint8, device="meta")
    made = transform.apply(picture, transform.draw(70, 90, epoch=1, number=1))
    assert made.device.type == "meta" and made.dtype == torch.uint8
    assert made.shape == (3, transform.size, transform.size)


def test_a_made_up_batch_is_like_a_real_one(prepared: Path) -> None:
    chosen = benchmark(data=prepared, decode_on_device=True)
    made, labels = chosen.synthetic_batch()
    real, real_labels = next(iter(chosen.train_batches(1)))
    assert isinstance(made, Undecoded) and isinstance(real, Undecoded)
    for each in (made, real):
        assert each.to(CPU).shape == (32, 3, 40, 40)
        assert len(each.content) == sum(file.size for file in each.files)
    assert labels.shape == real_labels.shape and labels.dtype == real_labels.dtype


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_is_the_same_whoever_decodes(prepared: Path, precision: str) -> None:
    """Log and weights, to the bit, of two epochs in two micro-batches each, evaluated twice."""

    def run(decode_on_device: bool) -> tuple[str, list[torch.Tensor]]:
        torch.manual_seed(1)
        chosen = benchmark(
            data=prepared,
            decode_on_device=decode_on_device,
            precision=precision,
            global_batch_size=16,
            gradient_accumulation_steps=2,
            cadence={"unit": "epochs", "first": 1, "every": 1, "limit": 2},
            target={"accuracy": 2.0},
        )
        log, models = io.StringIO(), []
        timed_run(chosen, Events([log], lambda: 1_700_000_000.0), ready=models.append)
        return log.getvalue(), [each.detach() for each in models[0].parameters()]

    (log, weights), (other_log, others) = run(False), run(True)
    assert log.count('"eval_accuracy"') == 2 and log == other_log
    assert all(weight.equal(other) for weight, other in zip(weights, others, strict=True))
