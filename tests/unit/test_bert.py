"""The contract's members of bert: rates, loss, quality, evaluation points, what is logged, what it starts from."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from test_bert_model import random_samples, tiny
from torch import nn
from wikipedia_archives import draw, prepare_all, settings

from octathlon import config
from octathlon.benchmarks.bert.benchmark import LanguageModelling
from octathlon.benchmarks.bert.schedule import learning_rate
from octathlon.benchmarks.bert.settings import evaluation_interval
from octathlon.contracts import Progress, Run
from octathlon.datasets.wikipedia.loader import collate
from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.scoring import checker, compliance

FULL = {
    "counts": {"train": 156_725_653, "eval": 10_000},
    "vocabulary": 30_522,
    "max_seq_length": 512,
    "max_predictions": 76,
    "checkpoint": "checkpoint.safetensors",
}
SMALL = {"layers": 1, "hidden": 16, "heads": 2, "inner": 32, "global_batch_size": 8}


def benchmark(scale: str = "mini", data: Path | None = None, rank: int = 0, world: int = 1, **over: Any):
    manifest = read_json(data / "manifest.json") if data else FULL
    run = Run(seed=3, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return LanguageModelling(config.resolve("benchmarks", "bert", scale, over), run)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wikipedia")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


# Learning rate and cadence ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "start", "warmup", "steps", "rates"),
    [
        (2e-3, 0, 100, 1141, {0: 0, 1: 2e-5, 99: 1.98e-3, 100: 0.0018247152, 500: 0.0011235758, 1141: 0}),
        (
            *(2.88293e-3, -76, 287, 600),
            {0: 0.00076342397, 1: 0.00077346902, 210: 0.0028728849, 211: 0.0018690996, 599: 4.8048833e-6},
        ),
        (3.5e-4, 0, 0, 7100, {0: 3.5e-4, 3550: 1.75e-4, 8000: 0}),
        (3.2e-3, -100, 290, 475, {0: 0.0011034483, 189: 0.0031889655, 190: 0.00192}),
        (1.5e-3, -25, 100, 1271, {0: 3.75e-4, 74: 1.485e-3, 75: 0.0014114870}),
        (4e-3, -700, 0, 700, {0: 4e-3, 350: 2e-3}),  # without a warm-up its start has no effect
    ],
)
def test_rates_are_the_references(base: float, start: int, warmup: int, steps: int, rates: dict) -> None:
    facts = {"base": base, "start_warmup_step": start, "warmup_steps": warmup, "training_steps": steps}
    for step, rate in rates.items():
        assert learning_rate(step, **facts, power=1.0) == pytest.approx(rate, rel=1e-7, abs=1e-15)


def test_optimizer_takes_the_settings(prepared: Path) -> None:
    over = {"beta_1": 0.7, "beta_2": 0.8, "epsilon": 1e-5, "weight_decay_rate": 0.02, "start_warmup_step": -5}
    chosen = benchmark(data=prepared, **SMALL, **over, base_learning_rate=0.5, num_warmup_steps=10)
    optimizer, schedule = chosen.build_optimizer(chosen.build_model())
    assert schedule.set(Progress(train_samples=1, steps=3)) == pytest.approx(0.5 * 8 / 10)
    decayed, plain = optimizer.param_groups
    assert (decayed["weight_decay"], decayed["adapt"]) == (0.02, True)
    assert (plain["weight_decay"], plain["adapt"]) == (0, False)
    for group in optimizer.param_groups:
        assert (group["betas"], group["eps"], group["lr"]) == ((0.7, 0.8), 1e-5, pytest.approx(0.4))


INTERVALS = {256: 150, 448: 150, 2048: 150, 3072: 175, 4096: 175, 6144: 200, 6912: 225, 8192: 225, 8704: 250}
INTERVALS |= {12_288: 275, 12_960: 275, 13_056: 300}


def test_evaluations_follow_the_formula() -> None:
    for size, thousands in INTERVALS.items():
        assert evaluation_interval(size) == 1000 * thousands
    cadence = benchmark("full").cadence()
    progress = Progress(train_samples=FULL["counts"]["train"])
    steps = []
    for mark in list(cadence.marks())[:3]:
        while not progress.reached(mark, cadence.unit):
            progress.steps, progress.samples = progress.steps + 1, progress.samples + 448
        steps.append(progress.steps)
    assert steps == [335, 670, 1005]
    with pytest.raises(OctathlonError, match="global_batch_size of 3072 .* every 175000 samples"):
        benchmark("full", global_batch_size=3072)
    benchmark("full", global_batch_size=3072, cadence={"first": 175_000, "every": 175_000})
    benchmark("full", global_batch_size=3072, division="open")


# What is logged --------------------------------------------------------------------------------------


def test_full_scale_is_the_closed_division() -> None:
    chosen = benchmark("full")
    logged = dict(chosen.hyperparameters()) | {"global_batch_size": chosen.settings.global_batch_size}
    demanded = compliance.layers("v1.1")["closed_bert"]
    assert not set(demanded) - set(logged) - {"eval_accuracy", "weights_initialization"}
    assert logged["opt_lamb_weight_decay_rate"] == 0.01
    assert chosen.target().thresholds == {"mlm_accuracy": 0.720}
    assert chosen.settings.start == "checkpoint"
    assert json.loads(json.dumps(logged)) == logged


def test_a_closed_log_with_these_values_passes_the_check(tmp_path: Path) -> None:
    """All that the harness logs at full scale, in a log of 448 samples a step that converges as published."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
    from closed_logs import closed_log, write_log

    chosen = benchmark("full")
    logged = dict(chosen.hyperparameters()) | {"global_batch_size": chosen.settings.global_batch_size}
    events = [event for event in closed_log("bert") if event["key"] not in logged]
    start = next(i for i, event in enumerate(events) if event["key"] == "init_stop")
    template = next(event for event in events if event["key"] == "seed")
    events[start:start] = [template | {"key": key, "value": value} for key, value in logged.items()]
    findings = checker.check_log(write_log(tmp_path / "result_0.txt", events), "v1.1")
    assert [finding for finding in findings if finding.severity in ("error", "warning")] == []
    without = [event for event in events if event["key"] != "start_warmup_step"]
    findings = checker.check_log(write_log(tmp_path / "result_1.txt", without), "v1.1")
    assert any("start_warmup_step" in str(finding) for finding in findings)


def test_samples_trained_on_are_what_counts() -> None:
    chosen = benchmark("full")
    assert chosen.epoch_num(Progress(train_samples=1, samples=150_080)) == 150_080
    assert chosen.logs_trained_samples
    assert chosen.sample_counts().evaluation == 10_000


# Loss, clipping, quality -----------------------------------------------------------------------------


class Scripted(nn.Module):
    """Gives the logits that it was told."""

    def __init__(self, masked: torch.Tensor, following: torch.Tensor) -> None:
        super().__init__()
        self.answers = masked, following

    def forward(self, _batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.answers


def test_loss_is_the_sum_of_two_means() -> None:
    batch = collate(random_samples(4))
    count = len(batch.labels)
    masked, following = torch.randn(count, 40), torch.randn(4, 2)
    loss = benchmark("full").loss(Scripted(masked, following), batch)
    pieces = -masked.log_softmax(1)[torch.arange(count), batch.labels].sum() / (count + 1e-5)
    sentences = -following.log_softmax(1)[torch.arange(4), batch.random_next].mean()
    assert loss.item() == pytest.approx((pieces + sentences).item(), rel=1e-6)


def test_gradients_are_clipped_together_after_they_are_averaged() -> None:
    chosen, model = benchmark("full"), tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    chosen.update(model, optimizer)
    moved = torch.cat([(old - new).flatten() for old, new in zip(before, model.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(1.0)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-5)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    chosen.update(model, optimizer)  # a small one stays
    assert all(
        torch.allclose(old - new, torch.full_like(new, 1e-5), rtol=1e-6, atol=0)
        for old, new in zip(before, model.parameters(), strict=True)
    )


def test_accuracy_is_over_all_masked_pieces_together(prepared: Path) -> None:
    """Not a mean over batches or ranks, whose numbers of masked pieces differ."""

    class KnowsSome(nn.Module):
        def forward(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
            right = batch.positions[batch.masked] < 12
            answers = torch.where(right, batch.labels, (batch.labels + 1) % manifest["vocabulary"])
            self.right += int(right.sum())
            self.total += len(right)
            return nn.functional.one_hot(answers, manifest["vocabulary"]).float(), torch.zeros(0, 2)

    manifest, model = read_json(prepared / "manifest.json"), KnowsSome()
    model.right = model.total = 0
    quality = benchmark(data=prepared, **SMALL | {"global_batch_size": 7}).evaluate(model)
    assert model.total == manifest["masked"]["eval"]
    assert 0 < model.right < model.total
    assert quality == {"mlm_accuracy": model.right / model.total}


def test_a_synthetic_batch_is_a_full_one(prepared: Path) -> None:
    chosen = benchmark(data=prepared, **SMALL)
    made, real = chosen.synthetic_batch(), next(iter(chosen.train_batches(1)))
    assert [tensor.dtype for tensor in made[:-1]] == [tensor.dtype for tensor in real[:-1]]
    assert len(made.pieces) == 8 * 32 >= len(real.pieces)
    assert len(made.labels) == 8 * 5 >= len(real.labels)
    chosen.loss(chosen.build_model(), made).backward()


def test_accumulated_micro_batches_are_one_batch() -> None:
    """With as many masked pieces in each; else each micro-batch has its own mean, as the rules have it."""
    chosen, samples = benchmark("full"), random_samples(40, seed=4)
    counts = samples.fields["masked_lm_ids"].lengths
    rows = (counts == 3).nonzero()[0][:8]
    assert len(rows) == 8
    gradients = []
    for parts in (1, 2, 4):
        model = tiny()
        for part in range(parts):
            batch = collate(samples.take(rows[part * 8 // parts : (part + 1) * 8 // parts]))
            (chosen.loss(model, batch) / parts).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for other in gradients[1:]:
        for one, accumulated in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, accumulated, rtol=1e-4, atol=1e-7)


# What it starts from ---------------------------------------------------------------------------------


def test_training_continues_from_the_checkpoint(prepared: Path) -> None:
    from safetensors.numpy import load_file

    weights = load_file(prepared / "checkpoint.safetensors")
    chosen = benchmark(data=prepared, **SMALL)
    model = chosen.build_model()
    for (_, parameter), name in zip(model.named_parameters(), chosen.tensor_names(model), strict=True):
        stored = torch.from_numpy(weights.pop(name))
        assert parameter.equal(stored.T if name.endswith("/kernel") else stored)
    assert not weights


def test_a_random_start_needs_no_checkpoint(prepared: Path) -> None:
    first, second = (benchmark(data=prepared, **SMALL, start="random").build_model() for _ in range(2))
    assert not first.pooler.weight.equal(second.pooler.weight)


def test_a_checkpoint_that_does_not_fit_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(
        OctathlonError, match=r"checkpoint\.safetensors: .* has the shape .*set start to random"
    ):
        benchmark(data=prepared, **SMALL | {"inner": 48}).build_model()
    with pytest.raises(OctathlonError, match=r"layer_1.* not in both model and checkpoint"):
        benchmark(data=prepared, **SMALL | {"layers": 2}).build_model()
    shutil.copy(prepared / "manifest.json", tmp_path)
    with pytest.raises(OctathlonError, match=r"checkpoint\.safetensors: cannot read the checkpoint"):
        benchmark(data=tmp_path, **SMALL).build_model()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(OctathlonError, match=r"checkpoint\.safetensors: cannot read the checkpoint"):
        benchmark(data=tmp_path, **SMALL).build_model()
    document = json.loads((prepared / "manifest.json").read_text()) | {"checkpoint": None}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(OctathlonError, match="start is checkpoint, but wikipedia was prepared without one"):
        benchmark(data=tmp_path, **SMALL)


def test_settings_that_do_not_fit_are_named(prepared: Path) -> None:
    with pytest.raises(OctathlonError, match="hidden 64 does not divide into 3 heads"):
        benchmark(data=prepared, heads=3)
    with pytest.raises(OctathlonError, match=r"global_batch_size 100000 is more than the \d+ training"):
        benchmark(data=prepared, global_batch_size=100_000)
    with pytest.raises(ValidationError):
        settings(eval_samples=1).model_validate({})


def test_no_text_is_touched_before_training(prepared: Path, tmp_path: Path) -> None:
    for name in ("manifest.json", "checkpoint.safetensors"):
        shutil.copy(prepared / name, tmp_path)
    chosen = benchmark(data=tmp_path, **SMALL)
    model = chosen.build_model()
    chosen.build_optimizer(model)
    chosen.hyperparameters()
    chosen.loss(model, chosen.synthetic_batch()).backward()
    with pytest.raises(OctathlonError, match=r"train-\d+-\d\.hdf5"):
        next(iter(chosen.train_batches(1)))


# Full size -------------------------------------------------------------------------------------------


@pytest.mark.big
@pytest.mark.slow
def test_one_step_of_the_full_model() -> None:
    """BERT-large, a sample of 512 pieces: shapes, the loss of guessing, and an update that lowers it."""
    chosen = benchmark("full", start="random", global_batch_size=1, division="open", precision="fp32")
    torch.manual_seed(1)
    model = chosen.build_model()
    optimizer, schedule = chosen.build_optimizer(model)
    batch = chosen.synthetic_batch()
    pieces = torch.randint(30_522, batch.pieces.shape)
    batch = batch._replace(pieces=pieces, labels=pieces[batch.masked].flip(0))
    shapes = []
    model.eval().register_forward_hook(
        lambda _model, _batch, made: shapes.append([part.shape for part in made])
    )
    before = chosen.loss(model, batch)
    assert shapes == [[(76, 30_522), (1, 2)]]
    assert before.item() == pytest.approx(11.02, abs=0.5)
    before.backward()
    assert schedule.set(Progress(train_samples=1)) == 3.5e-4
    chosen.update(model, optimizer)
    with torch.no_grad():
        assert chosen.loss(model, batch).item() < before.item()
    names = list(chosen.tensor_names(model))
    assert len(names) == 398
    assert re.search("layer_23", " ".join(names))
