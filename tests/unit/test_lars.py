"""LARS and momentum SGD, step by step against the reference's class and the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from octathlon.nn.lars import LARS, SGD

RATES = (1.0, 2.0, 0.5)
WEIGHT = [  # first four values after each step, and the sum; computed with the reference's class
    ([1.7631555, 0.4000135, 0.9782150, 2.2404964], 8.9777874),
    ([1.7577993, 0.4027928, 0.9776488, 2.2405050], 8.9747668),
    ([1.7523392, 0.4046707, 0.9773390, 2.2406671], 8.9730259),
]
PLAIN = [
    [1.6879486, 0.3879897, 0.9343517],
    [1.1655042, 0.6679121, 0.8852523],
    [0.6337898, 0.8597233, 0.8604292],
]


def test_three_steps_are_the_references() -> None:
    rng = np.random.RandomState(0)  # noqa: NPY002 - the published numbers come from it
    start = torch.tensor(rng.randn(4, 3), dtype=torch.float32)
    gradients = torch.tensor(rng.randn(3, 4, 3).astype(np.float32) * np.float32(0.1))
    weight, plain = nn.Parameter(start.clone()), nn.Parameter(start[0].clone())
    adapted = {"params": [weight], "weight_decay": 2e-4, "adapt": True}
    optimizer = LARS([adapted, {"params": [plain]}], momentum=0.9)
    for rate, gradient, (first, total), expected in zip(RATES, gradients, WEIGHT, PLAIN, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        weight.grad, plain.grad = gradient.clone(), gradient[0].clone()
        optimizer.step()
        assert weight.flatten()[:4].tolist() == pytest.approx(first, abs=1e-5)
        assert weight.sum().item() == pytest.approx(total, abs=1e-5)
        assert plain.tolist() == pytest.approx(expected, abs=1e-5)


def one_step(optimizer: SGD, parameter: nn.Parameter, gradient: torch.Tensor) -> torch.Tensor:
    before = parameter.detach().clone()
    parameter.grad = gradient
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    optimizer.step()
    return before - parameter.detach()


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_trust_is_one_where_a_norm_is_zero(zero: str) -> None:
    parameter = nn.Parameter(torch.zeros(3) if zero == "weight" else torch.ones(3))
    gradient = torch.zeros(3) if zero == "gradient" else torch.ones(3)
    optimizer = LARS([{"params": [parameter], "weight_decay": 0.1, "adapt": True}], momentum=0.9)
    moved = one_step(optimizer, parameter, gradient)
    expected = 0.5 * (gradient + 0.1 * parameter.detach().new_tensor([0.0 if zero == "weight" else 1.0]))
    torch.testing.assert_close(moved, expected.expand(3))


def test_half_precision_norms_do_not_overflow() -> None:
    """The norm of 1,000,000 halves of value 100 is 100,000: more than fp16 can hold."""
    parameter = nn.Parameter(torch.full((1000, 1000), 100.0, dtype=torch.float16))
    optimizer = LARS([{"params": [parameter], "adapt": True, "eeta": 1.0}], momentum=0.9)
    moved = one_step(optimizer, parameter, torch.full((1000, 1000), 1.0, dtype=torch.float16))
    torch.testing.assert_close(moved, torch.full_like(moved, 50.0))  # lr * |w| / |g| * g


def test_sgd_keeps_the_rate_inside_the_momentum() -> None:
    """m = 0.9 m + lr g: torch.optim.SGD would scale the old momentum by the new rate."""
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD([{"params": [parameter]}], momentum=0.9)
    values = []
    for rate in (1.0, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor([1.0])
        optimizer.step()
        values.append(parameter.item())
    assert values == pytest.approx([0.0, -1.0])  # torch.optim.SGD: 0 and -0.19


def test_a_parameter_without_gradient_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = LARS([{"params": [used, unused], "weight_decay": 0.1, "adapt": True}], momentum=0.9)
    one_step(optimizer, used, torch.ones(2))
    assert unused.tolist() == [1, 1] and used.tolist() != [1, 1]


def test_the_state_survives_saving() -> None:
    def trained(interrupt: bool) -> list[float]:
        parameter = nn.Parameter(torch.ones(3))
        groups = [{"params": [parameter], "weight_decay": 0.1, "adapt": True}]
        optimizer = LARS(groups, momentum=0.9)
        for step in range(4):
            if interrupt and step == 2:
                state = optimizer.state_dict()
                optimizer = LARS(groups, momentum=0.9)
                optimizer.load_state_dict(state)
            one_step(optimizer, parameter, torch.tensor([1.0, 2.0, 3.0]))
        return parameter.tolist()

    assert trained(interrupt=True) == trained(interrupt=False)
