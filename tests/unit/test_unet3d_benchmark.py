"""The contract's members of unet3d: batches and shares over ranks, cadence, rates, quality, what is logged."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from kits19_archives import draw, prepare_all
from pydantic import ValidationError
from torch import Tensor, nn

from octathlon import config
from octathlon.benchmarks.unet3d.benchmark import ImageSegmentation
from octathlon.benchmarks.unet3d.settings import Settings
from octathlon.contracts import Progress, Run
from octathlon.datasets.kits19.augment import augment
from octathlon.datasets.kits19.loader import Cases
from octathlon.datasets.kits19.shards import map_shard, write_shard
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.scoring.check import check_path

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import closed_logs

FULL = {"counts": {"train": 168, "eval": 42}, "classes": ["background", "kidney", "tumour"]}


def benchmark(
    scale: str = "mini", data: Path | None = None, rank: int = 0, world: int = 1, seed: int = 3, **over
):
    manifest = read_json(data / "manifest.json") if data else FULL
    run = Run(seed=seed, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return ImageSegmentation(config.resolve("benchmarks", "unet3d", scale, over), run)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training and four evaluation cases."""
    folder = tmp_path_factory.mktemp("kits19")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


# Data ------------------------------------------------------------------------------------------------


def epochs(chosen: ImageSegmentation, numbers: Iterable[int]) -> list[list[tuple[Tensor, Tensor]]]:
    return [list(chosen.train_batches(epoch)) for epoch in numbers]


def flat(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_ranks_accumulation_and_workers_change_no_global_batch(prepared: Path) -> None:
    """One rank with batches of 8 against two ranks with two micro-batches of 2 each."""
    alone = epochs(benchmark(data=prepared), [1, 2])
    options = {"gradient_accumulation_steps": 2, "loader_workers": 1}
    ranks = [epochs(benchmark(data=prepared, rank=rank, world=2, **options), [1, 2]) for rank in range(2)]
    for epoch in range(2):
        assert len(alone[epoch]) == 2  # ten cases: the second batch is filled up
        micro_batches = list(zip(ranks[0][epoch], ranks[1][epoch], strict=True))
        assert len(micro_batches) == 4
        for step, (images, labels) in enumerate(alone[epoch]):
            parts = [part for pair in micro_batches[2 * step : 2 * step + 2] for part in pair]
            assert [len(part[1]) for part in parts] == [2] * 4
            together = flat(parts)
            assert together[0].equal(images) and together[1].equal(labels)
    assert not flat(alone[0])[0].equal(flat(alone[1])[0])


def test_an_epoch_is_the_same_alone_and_in_the_stream(prepared: Path) -> None:
    alone, stream = epochs(benchmark(data=prepared), [2])[0], epochs(benchmark(data=prepared), [1, 2])[1]
    assert flat(alone)[0].equal(flat(stream)[0])


def test_an_epoch_uses_each_case_once_and_then_starts_over(prepared: Path, monkeypatch) -> None:
    read: list[int] = []
    original = Cases.volumes
    monkeypatch.setattr(Cases, "volumes", lambda self, number: read.append(number) or original(self, number))
    epochs(benchmark(data=prepared), [1])
    assert len(read) == 16 and sorted(read[:10]) == list(range(10)) and read[10:] == read[:6]


def test_a_case_that_comes_twice_in_an_epoch_is_cropped_anew(prepared: Path) -> None:
    images = flat(epochs(benchmark(data=prepared), [1])[0])[0]
    assert not any(images[place].equal(images[place + 10]) for place in range(6))


def test_crops_are_cut_from_the_cases(prepared: Path, monkeypatch) -> None:
    for kind in ("FLIP", "BRIGHTNESS", "NOISE"):
        monkeypatch.setattr(f"octathlon.datasets.kits19.augment.{kind}_PROBABILITY", 0)
    images, labels = flat(epochs(benchmark(data=prepared), [1])[0])
    assert images.shape == (16, 1, 16, 16, 16) and labels.shape == (16, 16, 16, 16)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.uint8)
    cases = Cases(prepared, read_json(prepared / "manifest.json"), "train")
    volumes = [(image.numpy(), label.numpy()) for image, label in map(cases.volumes, range(len(cases)))]
    for crop, label in zip(images[:, 0].numpy(), labels.numpy(), strict=True):
        assert any(_is_cut_from(pair, crop, label) for pair in volumes)


def _is_cut_from(volumes: tuple[np.ndarray, np.ndarray], crop: np.ndarray, label: np.ndarray) -> bool:
    """Whether both are at one and the same place of the case."""
    image, classes = volumes
    probes = [
        slice(first, first - 15 or None) for first in (0, 5, 10, 15)
    ]  # at all places where the crop may start
    matching = [
        (volume[probe] == cut[probe].item())
        for probe in product(probes, repeat=3)
        for volume, cut in ((image, crop), (classes, label))
    ]
    starts = np.argwhere(np.logical_and.reduce(matching))
    places = [tuple(slice(first, first + 16) for first in start) for start in starts]
    return any(np.array_equal(image[at], crop) and np.array_equal(classes[at], label) for at in places)


def foreground_share(prepared: Path, oversampling: float) -> float:
    chosen = benchmark(data=prepared, oversampling=oversampling)
    labels = flat([batch for epoch in epochs(chosen, range(1, 13)) for batch in epoch])[1]
    return (labels.flatten(1) > 0).any(1).float().mean().item()


def test_oversampling_is_the_share_of_crops_that_aim_at_the_foreground(prepared: Path) -> None:
    none, half, all_of_them = (foreground_share(prepared, part) for part in (0.0, 0.5, 1.0))
    assert all_of_them == 1
    assert none < 0.25
    assert half == pytest.approx((none + 1) / 2, abs=0.12)


def test_every_crop_is_augmented(prepared: Path, monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(
        "octathlon.datasets.kits19.loader.augment", lambda *what: calls.append(1) or augment(*what)
    )
    epochs(benchmark(data=prepared), [1])
    assert len(calls) == 16


def test_no_data_are_touched_before_training(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((prepared / "manifest.json").read_bytes())
    chosen = benchmark(data=tmp_path)
    chosen.build_optimizer(chosen.build_model())
    chosen.hyperparameters()
    with pytest.raises(OctathlonError, match="train-000.h5: cannot open it .*; prepare kits19 again"):
        next(iter(chosen.train_batches(1)))


def test_a_damaged_shard_is_named(prepared: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes((prepared / "manifest.json").read_bytes())
    shard = (prepared / "eval-000.h5").read_bytes()
    (tmp_path / "eval-000.h5").write_bytes(shard[: len(shard) // 2])
    chosen = benchmark(data=tmp_path)
    with pytest.raises(OctathlonError, match="eval-000.h5: cannot open it .*; prepare kits19 again"):
        chosen.evaluate(chosen.build_model())
    write_shard(tmp_path, "eval-000", [("another", np.zeros((4, 4, 4)), np.zeros((4, 4, 4)))])
    with pytest.raises(OctathlonError, match="no case_00006 in shard eval-000; prepare kits19 again"):
        benchmark(data=tmp_path).evaluate(chosen.build_model())


def test_a_shard_that_cannot_be_mapped_is_named(tmp_path: Path) -> None:
    """In cubes, as it was once written."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for kind in ("image", "label"):
            file.create_dataset(f"case/{kind}", data=np.zeros((4, 4, 4)), chunks=(2, 2, 2))
    with pytest.raises(OctathlonError, match="a.h5: cannot open it .*not one array.*; prepare kits19 again"):
        map_shard(tmp_path, "a")


def test_volumes_are_mapped_where_they_lie(tmp_path: Path) -> None:
    """Of any size, at a place that suits their type, and protected."""
    sizes = [(3, 5, 7), (17, 16, 19), (1, 1, 1), (16, 31, 33)]
    rng = np.random.default_rng(1)
    images = [rng.standard_normal(size, np.float32) for size in sizes]
    labels = [rng.integers(3, size=size).astype(np.uint8) for size in sizes]
    write_shard(tmp_path, "a", zip("wxyz", images, labels, strict=True))
    mapped = map_shard(tmp_path, "a")
    for case, *expected in zip("wxyz", images, labels, strict=True):
        for found, volume in zip(mapped[case], expected, strict=True):
            assert found.dtype == volume.dtype and np.array_equal(found, volume)
            assert found.flags.aligned and not found.flags.writeable


def test_synthetic_batches_have_the_shapes_of_real_ones(prepared: Path) -> None:
    chosen = benchmark(data=prepared)
    for made, real in zip(chosen.synthetic_batch(), next(iter(chosen.train_batches(1))), strict=True):
        assert (made.shape, made.dtype) == (real.shape, real.dtype)


# Evaluation ------------------------------------------------------------------------------------------


class Threshold(nn.Module):
    """Takes bright voxels for kidney and dark ones for tumour."""

    def forward(self, patches: Tensor) -> Tensor:
        return torch.cat([torch.full_like(patches, 1.0), patches, -patches - 0.5], 1)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_ranks_share_the_volumes_and_agree_with_one(prepared: Path, world: int, monkeypatch) -> None:
    """Four volumes on 2, 3 and 5 ranks, the last of which has none."""
    module = "octathlon.benchmarks.unet3d.benchmark"
    alone = benchmark(data=prepared).evaluate(Threshold())["mean_DICE"]
    parts = []
    monkeypatch.setattr(f"{module}.all_sum", lambda total: parts.append(total.clone()) or total)
    for rank in range(world):
        benchmark(data=prepared, rank=rank, world=world, global_batch_size=8 * world).evaluate(Threshold())
    assert len(parts) == world
    assert sum(parts).mean().item() / 4 == pytest.approx(alone, abs=1e-6)
    assert 0.1 < alone < 0.9


def test_quality_is_the_mean_over_classes_and_volumes_of_what_is_scored(prepared: Path, monkeypatch) -> None:
    """By hand: cut the border that no window covers, take the likeliest class, count."""
    found = benchmark(data=prepared).evaluate(Threshold())["mean_DICE"]
    cases = Cases(prepared, read_json(prepared / "manifest.json"), "eval")
    scores = []
    for number in range(len(cases)):
        image, label = (volume.numpy() for volume in cases.volumes(number))
        for axis, size in enumerate(image.shape):
            rest = size % 8 if size % 8 < 4 else 0
            keep = slice(rest // 2, size - (rest - rest // 2))
            image, label = (np.moveaxis(np.moveaxis(each, axis, 0)[keep], 0, axis) for each in (image, label))
        predicted = np.argmax([np.ones_like(image), image, -image - 0.5], axis=0)
        for number_of_class in (1, 2):
            p, t = predicted == number_of_class, label == number_of_class
            scores.append(2 * (p & t).sum() / (p.sum() + t.sum()))
    assert found == pytest.approx(np.mean(scores), abs=2e-3)  # blending rounds voxels on the threshold


# Cadence and rates -----------------------------------------------------------------------------------

CADENCES = [  # batches; samples of an epoch; epochs of the first evaluation, between two, of the last
    ([2, 4, 7, 8, 14, 21, 24, 28, 42, 56, 84, 168], 168, (1000, 20, 10000)),
    ([16], 176, (955, 20, 9546)),
    ([48], 192, (875, 18, 8750)),
    ([32, 64, 96], 192, (875, 18, 8750)),
    ([80], 240, (700, 14, 7000)),
    ([128], 256, (657, 14, 6563)),
]


@pytest.mark.parametrize(("batches", "samples", "expected"), CADENCES)
def test_evaluations_follow_the_samples_of_an_epoch(batches, samples, expected) -> None:
    for batch in batches:
        chosen = benchmark("full", global_batch_size=batch)
        cadence = chosen.cadence()
        assert chosen.hyperparameters()["samples_per_epoch"] == samples
        assert (cadence.unit, cadence.first, cadence.every, cadence.limit) == ("epochs", *expected)


def test_rates_are_the_references() -> None:
    chosen = benchmark("full", base_learning_rate=0.8, warmup_epochs=200)
    rates = [chosen.learning_rate(epoch) for epoch in (1, 100, 200, 201, 9999)]
    assert rates == pytest.approx([0.0040995, 0.40005, 0.8, 0.8, 0.8])
    dropping = benchmark(
        "full", base_learning_rate=1.0, warmup_epochs=0, decay_epochs=[10, 20], decay_factor=0.5
    )
    assert [dropping.learning_rate(epoch) for epoch in (1, 10, 11, 20, 21)] == [1, 1, 0.5, 0.5, 0.25]


def test_the_rate_changes_with_the_epoch_not_with_the_step() -> None:
    chosen = benchmark("full", global_batch_size=56)
    optimizer, schedule = chosen.build_optimizer(nn.Linear(1, 1))
    rates = [schedule.set(Progress(train_samples=168, steps=steps)) for steps in (0, 2, 3, 5, 6)]
    expected = [chosen.learning_rate(epoch) for epoch in (1, 1, 2, 2, 3)]
    assert rates == expected
    assert optimizer.param_groups[0]["lr"] == expected[-1]
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"], group["weight_decay"], group["dampening"]) == (
        0.9,
        True,
        0,
        0,
    )
    assert len(optimizer.param_groups) == 1


# Full scale ------------------------------------------------------------------------------------------


def test_a_log_of_the_full_scale_passes_the_closed_check(tmp_path: Path, monkeypatch) -> None:
    chosen = benchmark("full")
    counts = {
        "train_samples": chosen.sample_counts().train,
        "eval_samples": chosen.sample_counts().evaluation,
    }
    logged = (
        counts | {"global_batch_size": chosen.settings.global_batch_size} | dict(chosen.hyperparameters())
    )
    assert json.loads(json.dumps(logged)) == logged
    evaluations = closed_logs.RUNS["unet3d"][1]
    monkeypatch.setitem(closed_logs.RUNS, "unet3d", (logged, evaluations))
    events = closed_logs.closed_log("unet3d")
    path = closed_logs.write_log(tmp_path / "result_0.txt", events)
    assert [finding for report in check_path(path) for finding in report.findings] == []
    assert sorted(chosen.tensor_names(chosen.build_model())) == sorted(closed_logs.tensor_names("unet3d"))
    assert chosen.target().thresholds == {"mean_DICE": 0.908}
    assert (logged["oversampling"], logged["validation_overlap"]) == (0.4, 0.5)
    assert logged["training_input_shape"] == logged["validation_input_shape"] == [128] * 3
    assert chosen.settings.runs == 40 and chosen.settings.division == "closed"


def test_full_scale_trains_on_168_cases_and_evaluates_the_references_42() -> None:
    settings = config.resolve("datasets", "kits19", "full", {})
    assert (len(settings.train_cases), len(settings.eval_cases)) == (168, 42)
    assert sorted(settings.train_cases + settings.eval_cases) == list(range(210))
    assert settings.eval_cases[:6] == (0, 3, 5, 6, 12, 24) and settings.eval_cases[-3:] == (203, 206, 207)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"patch_size": 24, "filters": (8, 16, 32, 32)},
            "patch_size 24 must be a multiple of 16, and at least 32",
        ),
        ({"patch_size": 4}, "must be a multiple of 4, and at least 8"),
        ({"overlap": 0.3}, "overlap 0.3 of patch_size 16 is no whole number of voxels"),
    ],
)
def test_settings_that_fit_no_network_are_refused(change: dict, message: str) -> None:
    values = config.resolve("benchmarks", "unet3d", "mini", {}).model_dump()
    with pytest.raises(ValidationError, match=message):
        Settings(**values | change)


@pytest.mark.big
@pytest.mark.slow
def test_one_step_of_the_full_model() -> None:
    """Forward, backward and update on one patch, of half the side to save time: every weight moves."""
    torch.manual_seed(0)
    chosen = benchmark("full", global_batch_size=1, patch_size=64, warmup_epochs=0, precision="fp32")
    model = chosen.build_model()
    optimizer, schedule = chosen.build_optimizer(model)
    images, labels = chosen.synthetic_batch()
    assert images.shape == (1, 1, 64, 64, 64) and labels.shape == (1, 64, 64, 64)
    labels[:, 20:45, 20:45, 20:45] = 1
    before = [parameter.detach().clone() for parameter in model.parameters()]
    shapes = []
    model.register_forward_hook(lambda *call: shapes.append(call[2].shape))
    chosen.loss(model, (images, labels)).backward()
    assert shapes == [(1, 3, 64, 64, 64)]
    schedule.set(Progress(train_samples=168))
    chosen.update(model, optimizer)
    assert all(not old.equal(new) for old, new in zip(before, model.parameters(), strict=True))
