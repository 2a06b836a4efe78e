"""Cuts of JPEGs: the pixels that torchvision decodes, whatever the file, or its error."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from octathlon.datasets.imagenet import jpegs
from octathlon.datasets.imagenet.jpegs import Jpeg, open_jpeg
from octathlon.datasets.imagenet.transforms import Crop, eval_transform, random_view, train_transform
from octathlon.errors import OctathlonError

# torchvision's decoder will move to torchcodec; the versions are pinned.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
ORIENTATION = 0x112
ROTATED = 6


def encode(height: int, width: int, mode: str = "RGB", **options: object) -> np.ndarray:
    """The bytes of a JPEG of coarse and of fine noise."""
    rng = np.random.default_rng([height, width])
    coarse = Image.fromarray(rng.integers(128, size=(height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height)))
    image = Image.fromarray(smooth + rng.integers(128, size=smooth.shape, dtype=np.uint8))
    content = io.BytesIO()
    image.convert(mode).save(content, "JPEG", **{"quality": 90} | options)
    return np.frombuffer(content.getvalue(), dtype=np.uint8).copy()


def decoded(content: np.ndarray) -> torch.Tensor:
    return decode_jpeg(torch.from_numpy(content), mode=ImageReadMode.RGB)


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = ROTATED
    return exif


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("colours", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"exif": rotated()}],
    ids=["plain", "progressive", "restarts", "rotated"],
)
def test_a_cut_has_the_pixels_of_the_whole_picture(
    mode: str, colours: str, options: dict[str, object]
) -> None:
    pytest.importorskip("nvidia.nvimgcodec")
    for height, width in [(1, 1), (5, 2), (37, 50), (64, 33)]:
        content = encode(height, width, mode, subsampling=colours, **options)
        picture, whole = open_jpeg(content), decoded(content)
        assert isinstance(picture, Jpeg)
        assert picture.shape == whole.shape
        for top, left in product({0, height // 2, height - 1}, {0, 16 % width, width // 3, width - 1}):
            for rows, columns in product({1, height - top}, {1, (width - left + 1) // 2, width - left}):
                cut = Crop(top, left, rows, columns).cut
                assert picture[cut].equal(whole[cut])


def test_both_transforms_make_the_same_of_a_file_as_of_all_its_pixels() -> None:
    for height, width in [(120, 90), (90, 161), (40, 300)]:
        content = encode(height, width)
        whole = decoded(content)
        assert eval_transform(open_jpeg(content), 48, 55).equal(eval_transform(whole, 48, 55))
        for seed in range(5):
            view = random_view(height, width, np.random.default_rng(seed))
            found, expected = (train_transform(picture, 48, view) for picture in (open_jpeg(content), whole))
            assert found.equal(expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_picture_without_its_end_is_refused_wherever_it_is_cut(progressive: bool) -> None:
    content = encode(64, 64, progressive=progressive)
    for size in (0, 1, 2, 300, len(content) // 2, len(content) - 2, len(content) - 1):
        with pytest.raises(RuntimeError):
            open_jpeg(content[:size])[Crop(0, 0, 4, 4).cut]


def test_what_follows_the_end_is_ignored() -> None:
    content = encode(30, 40)
    cut = Crop(3, 5, 20, 20).cut
    assert open_jpeg(np.append(content, content[:9]))[cut].equal(decoded(content)[cut])


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a package `nvidia` that hides the installed one."""
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "nvidia"
    folder.mkdir()
    (folder / "__init__.py").touch()
    jpegs._codec.cache_clear()
    yield folder
    jpegs._codec.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "nvidia"]:
        del sys.modules[name]


def test_without_the_wheel_pictures_are_decoded_whole(other_package: Path) -> None:
    content = encode(20, 20)
    assert open_jpeg(content).equal(decoded(content))


def test_a_wheel_that_does_not_work_is_told(other_package: Path) -> None:
    (other_package / "nvimgcodec.py").write_text("raise ImportError('no libfoo')")
    with pytest.raises(
        OctathlonError, match=r"nvidia-nvimgcodec-cu13 does not work \(no libfoo\); mend that"
    ):
        open_jpeg(encode(20, 20))
