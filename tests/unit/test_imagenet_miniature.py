"""The drawn archives are what upstream's are: same nesting, names, formats and traps."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from imagenet_archives import draw
from PIL import Image
from scipy.io import loadmat

from octathlon.miniatures import imagenet
from octathlon.miniatures.imagenet import DEVKIT, TRAIN, VAL

Pictures = dict[str, bytes]


def members(content: bytes) -> Pictures:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("miniature"), seed=5, train_per_class=8, val_per_class=4)


@pytest.fixture(scope="module")
def train(folder: Path) -> dict[str, Pictures]:
    return {name: members(inner) for name, inner in members((folder / TRAIN).read_bytes()).items()}


@pytest.fixture(scope="module")
def kit(folder: Path) -> Pictures:
    return members(gzip.decompress((folder / DEVKIT).read_bytes()))


def test_the_training_tar_holds_a_tar_per_synset(train: dict[str, Pictures]) -> None:
    first_twelve = "n01440764 n01443537 n01484850 n01491361 n01494475 n01496331 n01498041 n01514668 n01514859"
    assert list(train) == [f"{wnid}.tar" for wnid in [*first_twelve.split(), "n01518878"]]
    for name, pictures in train.items():
        assert len(pictures) == 8
        assert all(re.fullmatch(name.replace(".tar", r"_\d+\.JPEG"), picture) for picture in pictures)


def test_validation_images_are_numbered_from_one(folder: Path) -> None:
    pictures = members((folder / VAL).read_bytes())
    assert list(pictures) == [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 41)]


def test_one_png_one_cmyk_and_one_grey_picture_are_among_the_training_images(
    train: dict[str, Pictures],
) -> None:
    kinds = []
    for pictures in train.values():
        for content in pictures.values():
            with Image.open(io.BytesIO(content)) as image:
                kinds.append((image.format, image.mode))
                assert all(72 <= side < 120 for side in image.size)
    assert len(kinds) == 80
    assert sorted(set(kinds)) == [("JPEG", "CMYK"), ("JPEG", "L"), ("JPEG", "RGB"), ("PNG", "RGB")]
    assert kinds.count(("JPEG", "RGB")) == 77


def test_the_kit_maps_ids_to_synsets_out_of_order(kit: Pictures) -> None:
    synsets = loadmat(io.BytesIO(kit["ILSVRC2012_devkit_t12/data/meta.mat"]))["synsets"]
    assert synsets.shape == (11, 1)
    assert synsets.dtype.names == tuple(
        [
            "ILSVRC2012_ID",
            "WNID",
            "words",
            "gloss",
            "num_children",
            "children",
            "wordnet_height",
            "num_train_images",
        ]
    )
    rows = [
        (row["ILSVRC2012_ID"].item(), row["WNID"].item(), row["num_children"].item()) for row in synsets[:, 0]
    ]
    assert [number for number, _, _ in rows] == list(range(1, 12))
    wnids = [wnid for _, wnid, children in rows if not children]
    assert len(wnids) == 10 and rows[-1][2] == 10
    assert all(rank != place for place, rank in enumerate(sorted(wnids).index(wnid) for wnid in wnids))


def test_the_ground_truth_is_balanced_and_mixed(kit: Pictures) -> None:
    numbers = kit["ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"].split()
    assert sorted(map(int, numbers)) == sorted([*range(1, 11)] * 4)
    assert numbers != sorted(numbers, key=int)


def test_no_two_classes_have_nearly_the_same_shape() -> None:
    y, x = np.ogrid[-1:1:64j, -1:1:64j]
    shapes = [np.broadcast_to(shape(y, x), (64, 64)) for shape in imagenet.SHAPES]
    assert min((shapes[a] != shapes[b]).mean() for a in range(10) for b in range(a)) > 0.1


def test_the_same_seed_gives_the_same_bytes_in_another_process(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from octathlon.miniatures.imagenet import *\n"
        "for name in reversed(archives()): draw(name, Path(sys.argv[1]), seed=5, train_per_class=8, val_per_class=4)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)
    for name in (TRAIN, VAL, DEVKIT):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_another_seed_gives_other_pictures_and_ids(folder: Path, tmp_path: Path) -> None:
    draw(tmp_path, seed=6, train_per_class=8, val_per_class=4)
    for name in (TRAIN, VAL, DEVKIT):
        assert (tmp_path / name).read_bytes() != (folder / name).read_bytes()


def test_a_failure_leaves_nothing_and_a_killed_writers_leftover_is_replaced(tmp_path: Path) -> None:
    (tmp_path / f".{TRAIN}.tmp").write_bytes(b"left by a killed process")
    with pytest.raises(ValueError, match="larger sample"):
        imagenet.draw(TRAIN, tmp_path, seed=1, train_per_class=40_000, val_per_class=1)
    assert list(tmp_path.iterdir()) == []
