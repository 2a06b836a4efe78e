"""Archives into shards and a manifest: right labels, untouched bytes, and one sentence for each damage."""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imagenet_archives as made
import numpy as np
import pytest
from imagenet_archives import IDS, META, TRUTH, WNIDS, draw, jpeg, prepare_all, settings, write
from PIL import Image

from octathlon.datasets.imagenet import prepare
from octathlon.datasets.imagenet.devkit import read_devkit
from octathlon.datasets.imagenet.images import as_jpeg
from octathlon.datasets.imagenet.shards import read_index, shard_files, write_shard
from octathlon.errors import OctathlonError
from octathlon.formats.tars import index_tar
from octathlon.receipts import read_json


def contents(out: Path, split: str) -> list[tuple[bytes, int]]:
    """All (image file, label) pairs of a split, in order."""
    pairs = []
    for name in read_json(out / "manifest.json")["splits"][split]:
        data = (out / shard_files(name)[0]).read_bytes()
        pairs += [(data[at : at + size], label) for at, size, label in read_index(out, name).tolist()]
    return pairs


# Labels ----------------------------------------------------------------------------------------------


def test_labels_are_ranks_of_sorted_synsets_and_not_ids(tmp_path: Path) -> None:
    """ID 2 is the first synset, 3 the second, 1 the third; the inner node 4 is no class."""
    kit = read_devkit(write(tmp_path) / prepare.DEVKIT)
    assert kit.wnids == WNIDS
    assert kit.words == [f"word {wnid}" for wnid in WNIDS]
    assert kit.val_labels.tolist() == [2, 0, 1, 0]  # of the IDs 1 2 3 2


def test_unsorted_and_compressed_kits_read_the_same(tmp_path: Path) -> None:
    shuffled = [made.INNER, *reversed(made.LEAVES)]
    for compressed in (False, True):
        kit = made.kit_files() | {META: made.meta(shuffled, do_compression=compressed)}
        assert read_devkit(write(tmp_path, kit=kit) / prepare.DEVKIT).val_labels.tolist() == [2, 0, 1, 0]


def test_training_and_validation_labels_agree(tmp_path: Path) -> None:
    archives = write(tmp_path / "archives")
    out = prepare_all(archives, tmp_path / "prepared")
    train = made.train_files()
    expected = [
        (content, label) for label, wnid in enumerate(WNIDS) for content in train[f"{wnid}.tar"].values()
    ]
    assert contents(out, "train") == expected
    assert contents(out, "eval") == list(zip(made.val_files().values(), [2, 0, 1, 0], strict=True))


def test_validation_images_are_taken_by_number_whatever_their_place(tmp_path: Path) -> None:
    shuffled = dict(reversed(made.val_files().items()))
    out = prepare_all(write(tmp_path / "archives", val=shuffled), tmp_path / "prepared")
    assert [image for image, _ in contents(out, "eval")] == list(made.val_files().values())


# Images ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_colour_and_grey_jpegs_are_kept_byte_for_byte(mode: str) -> None:
    assert as_jpeg(jpeg(7, mode)) == jpeg(7, mode)


@pytest.mark.parametrize(("mode", "form"), [("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_other_files_become_rgb_jpegs_of_high_quality(mode: str, form: str) -> None:
    content = jpeg(90, mode, form)
    with Image.open(io.BytesIO(as_jpeg(content))) as repaired, Image.open(io.BytesIO(content)) as original:
        assert (repaired.format, repaired.mode) == ("JPEG", "RGB")
        assert repaired.size == original.size == (30, 20)
        difference = np.asarray(repaired, dtype=float) - np.asarray(original.convert("RGB"))
        assert np.abs(difference).mean() < 2.5
        assert max(repaired.quantization[0]) == 1  # quality 100


def test_exif_rotation_is_neither_applied_nor_lost() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    assert as_jpeg(buffer.getvalue()) == buffer.getvalue()


def png(width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    """A PNG of a kind as its specification numbers them: 0 grey, 2 colours, 4 grey and alpha, 6 colours and alpha."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("kind", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_become_eight(kind: int, channels: int) -> None:
    """A slope from black to white, mean 127.5, in each channel but alpha; the upper bytes count."""
    slope = np.linspace(0, 65535, 256 * 16).round().astype(">u2").reshape(16, 256)
    values = np.repeat(slope[:, :, None], channels, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    with Image.open(io.BytesIO(as_jpeg(png(256, 16, 16, kind, rows)))) as image:
        found = np.asarray(image.convert("RGB"), dtype=float)
    assert np.abs(found - (slope >> 8)[:, :, None]).max() <= 2  # of quality 100
    assert found.mean() == pytest.approx(127.5, abs=0.5)


def bomb() -> bytes:
    """A valid PNG of 2 KB that says it has 40,000 x 40,000 pixels."""
    return png(40_000, 40_000, 8, 2, bytes(999))


def sized(width: int, height: int, mode: str = "RGB") -> bytes:
    """A small JPEG that says it has another size."""
    content = jpeg(3, mode)
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def scans(count: int) -> bytes:
    """A JPEG whose pixels are there many times."""
    content = jpeg(3)
    scan = content[content.index(b"\xff\xda") : -2]
    return content[:-2] + scan * (count - 1) + content[-2:]


GARBAGE = {
    "garbage": (b"no image at all" * 20, "of unknown kind, no readable JPEG or PNG"),
    "empty": (b"", "an empty file, no readable JPEG or PNG"),
    "cut in half": (jpeg(3, size=(200, 200))[:900], "image file is truncated"),
    "cut in the head": (jpeg(3)[:9], "Truncated File Read"),
    "gif": (jpeg(form="GIF"), "a GIF image, no readable JPEG or PNG"),
    "webp": (jpeg(form="WEBP"), "a WebP image, no readable JPEG or PNG"),
    "bmp": (jpeg(form="BMP"), "a BMP image, no readable JPEG or PNG"),
    "tiff": (jpeg(form="TIFF"), "a TIFF image, no readable JPEG or PNG"),
    "avif": (jpeg(form="AVIF"), "an AVIF image, no readable JPEG or PNG"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page or XML, no readable JPEG or PNG"),
    "bomb": (bomb(), "exceeds limit"),
    "large": (sized(8001, 8000), "8001 x 8000 pixels where at most 64,000,000 are read"),
    "large PNG": (png(5001, 5000, 8, 0, b""), "5001 x 5000 pixels where at most 25,000,000 are read"),
    "large CMYK": (sized(5001, 5000, "CMYK"), "5001 x 5000 pixels where at most 25,000,000 are read"),
    "comments": (jpeg(3)[:2] + b"\xff\xfe\x00\x02" * 10**6 + jpeg(3)[2:], "more than 100,000 markers"),
    "padding": (jpeg(3)[:2] + b"\xff" * 10**6 + jpeg(3)[2:], "more than 100,000 markers"),
    "scans": (scans(20_000), "20,000 scans where at most 50 are read"),
}


@pytest.mark.parametrize(("content", "kind"), GARBAGE.values(), ids=GARBAGE.keys())
def test_a_broken_image_is_named_with_archive_and_member(tmp_path: Path, content: bytes, kind: str) -> None:
    train = made.train_files()
    train[f"{WNIDS[1]}.tar"][f"{WNIDS[1]}_99.JPEG"] = content
    archives = write(tmp_path / "archives", train=train)
    where = re.escape(f"{archives / prepare.TRAIN}: {WNIDS[1]}.tar/{WNIDS[1]}_99.JPEG: cannot be decoded (")
    with pytest.raises(OctathlonError, match=rf"{where}.*{kind}.*\); convert it to JPEG, or fetch") as raised:
        prepare_all(archives, tmp_path / "prepared", settings(train_shards=1))
    assert "\n" not in str(raised.value) and " at 0x" not in str(raised.value)
    assert not list((tmp_path / "prepared").glob("train*"))


# Shards and manifest ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("drawn"))


def test_all_images_of_a_miniature_arrive(drawn: Path, tmp_path: Path) -> None:
    out = prepare_all(drawn, tmp_path)
    tar = (drawn / prepare.TRAIN).read_bytes()
    originals = [
        tar[member.offset : member.offset + member.size]
        for inner in sorted(index_tar(drawn / prepare.TRAIN), key=lambda member: member.name)
        for member in index_tar(drawn / prepare.TRAIN, inner.offset, inner.size)
    ]
    images = contents(out, "train")
    kept = [image == original for (image, _), original in zip(images, originals, strict=True)]
    assert len(kept) == 60 and kept.count(False) == 2  # the PNG and the CMYK file
    assert [label for _, label in images] == [label for label in range(10) for _ in range(6)]
    modes = Counter(Image.open(io.BytesIO(image)).mode for image, _ in images)
    assert modes == {"RGB": 59, "L": 1}
    assert Counter(label for _, label in contents(out, "eval")) == dict.fromkeys(range(10), 3)


def test_the_manifest_counts_what_is_there(drawn: Path, tmp_path: Path) -> None:
    out = prepare_all(drawn, tmp_path)
    manifest = read_json(out / "manifest.json")
    assert manifest["counts"] == {"train": 60, "eval": 30}
    assert [(each["train"], each["eval"]) for each in manifest["classes"]] == [(6, 3)] * 10
    assert manifest["classes"][7] == {"wnid": "n01514668", "words": "cock", "train": 6, "eval": 3}
    assert manifest["splits"] == {"train": ["train-000", "train-001"], "eval": ["val-000"]}
    for name, facts in manifest["shards"].items():
        content = (out / name).read_bytes()
        assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_two_preparations_give_the_same_bytes(drawn: Path, tmp_path: Path) -> None:
    first, second = prepare_all(drawn, tmp_path / "1"), prepare_all(drawn, tmp_path / "2")
    names = sorted(path.relative_to(first) for path in first.rglob("*"))
    assert names == sorted(path.relative_to(second) for path in second.rglob("*"))
    assert len(names) == 11  # two files and a receipt for each of 3 shards, a folder, the manifest
    for name in names:
        assert (first / name).is_dir() or (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("shards", [(1, 1), (3, 4), (10, 30), (25, 7)])
def test_the_number_of_shards_changes_no_image(drawn: Path, tmp_path: Path, shards: tuple[int, int]) -> None:
    """25 shards for 10 classes: some are empty."""
    one, many = prepare_all(drawn, tmp_path / "1"), prepare_all(drawn, tmp_path / "n", settings(*shards))
    for split in ("train", "eval"):
        assert contents(one, split) == contents(many, split)
    counts = [read_json(out / "manifest.json")["classes"] for out in (one, many)]
    assert counts[0] == counts[1]


def test_shards_are_written_one_image_at_a_time(tmp_path: Path) -> None:
    """The file grows while the images come."""
    sizes = []

    def images():
        for number in range(3):
            yield bytes([number]) * 200_000, number
            sizes.append(max(path.stat().st_size for path in tmp_path.iterdir()))

    assert write_shard(tmp_path, "s", images()).tolist() == [
        (0, 200_000, 0),
        (200_000, 200_000, 1),
        (400_000, 200_000, 2),
    ]
    assert sizes == [200_000, 400_000, 600_000]


def test_an_unknown_step_is_named(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match="no step 'train-2'; choose train-000 to val-000, or manifest"):
        prepare.prepare("train-2", drawn, tmp_path, settings())


def test_the_manifest_needs_all_shards(drawn: Path, tmp_path: Path) -> None:
    prepare.prepare("train-000", drawn, tmp_path, settings())
    with pytest.raises(OctathlonError, match=r"train-001.json: not there; run the stage"):
        prepare.prepare("manifest", drawn, tmp_path, settings())


# Damaged archives ------------------------------------------------------------------------------------


def without_its_end(content: bytes) -> bytes:
    return content[: len(content) // 2]


def mat_bomb() -> bytes:
    """A compressed variable of 100 KB that unpacks to 100 MB."""
    packed = zlib.compress(bytes(101_000_000), 9)
    return made.meta(made.LEAVES)[:128] + struct.pack("<II", 15, len(packed)) + packed


def giant_array() -> bytes:
    """An array of structs that says it has 1,879,048,196 rows."""
    content = bytearray(made.meta([*made.LEAVES, made.INNER]))
    at = content.index(struct.pack("<II", 4, 1))
    content[at : at + 4] = struct.pack("<I", 0x70000004)
    return bytes(content)


TRAIN_DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Mapping[str, Any]], str]] = {
    "truncated inner tar": (
        lambda train: train | {f"{WNIDS[1]}.tar": made.tar(train[f"{WNIDS[1]}.tar"])[:1300]},
        f"{WNIDS[1]}.tar in .*ILSVRC2012_img_train.tar: truncated or damaged",
    ),
    "inner tar is none": (
        lambda train: train | {f"{WNIDS[0]}.tar": b"x" * 2000},
        f"{WNIDS[0]}.tar in .*: truncated or damaged",
    ),
    "missing synset": (
        lambda train: {name: files for name, files in train.items() if WNIDS[2] not in name},
        f"img_train.tar: {WNIDS[2]}.tar is missing; use archives of one edition",
    ),
    "extra synset": (
        lambda train: train | {"n99999999.tar": {}},
        "img_train.tar: n99999999.tar is not of a class in meta.mat; use archives of one edition",
    ),
    "extracted once too often": (
        lambda train: {f"{WNIDS[0]}/a.JPEG": b""},
        f"img_train.tar: {WNIDS[0]}/a.JPEG is not of a class",
    ),
}
VAL_DAMAGE = {
    "one too few": (
        lambda val: dict(list(val.items())[:-1]),
        "img_val.tar: 3 images, but the ground truth in .*devkit_t12.tar.gz has 4 lines",
    ),
    "a gap": (
        lambda val: {name: content for name, content in val.items() if "2.JPEG" not in name},
        "img_val.tar: ILSVRC2012_val_00000003.JPEG stands where image 2 should",
    ),
    "garbage": (
        lambda val: val | {"ILSVRC2012_val_00000004.JPEG": b"?"},
        "img_val.tar: ILSVRC2012_val_00000004.JPEG: cannot be decoded",
    ),
}
KIT_DAMAGE = {
    "no meta": (lambda kit: {TRUTH: kit[TRUTH]}, f"no member {META}"),
    "unknown id": (lambda kit: kit | {TRUTH: b"1\n2\n3\n77\n"}, f"{TRUTH}: b'77' is not the ILSVRC2012_ID"),
    "inner node's id": (
        lambda kit: kit | {TRUTH: b"1\n2\n3\n4\n"},
        f"{TRUTH}: b'4' is not the ILSVRC2012_ID",
    ),
    "words for ids": (lambda kit: kit | {TRUTH: b"cat\n"}, "b'cat' is not the ILSVRC2012_ID"),
    "no ids": (lambda kit: kit | {TRUTH: b"\n"}, f"{TRUTH}: empty"),
    "no mat": (lambda kit: kit | {META: b"?" * 500}, f"{META}: not the struct array `synsets`"),
    "cut mat": (lambda kit: kit | {META: without_its_end(kit[META])}, f"{META}: not the struct array"),
    "bomb": (lambda kit: kit | {META: mat_bomb()}, "unpacks to more than 16,777,216 bytes"),
    "giant array": (lambda kit: kit | {META: giant_array()}, f"{META}: not the struct array"),
    "no leaves": (lambda kit: kit | {META: made.meta([made.INNER])}, "no classes, or one of them twice"),
    "a synset twice": (
        lambda kit: kit | {META: made.meta([*made.LEAVES, (9, WNIDS[0], 0)])},
        "no classes, or one of them twice",
    ),
    "an id twice": (
        lambda kit: kit | {META: made.meta([*made.LEAVES, (IDS[0], "n99999999", 0)])},
        "no classes, or one of them twice",
    ),
    "a path for a synset": (
        lambda kit: kit | {META: made.meta([(1, "../../etc", 0)])},
        "not the struct array .*WNID '../../etc'",
    ),
}
CASES = {
    **{f"train: {name}": ("train", made.train_files, *case) for name, case in TRAIN_DAMAGE.items()},
    **{f"val: {name}": ("val", made.val_files, *case) for name, case in VAL_DAMAGE.items()},
    **{f"kit: {name}": ("kit", made.kit_files, *case) for name, case in KIT_DAMAGE.items()},
}


@pytest.mark.parametrize(("archive", "good", "damage", "sentence"), CASES.values(), ids=CASES.keys())
def test_damage_is_told_in_one_sentence(
    tmp_path: Path, archive: str, good: Callable[[], Any], damage: Callable[[Any], Any], sentence: str
) -> None:
    archives = write(tmp_path / "archives", **{archive: damage(good())})
    with pytest.raises(OctathlonError, match=sentence) as raised:
        prepare_all(archives, tmp_path / "prepared")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "prepared" / "manifest.json").exists()


@pytest.mark.parametrize("name", [prepare.TRAIN, prepare.VAL, prepare.DEVKIT])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:300], lambda data: data[700:]])
def test_a_damaged_archive_is_named(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    archives = write(tmp_path / "archives")
    (archives / name).write_bytes(damage((archives / name).read_bytes()))
    with pytest.raises(OctathlonError, match=re.escape(str(archives / name))):
        prepare_all(archives, tmp_path / "prepared")


def test_an_interrupted_shard_leaves_the_earlier_one(tmp_path: Path) -> None:
    archives, out = write(tmp_path / "archives"), tmp_path / "prepared"
    prepare_all(archives, out)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    val = made.val_files() | {"ILSVRC2012_val_00000004.JPEG": b"?"}
    write(tmp_path / "archives", val=val)
    with pytest.raises(OctathlonError, match="cannot be decoded"):
        prepare_all(archives, out)
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", json.dumps([]).encode(), b"cnumpy\n_reconstruct"], ids=range(4)
)
def test_a_damaged_index_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.npy").write_bytes(content)
    with pytest.raises(OctathlonError, match=r"s.npy: cannot read the index .*; prepare imagenet again"):
        read_index(tmp_path, "s")


def test_an_index_of_another_shape_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros(3))
    with pytest.raises(OctathlonError, match=r"s.npy: not an index of images"):
        read_index(tmp_path, "s")
