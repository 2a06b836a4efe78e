"""Real pictures in upstream's archives: ten synsets of ImageNet, and photographs of ten other classes."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from octathlon.datasets.imagenet import prepare
from octathlon.datasets.imagenet.loader import Batches, CentralCrop, Images, RandomCrops
from octathlon.datasets.imagenet.settings import Settings
from octathlon.datasets.imagenet.shards import read_index, shard_files
from octathlon.datasets.imagenet.undecoded import UndecodedBatches
from octathlon.receipts import read_json

REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata"
COUNTS = {"imagenet": {"train": 3010, "eval": 330}, "imagenet-photos": {"train": 440, "eval": 120}}
GREY = {"imagenet": {"L": 24}, "imagenet-photos": {"L": 62}}

pytestmark = [
    pytest.mark.skipif(not REALDATA.is_dir(), reason="../shared/realdata is not there"),
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
]


def synsets(sample: str) -> dict[str, dict[str, str]]:
    """The list beside the archives, which no archive holds: synset -> its row."""
    header, *rows = (
        line.split("\t") for line in (REALDATA / sample / "synsets.tsv").read_text().splitlines()
    )
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


@pytest.fixture(scope="module", params=COUNTS)
def sample(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def prepared(sample: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(sample)
    settings = Settings(source="upstream", miniature={}, train_shards=3, val_shards=2)
    for steps in prepare.steps(settings).values():
        for step in steps:
            prepare.prepare(step, REALDATA / sample, out, settings)
    prepare.prepare("manifest", REALDATA / sample, out, settings)
    return out


def labels(prepared: Path, split: str) -> list[int]:
    names = read_json(prepared / "manifest.json")["splits"][split]
    return [label for name in names for label in read_index(prepared, name)["label"].tolist()]


def test_classes_and_counts_come_from_the_data(sample: str, prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    listed = synsets(sample)
    assert [each["wnid"] for each in manifest["classes"]] == sorted(listed) and len(listed) == 10
    for each in manifest["classes"]:
        row = listed[each["wnid"]]
        assert [str(each["train"]), str(each["eval"])] == [row["train"], row["val"]]
        assert each["words"] == row["words"]
    assert manifest["counts"] == COUNTS[sample]


def test_validation_labels_are_those_of_the_independent_list(sample: str, prepared: Path) -> None:
    listed = (REALDATA / sample / "imagenet_2012_validation_synset_labels.txt").read_text().split()
    wnids = [each["wnid"] for each in read_json(prepared / "manifest.json")["classes"]]
    assert [wnids[label] for label in labels(prepared, "eval")] == listed
    ids = {row["ILSVRC2012_ID"]: wnid for wnid, row in synsets(sample).items()}
    assert [wnids[int(number) - 1] for number in ids] != list(
        ids.values()
    )  # IDs taken for labels would be wrong


def archived(sample: str) -> Iterator[bytes]:
    """The image files as Python's own tarfile finds them."""
    with tarfile.open(REALDATA / sample / prepare.TRAIN) as outer:
        for synset in outer:
            with tarfile.open(fileobj=outer.extractfile(synset)) as inner:
                yield from (inner.extractfile(member).read() for member in inner)
    with tarfile.open(REALDATA / sample / prepare.VAL) as tar:
        yield from (tar.extractfile(member).read() for member in tar)


def test_every_file_is_kept_byte_for_byte(sample: str, prepared: Path) -> None:
    """None of the real files needs a repair, the grey ones neither."""
    kept = []
    for name in (
        name for names in read_json(prepared / "manifest.json")["splits"].values() for name in names
    ):
        content = (prepared / shard_files(name)[0]).read_bytes()
        kept += [content[at : at + size] for at, size, _ in read_index(prepared, name).tolist()]
    assert sorted(kept) == sorted(archived(sample))
    modes = Counter(Image.open(io.BytesIO(content)).mode for content in kept)
    assert modes == GREY[sample] | {"RGB": len(kept) - GREY[sample]["L"]}


def test_every_picture_decodes_to_three_channels_and_the_evaluation_size(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    for split in ("train", "eval"):
        images = Images(prepared, manifest, split)
        assert len(images) == manifest["counts"][split]
        batch, _ = Batches(images, CentralCrop(56, short_side=64))[0, range(len(images))]
        assert batch.shape == (len(images), 3, 56, 56) and batch.dtype == torch.uint8
        assert 60 < batch.float().mean() < 180


def test_decoding_whole_batches_on_the_device_changes_no_pixel(prepared: Path) -> None:
    """And every real picture is one that any device can decode."""
    manifest = read_json(prepared / "manifest.json")
    for split, transform in (("train", RandomCrops(224, seed=1)), ("eval", CentralCrop(224, short_side=256))):
        images = Images(prepared, manifest, split)
        for start in range(0, len(images), 64):
            key = (1, range(start, min(start + 64, len(images))))
            undecoded, labels = UndecodedBatches(images, transform)[key]
            expected, numbers = Batches(images, transform)[key]
            assert undecoded.to(expected.device).equal(expected) and labels.equal(numbers)
            assert all(file.common for file in undecoded.files)
