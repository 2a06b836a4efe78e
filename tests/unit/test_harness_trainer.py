"""The training step: accumulation, warm-up, the update hook."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from toy_benchmark import Toy, toy

from octathlon.harness.events import Events
from octathlon.harness.trainer import StepTrainer


class WithoutNorm(Toy):
    """Batch norm sees micro-batches, so only without it accumulation changes nothing."""

    def build_model(self):
        return torch.nn.Linear(1, 1)


def trainer_of(benchmark, model):
    optimizer, schedule = benchmark.build_optimizer(model)
    return StepTrainer(benchmark, model, optimizer, schedule, Events([io.StringIO()], lambda: 0.0))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_accumulated_micro_batches_make_the_update_of_the_whole_batch():
    model = torch.nn.Linear(1, 1)
    found = []
    for accumulation in (1, 4):
        benchmark = toy(WithoutNorm, gradient_accumulation_steps=accumulation)
        trainer = trainer_of(benchmark, copy.deepcopy(model))
        for batch in torch.arange(16).view(2 * accumulation, -1):
            trainer.step(batch)
        found.append(weights(trainer.model))
        assert trainer.progress.steps == 2
        assert trainer.progress.samples == trainer.progress.epoch_samples == 16
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)
    assert not torch.equal(found[0], weights(model))


def test_nothing_is_updated_before_the_last_micro_batch():
    trainer = trainer_of(toy(gradient_accumulation_steps=2), toy().build_model())
    before = weights(trainer.model).clone()
    trainer.step(torch.arange(4))
    assert torch.equal(weights(trainer.model), before)
    trainer.step(torch.arange(4, 8))
    assert not torch.equal(weights(trainer.model), before)


class Uneven(WithoutNorm):
    """Micro-batches of any size weigh by their samples in a global batch of 8."""

    def weight(self, batch):
        return len(batch) / 8


def test_micro_batches_of_unequal_sizes_make_the_update_of_the_whole_batch():
    model = torch.nn.Linear(1, 1)
    found = []
    for sizes in ([8, 8], [3, 3, 2, 7, 1]):
        trainer = trainer_of(toy(Uneven), copy.deepcopy(model))
        for batch in torch.arange(16).split(sizes):
            trainer.step(batch)
        assert trainer.progress.steps == 2
        found.append(weights(trainer.model))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


def test_a_rest_that_is_no_global_batch_does_not_reach_into_the_next_epoch():
    found = []
    for rest in (0, 3):
        torch.manual_seed(1)
        trainer = trainer_of(toy(WithoutNorm, gradient_accumulation_steps=4), toy(WithoutNorm).build_model())
        for batch in torch.arange(100, 100 + 2 * rest).remainder(64).view(-1, 2):
            trainer.step(batch)
        trainer.end_epoch()
        for batch in torch.arange(8).view(4, 2):
            trainer.step(batch)
        assert (trainer.progress.steps, trainer.progress.samples) == (1, 8)
        found.append(weights(trainer.model))
    assert torch.equal(*found)


def test_warm_up_leaves_no_trace():
    trainer = trainer_of(toy(), toy().build_model())
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.warm_up()
    after = trainer.model.state_dict()
    assert "0.running_mean" in after
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert trainer.progress.steps == trainer.progress.samples == 0


def test_update_may_be_replaced_to_clip():
    class Clipped(Toy):
        def update(self, model, optimizer):
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            super().update(model, optimizer)

    trainer = trainer_of(toy(Clipped), toy().build_model())
    before = weights(trainer.model).clone()
    trainer.step(torch.arange(8))
    assert (weights(trainer.model) - before).norm().item() == pytest.approx(
        0.1 * 1e-3, rel=1e-2
    )  # rate x norm


def test_bf16_is_a_setting():
    kinds = []

    class Spy(Toy):
        def loss(self, model, batch):
            kinds.append(model(self.inputs[batch]).dtype)
            return super().loss(model, batch)

    for precision in ("fp32", "bf16"):
        trainer_of(toy(Spy, precision=precision), toy().build_model()).step(torch.arange(8))
    assert kinds == [torch.float32, torch.bfloat16]
