"""The preparation against the reference's: its own numbers, its checksums, PyTorch's interpolation."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kits19_archives import draw, prepare_all, waves, write_case
from kits19_archives import settings as mini
from torch.nn.functional import interpolate

from octathlon.datasets.kits19 import prepare
from octathlon.datasets.kits19.case import case_name, read_case
from octathlon.datasets.kits19.resample import resample_image, resample_label, target_shape
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json

PATH = Path("segmentation.nii.gz")
CASES = {  # the reference's functions on `waves`: input sum; output shape, sum, mean, std; corners; classes; MD5s
    "padded": ((40, 96, 80), (3.0, 0.78125, 0.78125))
    + (-7_826_972.222, (128, 128, 128), -1_594_199.82, -0.760174, 1.789260)
    + ((-1.703511, 2.639792, -0.279191), [2088037, 8555, 560])
    + ("c5c90b8130f9174f560357dd678e51f6", "ccf904bc23b75731cdb28c07ee7ff848"),
    "resampled": ((100, 200, 210), (2.5, 0.9199219, 0.9199219))
    + (-128_121_906.435, (156, 153, 160), -3_720_582.76, -0.974260, 1.645455)
    + ((-1.703511, -2.340702, -2.340702), [3675179, 134785, 8916])
    + ("622dee70a232efceb20ef492754ecc16", "ec674f51b2b21941286db6c240779a37"),
    "as it is": ((130, 140, 150), (1.6, 1.2, 1.2))
    + (-82_738_233.014, (130, 140, 150), -2_516_098.31, -0.921648, 1.695256)
    + ((-1.703511, -2.340702, -2.340702), [2627209, 96389, 6402])
    + ("fcef8bc11bdcb28a2fba2c180fa93b8a", "62aa7e4cc64014089b67e00ff92ae13b"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_becomes_what_the_reference_makes_of_it(name: str, tmp_path: Path) -> None:
    shape, spacing, raw, new_shape, total, mean, std, corners, classes, image_md5, label_md5 = CASES[name]
    image, label = waves(shape)
    assert image.sum(dtype=float) == pytest.approx(raw, abs=1e-2)
    write_case(tmp_path, 0, image, label, spacing)
    case = read_case(tmp_path, 0)
    image, label = prepare.prepare_volumes(case.image, case.label, case.spacing, least_size=128)
    assert image.shape == label.shape == new_shape
    assert (image.dtype, label.dtype) == (np.float32, np.uint8)
    assert image.sum(dtype=float) == pytest.approx(total, abs=0.01)
    assert (image.mean(dtype=float), image.std(dtype=float)) == pytest.approx((mean, std), abs=1e-6)
    assert (image.min(), image.max()) == pytest.approx((-2.340702, 2.639792), abs=1e-6)
    middle = tuple(size // 2 for size in new_shape)
    assert [image[place] for place in ((0, 0, 0), middle, (-1, -1, -1))] == pytest.approx(corners, abs=1e-6)
    assert np.bincount(label.ravel()).tolist() == classes
    assert prepare.npy_md5(label) == label_md5
    assert prepare.npy_md5(image) == image_md5


def test_the_md5_is_that_of_the_file_that_numpy_writes() -> None:
    for volume in (np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.ones((5, 1, 2), np.uint8)):
        file = io.BytesIO()
        np.save(file, volume[None])
        assert prepare.npy_md5(volume) == hashlib.md5(file.getvalue()).hexdigest()


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((611, 512, 512), (0.5, 0.91992188, 0.91992188), (190, 392, 392)),
        ((252, 512, 796), (1.0, 0.45, 0.45), (157, 192, 298)),
        ((68, 512, 512), (2.5, 0.9375, 0.9375), (106, 400, 400)),  # 399 in single precision
        ((100, 100, 100), (1.6, 1.2, 1.2), (100, 100, 100)),
        ((3, 5, 7), (1.6 * 1.99 / 3, 1.2 * 5.99 / 5, 1.2), (1, 5, 7)),  # cut off, not rounded
    ],
)
def test_the_target_shape_is_cut_off_in_double_precision(shape, spacing, expected) -> None:
    assert target_shape(shape, spacing) == expected


SIZES = st.tuples(*[st.integers(1, 40)] * 3)


@settings(max_examples=60)
@given(SIZES, SIZES, st.integers(0, 99), st.sampled_from(["int16", "float32", "float64"]))
def test_resampling_is_pytorchs(shape, new_shape, seed, kind) -> None:
    rng = np.random.default_rng(seed)
    image = np.asfortranarray((rng.standard_normal(shape) * 300).astype(kind))
    label = rng.integers(0, 3, shape).astype(np.uint8)
    volume = torch.from_numpy(image.astype(np.float32))[None, None]
    expected = interpolate(volume, size=new_shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    found = resample_image(image, new_shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)  # some processors round a sum once more
    expected = interpolate(torch.from_numpy(label)[None, None], size=new_shape, mode="nearest")[0, 0].numpy()
    assert np.array_equal(resample_label(label, new_shape), expected)


@settings(max_examples=60)
@given(st.integers(1, 1200), st.integers(1, 1200))
def test_the_nearest_voxel_is_pytorchs_at_upstreams_sizes(size: int, new_size: int) -> None:
    label = (np.arange(size) % 251).astype(np.uint8).reshape(size, 1, 1)
    expected = interpolate(torch.from_numpy(label)[None, None], size=(new_size, 1, 1), mode="nearest")
    assert np.array_equal(resample_label(label, (new_size, 1, 1)), expected[0, 0].numpy())


def test_a_case_is_padded_with_its_edge_after_it_was_normalised() -> None:
    image = np.full((2, 3, 4), 101, np.int16)
    image[1] = 5000
    label = np.zeros((2, 3, 4), np.uint8)
    label[0], label[1] = 1, 2
    image, label = prepare.prepare_volumes(image, label, (1.6, 1.2, 1.2), least_size=5)
    assert image.shape == (5, 5, 5)
    bright = np.float32((304 - 101) / 76.9)
    np.testing.assert_allclose(
        image[:, 2, 2], [0, 0, bright, bright, bright], atol=1e-6
    )  # 3 missing: 1 before, 2 after
    assert label[:, 0, 0].tolist() == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(("shape", "new"), [((1500, 1500, 1), (94, 125, 16)), ((8, 8, 8), (1000, 1000, 16))])
def test_flat_volumes_take_no_more_memory_than_others(shape: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Of few columns, but large ones: a block of 16 would take a gigabyte."""
    tracemalloc.start()
    resample_image(np.zeros(shape), new)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 << 20


# Boxes -----------------------------------------------------------------------------------------------


def test_boxes_are_those_of_the_two_largest_boxes_not_of_the_most_voxels() -> None:
    label = np.zeros((20, 20, 20), np.uint8)
    label[1:3, 1:3, 1:3] = 1  # 8 voxels in a box of 8
    label[5, 5, 5:19] = 1  # 14 in a box of 14
    label[10:15, 10, 3] = label[10, 10:15, 3] = 1  # 9 in a box of 25
    label[18, 18, 18] = 2
    boxes = prepare.class_boxes(label, PATH)
    assert boxes == {
        "kidney": [[[10, 15], [10, 15], [3, 4]], [[5, 6], [5, 6], [5, 19]]],
        "tumour": [[[18, 19], [18, 19], [18, 19]]],
    }


def test_voxels_that_only_touch_at_an_edge_are_two_components_and_an_absent_class_has_no_box() -> None:
    label = np.zeros((4, 4, 4), np.uint8)
    label[0, 0, 0] = label[0, 1, 1] = 2
    boxes = prepare.class_boxes(label, PATH)
    assert sorted(boxes) == ["tumour"]
    assert sorted(boxes["tumour"]) == [[[0, 1], [0, 1], [0, 1]], [[0, 1], [1, 2], [1, 2]]]
    assert prepare.class_boxes(np.zeros((4, 4, 4), np.uint8), PATH) == {}


# The whole -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("kits19"))


@pytest.fixture(scope="module")
def prepared(archives: Path) -> Path:
    return prepare_all(archives, archives / "prepared")


def test_the_shards_hold_each_case_once_and_the_manifest_tells_of_it(archives: Path, prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    chosen = mini()
    wanted = {"train": chosen.train_cases, "eval": chosen.eval_cases}
    assert manifest["counts"] == {split: len(numbers) for split, numbers in wanted.items()}
    for split, numbers in wanted.items():
        assert [case["name"] for case in manifest["splits"][split]] == [
            case_name(number) for number in numbers
        ]
    for case in manifest["splits"]["train"] + manifest["splits"]["eval"]:
        raw = read_case(archives, int(case["name"][-5:]))
        image, label = prepare.prepare_volumes(raw.image, raw.label, raw.spacing, chosen.least_size)
        with h5py.File(prepared / f"{case['shard']}.h5") as file:
            stored = file[case["name"]]
            assert np.array_equal(stored["image"], image) and np.array_equal(stored["label"], label)
        assert case["shape"] == list(image.shape) and min(image.shape) >= chosen.least_size
        assert list(case["voxels"].values()) == np.bincount(label.ravel(), minlength=3).tolist()
        for number, kind in ((1, "kidney"), (2, "tumour")):
            assert (kind in case["boxes"]) == (label == number).any()


def test_groups_change_nothing_but_the_files(archives: Path, prepared: Path, tmp_path: Path) -> None:
    other = read_json(prepare_all(archives, tmp_path, mini(cases_per_job=3)) / "manifest.json")
    assert len(other["shards"]) == 4 + 2
    first = read_json(prepared / "manifest.json")
    for split in ("train", "eval"):
        for one, two in zip(first["splits"][split], other["splits"][split], strict=True):
            assert one | {"shard": ""} == two | {"shard": ""}


def test_preparing_again_gives_the_same_bytes(archives: Path, prepared: Path, tmp_path: Path) -> None:
    assert (prepare_all(archives, tmp_path) / "manifest.json").read_bytes() == (
        prepared / "manifest.json"
    ).read_bytes()


def test_each_step_reads_the_archives_it_says(archives: Path, tmp_path: Path) -> None:
    chosen = mini(cases_per_job=3)
    named = [
        name
        for steps in prepare.steps(chosen).values()
        for step in steps
        for name in prepare.needs(step, chosen)[0]
    ]
    assert sorted(named) == sorted(prepare.archives(chosen))
    for name in prepare.needs("train-001", chosen)[0]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(archives / name)
    prepare.prepare("train-001", tmp_path, tmp_path / "out", chosen)


def test_published_checksums_bind_labels_and_judge_images(
    archives: Path, tmp_path: Path, monkeypatch
) -> None:
    chosen = mini(published_checksums=True, train_cases=[1], eval_cases=[0])
    with pytest.raises(OctathlonError, match="case_00001: the prepared label is not the reference's"):
        prepare.prepare("train-000", archives, tmp_path, chosen)
    assert list(tmp_path.rglob("*.*")) == []
    case = read_case(archives, 1)
    image, label = prepare.prepare_volumes(case.image, case.label, case.spacing, chosen.least_size)
    for image_md5, same in ((prepare.npy_md5(image), True), ("0" * 32, False)):
        monkeypatch.setattr(
            prepare, "_published_md5s", lambda md5=image_md5: {"case_00001": (md5, prepare.npy_md5(label))}
        )
        prepare.prepare("train-000", archives, tmp_path, chosen)
        assert read_json(tmp_path / "receipts" / "train-000.json")["cases"][0]["image_as_published"] is same


def test_the_published_checksums_are_those_of_all_210_cases() -> None:
    published = prepare._published_md5s()
    assert sorted(published) == [case_name(number) for number in range(210)]
    assert published["case_00160"][1] == "2bb46dc3a4bb8544dc2e107f6efdeda5"
    assert published["case_00000"] == ("2504f143577e824cb50ce31904c120a1", "5114568eb3c160ed148738ead6316e95")
    assert len({md5 for pair in published.values() for md5 in pair}) == 420
