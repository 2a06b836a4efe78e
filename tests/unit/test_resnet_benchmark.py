"""The contract's members of resnet: batches and shares over ranks, rates, decay, quality, what is logged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from imagenet_archives import draw, prepare_all
from pydantic import ValidationError
from torch import nn

from octathlon import config
from octathlon.benchmarks.resnet.benchmark import ImageClassification
from octathlon.benchmarks.resnet.settings import Settings
from octathlon.contracts import Progress, Run
from octathlon.datasets.imagenet.loader import MEAN_RGB
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.scoring import compliance

# torchvision's decoder will move to torchcodec; the versions are pinned.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")

FULL = {"counts": {"train": 1_281_167, "eval": 50_000}, "classes": [{}] * 1000}


def benchmark(scale: str = "mini", data: Path | None = None, rank: int = 0, world: int = 1, **over: Any):
    manifest = read_json(data / "manifest.json") if data else FULL
    run = Run(seed=3, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return ImageClassification(config.resolve("benchmarks", "resnet", scale, over), run)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 training and 30 validation images."""
    folder = tmp_path_factory.mktemp("imagenet")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


# Data ------------------------------------------------------------------------------------------------


def epochs(
    chosen: ImageClassification, numbers: Iterable[int]
) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
    return [list(chosen.train_batches(epoch)) for epoch in numbers]


def flat(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_ranks_accumulation_and_workers_change_no_global_batch(prepared: Path) -> None:
    """One rank with batches of 16 against two ranks with two micro-batches of 4 each."""
    alone = epochs(benchmark(data=prepared, global_batch_size=16), [1, 2])
    options = {"global_batch_size": 16, "gradient_accumulation_steps": 2, "loader_workers": 1}
    ranks = [epochs(benchmark(data=prepared, rank=rank, world=2, **options), [1, 2]) for rank in range(2)]
    for epoch in range(2):
        assert len(alone[epoch]) == 3  # 60 images: the incomplete fourth batch is dropped
        micro_batches = list(zip(ranks[0][epoch], ranks[1][epoch], strict=True))
        assert len(micro_batches) == 6
        for step, (images, labels) in enumerate(alone[epoch]):
            parts = [part for pair in micro_batches[2 * step : 2 * step + 2] for part in pair]
            assert [len(part[1]) for part in parts] == [4] * 4
            together = flat(parts)
            assert together[0].equal(images) and together[1].equal(labels)


def test_an_epoch_repeats_no_image_and_epochs_differ(prepared: Path) -> None:
    """The labels of six images a class: 60 in batches of 20, all of them."""
    first, second = epochs(benchmark(data=prepared, global_batch_size=20), [1, 2])
    for epoch in (first, second):
        assert torch.bincount(flat(epoch)[1]).tolist() == [6] * 10
    assert not flat(first)[1].equal(flat(second)[1])


def test_an_epoch_is_the_same_alone_and_in_the_stream(prepared: Path) -> None:
    chosen = {"data": prepared, "global_batch_size": 20}
    streamed, alone = epochs(benchmark(**chosen), [1, 2, 3]), epochs(benchmark(**chosen), [3])
    assert flat(streamed[2])[0].equal(flat(alone[0])[0])


def test_no_data_are_touched_before_training(prepared: Path, tmp_path: Path) -> None:
    """The harness builds, warms up and logs before run_start; then only the manifest may be there."""
    (tmp_path / "manifest.json").write_bytes((prepared / "manifest.json").read_bytes())
    chosen = benchmark(data=tmp_path)
    model = chosen.build_model()
    chosen.build_optimizer(model)
    chosen.hyperparameters()
    chosen.loss(model, chosen.synthetic_batch()).backward()
    with pytest.raises(OctathlonError, match=r"train-000\.npy"):
        next(iter(chosen.train_batches(1)))


def test_synthetic_batches_have_the_shapes_of_real_ones(prepared: Path) -> None:
    chosen = benchmark(data=prepared)
    for made, real in zip(chosen.synthetic_batch(), next(iter(chosen.train_batches(1))), strict=True):
        assert (made.shape, made.dtype, made.stride()) == (real.shape, real.dtype, real.stride())


def test_a_batch_larger_than_the_data_is_refused(prepared: Path) -> None:
    with pytest.raises(OctathlonError, match="global_batch_size 64 is more than the 60 training images"):
        benchmark(data=prepared, global_batch_size=64)


# Quality ---------------------------------------------------------------------------------------------


class Oracle(nn.Module):
    """Answers `answers` in turn; remembers what it saw."""

    def __init__(self, answers: list[int]) -> None:
        super().__init__()
        self.answers, self.seen = answers, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images)
        done = sum(map(len, self.seen))
        return nn.functional.one_hot(torch.tensor(self.answers[done - len(images) : done]), 10).float()


@pytest.mark.parametrize("world", [1, 4])
def test_every_validation_image_counts_once(prepared: Path, world: int) -> None:
    """30 images over 4 ranks in batches of 2: shares of 7 and 8, the last batch of a share incomplete."""
    labels = torch.cat([b[1] for b in benchmark(data=prepared)._load_evaluation()])
    ranks = [
        benchmark(data=prepared, rank=rank, world=world, global_batch_size=2 * world) for rank in range(world)
    ]
    parts = [torch.cat([batch[1] for batch in each._load_evaluation()]) for each in ranks]
    assert torch.cat(parts).equal(labels) and len(labels) == 30


def test_accuracy_is_hits_over_images_and_evaluations_repeat(prepared: Path) -> None:
    chosen = benchmark(data=prepared, global_batch_size=7)
    labels = torch.cat([b[1] for b in chosen._load_evaluation()]).tolist()
    wrong = [(label + 1) % 10 if place < 12 else label for place, label in enumerate(labels)]
    assert chosen.evaluate(Oracle(labels)) == {"accuracy": 1.0}
    assert chosen.evaluate(Oracle(wrong)) == {"accuracy": 18 / 30}


def test_training_and_evaluation_subtract_the_same_mean_and_nothing_else(prepared: Path) -> None:
    chosen = benchmark(data=prepared, global_batch_size=8)
    images, labels = next(iter(chosen.train_batches(1)))
    oracle = Oracle([0] * 38)
    chosen.loss(oracle, (images, labels))
    chosen.evaluate(oracle)
    mean = torch.tensor(MEAN_RGB).view(3, 1, 1)
    assert oracle.seen[0].equal(images - mean)
    first = next(iter(chosen._load_evaluation()))[0]
    assert oracle.seen[1].equal(first - mean)
    assert images.max() > 200 and images.min() >= 0  # 0 to 255, not 0 to 1


def test_the_network_gets_images_of_its_precision_and_layout(prepared: Path) -> None:
    """Rounded once: what autocast would have made of the exact differences."""
    chosen, oracle = benchmark(data=prepared, global_batch_size=8), Oracle([0] * 8)
    images, labels = chosen.synthetic_batch()
    with torch.autocast("cpu", torch.bfloat16):
        chosen.loss(oracle, (images, labels))
    seen, exact = oracle.seen[0], images.double() - torch.tensor(MEAN_RGB).double().view(3, 1, 1)
    assert seen.dtype == torch.bfloat16 and seen.is_contiguous(memory_format=torch.channels_last)
    assert seen.equal(exact.float().bfloat16())


def test_the_loss_smooths_labels(prepared: Path) -> None:
    """Ten classes, logits of 1 for the right and 0 for the others."""
    logits = torch.eye(10)
    log_softmax = logits.log_softmax(1)[0]
    expected = -(0.9 * log_softmax[0] + 0.1 * log_softmax.mean())
    chosen = benchmark(data=prepared, global_batch_size=10)
    loss = chosen.loss(lambda images: logits, (torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.arange(10)))
    assert loss.item() == pytest.approx(expected.item())


# Optimizer and schedule ------------------------------------------------------------------------------


def test_rates_at_full_scale_are_the_references() -> None:
    """313 steps an epoch at a batch of 4,096 would be rounded up; whole batches only make 312."""
    over = {"global_batch_size": 4096, "base_learning_rate": 10, "warmup_epochs": 5, "planned_epochs": 42}
    chosen = benchmark("full", **over, blocks=[1], width=8)
    _, schedule = chosen.build_optimizer(chosen.build_model())

    def rate(step: int) -> float:
        return schedule.set(Progress(train_samples=0, steps=step))

    assert rate(0) == 0
    assert rate(5 * 312) == 10
    decay = 37 * 312 + 1
    assert rate(42 * 312) == pytest.approx(1e-4 + (10 - 1e-4) / decay**2)
    assert chosen.hyperparameters()["lars_opt_learning_rate_decay_steps"] == decay


def groups(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, tuple[float, bool]]:
    """(weight decay, adapted) of each parameter."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["weight_decay"], group.get("adapt", False))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize(("optimizer", "weights", "bias"), [("lars", 5e-5, 0), ("sgd", 1e-4, 1e-4)])
def test_what_is_decayed(prepared: Path, optimizer: str, weights: float, bias: float) -> None:
    """SGD: twice the logged value, the last bias included; LARS: weights alone."""
    chosen = benchmark(data=prepared, optimizer=optimizer)
    model = chosen.build_model()
    found = groups(chosen.build_optimizer(model)[0], model)
    assert len(found) == len(list(model.parameters()))
    for name, (decay, adapted) in found.items():
        if "bn" in name or "downsample.1" in name:
            assert (decay, adapted) == (0, False), name
        elif name == "fc.bias":
            assert (decay, adapted) == (bias, False)
        else:
            assert (decay, adapted) == (weights, optimizer == "lars"), name


def test_sgd_decay_is_the_gradient_of_the_references_loss(prepared: Path) -> None:
    """The reference adds weight_decay * sum(w^2) to the loss."""
    chosen = benchmark(data=prepared, optimizer="sgd", weight_decay=0.1)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    weight = model.layer1[0].conv2.weight
    before = weight.detach().clone()
    penalty = 0.1 * weight.square().sum()
    (expected,) = torch.autograd.grad(penalty, weight)
    weight.grad = torch.zeros_like(weight)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    optimizer.step()
    torch.testing.assert_close(before - weight.detach(), expected)


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_full_scale_is_the_closed_division(optimizer: str) -> None:
    over = {"optimizer": optimizer, "base_learning_rate": 10.5}
    chosen = benchmark("full", **over)
    logged = dict(chosen.hyperparameters()) | {"global_batch_size": chosen.settings.global_batch_size}
    layers = compliance.layers("v1.1")
    demanded = {**layers["closed_resnet"], **layers[f"closed_resnet_{optimizer}"]}
    missing = set(demanded) - set(logged) - {"eval_accuracy", "weights_initialization"}
    assert not missing
    assert logged["opt_name"] == optimizer
    assert logged[f"{optimizer}_opt_end_learning_rate"] == 1e-4
    assert logged[f"{optimizer}_opt_learning_rate_decay_poly_power"] == 2
    assert chosen.settings.label_smoothing in (0, 0.1)
    assert chosen.target().thresholds == {"accuracy": 0.759}
    cadence = chosen.cadence()
    assert cadence.unit == "epochs" and cadence.every == 4 and 1 <= cadence.first <= 4
    assert list(cadence.marks()) == [3, 7, 11, 15, 19, 23, 27, 31, 35, 39]
    assert json.loads(json.dumps(logged)) == logged


def test_the_full_model_and_its_names() -> None:
    chosen = benchmark("full")
    model = chosen.build_model()
    assert sum(each.numel() for each in model.parameters()) == 25_557_032
    assert len(set(chosen.tensor_names(model))) == 161


def test_an_evaluation_size_below_the_crop_is_refused() -> None:
    values = config.resolve("benchmarks", "resnet", "mini", {}).model_dump()
    with pytest.raises(ValidationError, match="eval_short_side 40 must exceed image_size 40"):
        Settings(**values | {"eval_short_side": 40})


# Training --------------------------------------------------------------------------------------------


def losses_of_one_batch(prepared: Path, seed: int, steps: int = 15) -> list[float]:
    """Of a network that sees the same 20 images again and again."""
    torch.manual_seed(seed)
    chosen = benchmark(data=prepared, global_batch_size=20)
    model = chosen.build_model()
    optimizer, _ = chosen.build_optimizer(model)
    for group in optimizer.param_groups:
        group["lr"] = 2.0
    batch = next(iter(chosen.train_batches(1)))
    losses = []
    for _ in range(steps):
        loss = chosen.loss(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_the_network_learns_a_batch_and_a_run_repeats_itself(prepared: Path) -> None:
    losses = losses_of_one_batch(prepared, seed=1)
    assert losses[0] > 2.2 and losses[-1] < 1.2  # the smoothed loss can't fall below 0.5
    assert losses == losses_of_one_batch(prepared, seed=1)
    assert losses != losses_of_one_batch(prepared, seed=2)
