"""Real segmentations with painted images, and a real CT: prepared, trained on for two blocks, evaluated."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from octathlon import config
from octathlon.benchmarks.unet3d.benchmark import ImageSegmentation
from octathlon.contracts import Run
from octathlon.datasets.kits19 import prepare
from octathlon.datasets.kits19.case import case_files, case_name
from octathlon.datasets.kits19.resample import target_shape
from octathlon.datasets.kits19.settings import Settings
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata" / "kits19"
EVALUATED = [12, 24]
"""Of the reference's evaluation cases those with the fewest voxels."""
LEAST = 48

pytestmark = pytest.mark.skipif(not REALDATA.is_dir(), reason="../shared/realdata/kits19 is not there")


def listed() -> dict[int, dict[str, str]]:
    """The list beside the cases: number -> its row."""
    with (REALDATA / "cases.tsv").open(newline="") as file:
        return {int(row["case"][-5:]): row for row in csv.DictReader(file, delimiter="\t")}


def settings() -> Settings:
    others = [number for number in listed() if number not in EVALUATED]
    over = {"train_cases": others, "eval_cases": EVALUATED, "least_size": LEAST, "source": str(REALDATA)}
    return config.resolve("datasets", "kits19", "mini", over)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kits19")
    for steps in prepare.steps(settings()).values():
        for step in steps:
            prepare.prepare(step, REALDATA, out, settings())
    prepare.prepare("manifest", REALDATA, out, settings())
    return out


def test_shapes_follow_from_the_listed_ones(prepared: Path) -> None:
    manifest = read_json(prepared / "manifest.json")
    cases = {case["name"]: case for case in manifest["splits"]["train"] + manifest["splits"]["eval"]}
    assert len(cases) == len(listed()) == 21
    for number, row in listed().items():
        spacing = nibabel.load(REALDATA / case_files(number)[1]).header.get_zooms()
        shape = target_shape(
            [int(row[axis]) for axis in ("slices", "rows", "columns")], list(map(float, spacing))
        )
        assert cases[case_name(number)]["shape"] == [max(size, LEAST) for size in shape]


def test_organs_keep_their_size(prepared: Path) -> None:
    """In cubic millimetres, of volumes that were not padded (padding extends what touches the border)."""
    manifest = read_json(prepared / "manifest.json")
    for case in manifest["splits"]["train"] + manifest["splits"]["eval"]:
        row = listed()[int(case["name"][-5:])]
        voxel = np.prod([float(size) for size in row["spacing_mm"].split("x")]) / np.prod([1.6, 1.2, 1.2])
        for kind in ("kidney", "tumour"):
            expected = int(row[f"{kind}_voxels"]) * voxel
            assert (kind in case["boxes"]) == (expected > 0)
            if expected > 4000 and min(case["shape"]) > LEAST:
                assert case["voxels"][kind] == pytest.approx(expected, rel=0.05)


def test_the_real_ct_has_kidneys_where_it_is_bright_and_no_tumour(prepared: Path) -> None:
    case = read_json(prepared / "manifest.json")["splits"]["train"][-1]
    assert case["name"] == "case_00210" and sorted(case["boxes"]) == ["kidney"]
    with h5py.File(prepared / f"{case['shard']}.h5", locking=False) as file:
        image, label = file[case["name"]]["image"][:], file[case["name"]]["label"][:]
    hounsfield = image * 76.9 + 101
    assert 0 < np.median(hounsfield[label == 1]) < 80  # without contrast agent
    assert np.median(hounsfield[label == 0]) < np.median(hounsfield[label == 1])


@pytest.mark.slow
def test_two_blocks_of_training_find_the_kidneys(prepared: Path) -> None:
    over = {
        "patch_size": 32,
        "overlap": 0,
        "global_batch_size": 4,
        "cadence": {"first": 4, "every": 4, "limit": 8},
        "warmup_epochs": 1,
    }
    run = Run(
        seed=1, device=torch.device("cpu"), data=prepared, manifest=read_json(prepared / "manifest.json")
    )
    benchmark = ImageSegmentation(config.resolve("benchmarks", "unet3d", "mini", over), run)
    quality = timed_run(benchmark, Events([], wall_clock()), max_blocks=2).quality["mean_DICE"]
    print(f"mean_DICE {quality:.3f}")
    assert quality > 0.02  # forty steps on small patches; all kidney gets 0.015, all background 0
