"""Damaged and odd cases end in one sentence that names the file; the sound ones' oddities are read."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from kits19_archives import affine, settings, write_case

from octathlon.datasets.kits19 import prepare
from octathlon.datasets.kits19.case import read_case
from octathlon.errors import OctathlonError

SHAPE, SPACING = (12, 20, 22), (3.0, 0.8, 0.8)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """Image and label of case 7."""
    rng = np.random.default_rng(0)
    image = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
    return write_case(tmp_path, 7, image, rng.integers(0, 3, SHAPE).astype(np.uint8), SPACING)


def complaint(path: Path) -> str:
    folder = path.parents[2]
    with pytest.raises(OctathlonError) as error:
        read_case(folder, 7)
    assert "\n" not in str(error.value)
    return str(error.value)


def rewrite(path: Path, edit: Callable[[bytearray], object]) -> None:
    """Change the unpacked bytes."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    edit(content)
    path.write_bytes(gzip.compress(bytes(content)))


def test_a_download_cut_short_is_noticed_even_at_the_last_byte(paths: tuple[Path, Path]) -> None:
    for path in paths:
        content = path.read_bytes()
        for kept in (0, 5, 200, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:kept])
            assert complaint(path).startswith(f"{path}: ")
        path.write_bytes(content)
    read_case(paths[0].parents[2], 7)


def test_a_flipped_bit_is_noticed(paths: tuple[Path, Path]) -> None:
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 4
    paths[0].write_bytes(content)
    assert f"{paths[0]}: truncated or damaged" in complaint(paths[0])


def test_a_missing_file_is_named(paths: tuple[Path, Path]) -> None:
    paths[1].unlink()
    assert f"{paths[1]}: cannot read it" in complaint(paths[1])


def test_a_web_page_instead_of_a_volume_is_named(paths: tuple[Path, Path]) -> None:
    paths[0].write_text("<html>not found</html>")
    assert str(paths[0]) in complaint(paths[0])
    paths[0].write_bytes(gzip.compress(b"<html>not found</html>" * 100))
    assert f"{paths[0]}: not a NIfTI file" in complaint(paths[0])


def put(offset: int, form: str, *values: float) -> Callable[[bytearray], object]:
    return lambda content: struct.pack_into(form, content, offset, *values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(40, "<4h", 4, *SHAPE), "shape .* is not that of a CT volume"),
        (put(40, "<4h", 3, 32767, 32767, 32767), "shape .* is not that of a CT volume"),
        (put(42, "<h", 0), "shape .* is not that of a CT volume"),
        (put(42, "<h", SHAPE[0] + 1), "not as many bytes as its header promises"),
        (put(42, "<h", SHAPE[0] - 1), "not as many bytes as its header promises"),
        (put(70, "<2h", 128, 24), "voxels of type .* make no sense"),
        (put(108, "<f", 1e9), "make no sense"),
        (put(108, "<f", float("nan")), "not a NIfTI file"),
        (put(108, "<f", float("inf")), "not a NIfTI file"),
        (put(112, "<2f", 1.0, float("nan")), r"not a NIfTI file \(Valid slope but invalid intercept"),
        (put(112, "<2f", 1e38, 0.0), r"not a NIfTI file \(a slope of 1e\+38"),
        (put(112, "<2f", float("inf"), 0.0), r"not a NIfTI file \(a slope of inf"),
        (put(112, "<2f", float("nan"), 0.0), r"not a NIfTI file \(a slope of nan with an intercept of 0"),
        (put(112, "<2f", 1.0, -1e38), r"not a NIfTI file \(a slope of 1 with an intercept of -1e\+38"),
        (put(0, "<i", 540), "not a NIfTI file .*does not begin as a volume in one file"),
        (put(344, "4s", b"ni1\0"), "not a NIfTI file .*does not begin as a volume in one file"),
        (put(252, "<2h3f", 1, 0, 9.0, 9.0, 9.0), r"not a NIfTI file \(w2 should be positive"),
        (put(252, "<2h3f", 1, 0, float("nan"), 0.0, 0.0), "its affine does not send slices"),
        (put(280, "<3f", float("inf"), 0.0, 0.0), "its affine does not send slices"),
        (put(80, "<f", 30.0), "a spacing of .*30.* mm is impossible"),
        (put(80, "<f", 0.0), "its affine does not send slices"),
        (put(80, "<f", float("nan")), "spacing of .* is impossible"),
        (put(280, "<f", 3.0), "its affine does not send slices, rows and columns"),
        (lambda content: content.extend(b"more"), "not as many bytes as its header promises"),
    ],
)
def test_a_header_that_cannot_be_is_named(paths: tuple[Path, Path], edit, message: str) -> None:
    rewrite(paths[0], edit)
    found = complaint(paths[0])
    assert found.startswith(f"{paths[0]}: ") and re.search(message, found), found


def test_a_volume_is_no_larger_than_its_file_can_hold(paths: tuple[Path, Path]) -> None:
    """100 million zeros are some hundred kilobytes; a label, of zeros for the most part, follows its image."""
    for path, side in zip(paths, (500, 200), strict=True):
        content = bytearray(gzip.decompress(path.read_bytes())[:352])
        put(42, "<3h", 400, side, side)(content)
        path.write_bytes(gzip.compress(content))
    assert re.search("too few bytes for 100,000,000 voxels", complaint(paths[0]))
    image = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, affine(SPACING)), paths[0])
    assert f"{paths[1]}: shape (400, 200, 200), but the image has" in complaint(paths[1])


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((40, 40, 40), (20.0, 20.0, 20.0), r"shape \(500, 666, 666\) at .* is not that of a CT volume"),
        (
            (4, 400, 400),
            (1.6, 6.0, 6.0),
            r"shape \(4, 2000, 2000\) at",
        ),  # four times as much once it is padded
        ((1, 4, 5000), (1.6, 1.0, 1.0), r"\[1.6, 4.0, 5000.0\] mm are not those of a patient"),
    ],
)
def test_a_volume_that_would_grow_beyond_all_bounds_is_refused(
    tmp_path: Path, shape: tuple[int, int, int], spacing: tuple[float, float, float], message: str
) -> None:
    volume = np.zeros(shape, np.uint8)
    write_case(tmp_path, 7, volume, volume, spacing)
    with pytest.raises(OctathlonError, match=rf"imaging\.nii\.gz: {message}"):
        prepare.prepare("train-000", tmp_path, tmp_path / "out", settings(train_cases=[7], eval_cases=[8]))


def test_a_label_in_a_thousand_pieces_is_refused(tmp_path: Path) -> None:
    """Each takes a kilobyte in Python, and no byte of the archive."""
    label = np.zeros((44, 44, 44), np.uint8)
    label[::2, ::2, ::2] = 2
    write_case(tmp_path, 7, label, label, (1.6, 1.2, 1.2))
    with pytest.raises(OctathlonError, match=r"segmentation\.nii\.gz: a tumour in 10,648 pieces"):
        prepare.prepare("train-000", tmp_path, tmp_path / "out", settings(train_cases=[7], eval_cases=[8]))


def test_axes_in_another_order_are_refused(tmp_path: Path) -> None:
    """As SimpleITK would write them: columns first."""
    image, label = np.zeros(SHAPE[::-1], np.int16), np.zeros(SHAPE[::-1], np.uint8)
    paths = write_case(tmp_path, 7, image, label, SPACING[::-1])
    for path, volume in zip(paths, (image, label), strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([*SPACING[::-1], 1.0])), path)
    assert "its affine does not send slices, rows and columns" in complaint(paths[0])


@pytest.mark.parametrize("kept", [(11, 20, 22), (12, 22, 20)])
def test_a_label_of_another_shape_is_named(paths: tuple[Path, Path], kept: tuple[int, ...]) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(kept, np.uint8), affine(SPACING)), paths[1])
    assert (
        complaint(paths[1]) == f"{paths[1]}: shape {kept}, but the image has {SHAPE}; use files of one case"
    )


@pytest.mark.parametrize("change", [np.diag([1.0, -1.0, 1.0, 1.0]), np.diag([1.0, 1.0, 1.5, 1.0])])
def test_a_label_with_another_affine_is_named(paths: tuple[Path, Path], change: np.ndarray) -> None:
    """Upside down, or of another release's spacing."""
    label = np.zeros(SHAPE, np.uint8)
    nibabel.save(nibabel.Nifti1Image(label, change @ affine(SPACING)), paths[1])
    assert f"{paths[1]}: its affine is not the image's" in complaint(paths[1])


@pytest.mark.parametrize("value", [3, -1, 257, 0.5, float("nan")])
def test_a_label_that_is_no_class_is_named(paths: tuple[Path, Path], value: float) -> None:
    label = np.zeros(SHAPE, np.float32 if value % 1 else np.int16)
    label[1, 2, 3] = value
    nibabel.save(nibabel.Nifti1Image(label, affine(SPACING)), paths[1])
    assert f"{paths[1]}: has values other than 0, 1 and 2" in complaint(paths[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e10])
def test_an_image_without_numbers_is_named(paths: tuple[Path, Path], value: float) -> None:
    """1e300 is a number, but none in single precision."""
    image = np.zeros(SHAPE, np.float64)
    image[1, 2, 3] = value
    nibabel.save(nibabel.Nifti1Image(image, affine(SPACING)), paths[0])
    assert f"{paths[0]}: has voxels that are no Hounsfield units" in complaint(paths[0])


def test_a_bad_case_leaves_nothing_that_looks_finished(paths: tuple[Path, Path], tmp_path: Path) -> None:
    chosen = settings(train_cases=[7], eval_cases=[8])
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    with pytest.raises(OctathlonError, match="case_00007/segmentation.nii.gz: truncated or damaged"):
        prepare.prepare("train-000", tmp_path, tmp_path / "out", chosen)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("step", ["train-009", "val-000", "../x"])
def test_an_unknown_step_is_refused(tmp_path: Path, step: str) -> None:
    with pytest.raises(
        OctathlonError, match="kits19 has no step .*; choose one of train-000, eval-000, or manifest"
    ):
        prepare.prepare(step, tmp_path, tmp_path, settings())


def test_a_manifest_before_its_time_says_so(tmp_path: Path) -> None:
    with pytest.raises(OctathlonError, match="receipts/train-000.json: not there; run the stage"):
        prepare.prepare("manifest", tmp_path, tmp_path, settings())


def test_a_case_that_stands_twice_is_refused() -> None:
    with pytest.raises(OctathlonError, match="case 3 stands twice in train_cases and eval_cases"):
        settings(train_cases=[3, 4], eval_cases=[3])


# Sound oddities --------------------------------------------------------------------------------------


def test_scaled_wide_and_big_endian_volumes_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stored, label = rng.integers(0, 2000, SHAPE).astype(">i2"), rng.integers(0, 3, SHAPE).astype("<u2")
    paths = write_case(tmp_path, 7, stored.astype(np.int16), label, SPACING)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    image = nibabel.Nifti1Image(stored, affine(SPACING), header)
    image.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(image, paths[0])
    case = read_case(tmp_path, 7)
    expected = nibabel.load(paths[0]).get_fdata()
    assert np.array_equal(case.image, expected)
    assert case.label.dtype == np.uint8 and np.array_equal(case.label, label)
    assert case.spacing == pytest.approx(SPACING)
