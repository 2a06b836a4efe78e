"""LAMB and clipping, step by step against numbers computed with the references' formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from octathlon.nn.lamb import Lamb, clip_gradients

WEIGHT_GRADIENT, BIAS_GRADIENT = [[0.1, -0.2], [0.3, -0.4]], [0.05, 0.05]


def double(values: object) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def set_rate(optimizer: Lamb, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def close(parameter: Tensor, expected: object, tolerance: float) -> None:
    torch.testing.assert_close(parameter.detach(), double(expected), rtol=0, atol=tolerance)


class TestSpeechRecognition:
    """Two steps with clipping, eps 1e-9 and decay 1e-3 on every tensor."""

    def test_two_steps(self) -> None:
        rng = np.random.default_rng(11)
        first = nn.Parameter(double(0.5 * rng.standard_normal((2, 3))))
        second = nn.Parameter(double(0.1 * rng.standard_normal(3)))
        gradients = [(rng.standard_normal((2, 3)), rng.standard_normal(3)) for _ in range(2)]
        optimizer = Lamb([{"params": [first, second]}], eps=1e-9, weight_decay=1e-3)
        set_rate(optimizer, 0.004)
        close(first, [[0.01709638, 0.67987377, 0.61236054], [-0.25515354, -0.14898476, -0.26369210]], 1e-8)
        expected = [
            (
                2.7270086,
                [[0.01872466, 0.67824435, 0.61398785], [-0.25678143, -0.14735620, -0.26206336]],
                [0.05675530, -0.00582377, 0.07490587],
            ),
            (
                2.9528096,
                [[0.02030817, 0.67627618, 0.61577501], [-0.25595893, -0.14836549, -0.25991197]],
                [0.05694299, -0.00582155, 0.07523240],
            ),
        ]
        for (first_gradient, second_gradient), (norm, first_value, second_value) in zip(
            gradients, expected, strict=True
        ):
            first.grad, second.grad = double(first_gradient), double(second_gradient)
            assert clip_gradients([first, second], 1.0).item() == pytest.approx(norm, abs=1e-7)
            optimizer.step()
            close(first, first_value, 1e-8)
            close(second, second_value, 1e-8)


class TestLanguageModeling:
    """eps 1e-6 and decay 0.01; biases neither decayed nor adapted."""

    def start(self) -> tuple[nn.Parameter, nn.Parameter, Lamb]:
        weight, bias = nn.Parameter(double([[1, 2], [3, 4]])), nn.Parameter(double([0.5, -0.5]))
        plain = {"params": [bias], "weight_decay": 0.0, "adapt": False}
        optimizer = Lamb([{"params": [weight], "weight_decay": 0.01}, plain])
        set_rate(optimizer, 0.01)
        return weight, bias, optimizer

    def test_two_steps_without_clipping(self) -> None:
        weight, bias, optimizer = self.start()
        expected = [
            (
                [[0.9722113180536264, 2.0269634049466183], [2.971660858252755, 4.026413197352792]],
                [0.4900001999960001, -0.5099998000039999],
            ),
            (
                [[0.9443779568015175, 2.0539701622989246], [2.9432761521573756, 4.0528688624743765]],
                [0.4800003999920002, -0.5199996000079997],
            ),
        ]
        for weight_value, bias_value in expected:
            weight.grad, bias.grad = double(WEIGHT_GRADIENT), double(BIAS_GRADIENT)
            norm = clip_gradients([weight, bias], 1.0)
            assert norm.item() == pytest.approx(0.552268050859363, abs=1e-14)
            optimizer.step()
            close(weight, weight_value, 1e-12)
            close(bias, bias_value, 1e-12)

    def test_a_large_gradient_is_clipped(self) -> None:
        weight, bias, optimizer = self.start()
        weight.grad, bias.grad = 10 * double(WEIGHT_GRADIENT), 10 * double(BIAS_GRADIENT)
        clip_gradients([weight, bias], 1.0)
        close(weight.grad, 1.8107149208503706 * double(WEIGHT_GRADIENT), 1e-14)
        optimizer.step()
        close(
            weight, [[0.9722112602735561, 2.0269634030766333], [2.971660883891841, 4.026413165981215]], 1e-12
        )
        close(bias, [0.49000011045239017, -0.5099998895476098], 1e-12)

    def test_a_zero_tensor_has_trust_one(self) -> None:
        weight = nn.Parameter(double([[0.0, 0.0], [0.0, 0.0]]))
        optimizer = Lamb([{"params": [weight], "weight_decay": 0.01}])
        set_rate(optimizer, 0.01)
        weight.grad = double(WEIGHT_GRADIENT)
        optimizer.step()
        expected = [
            [-0.009999900000999989, 0.009999950000249998],
            [-0.00999996666677778, 0.009999975000062502],
        ]
        close(weight, expected, 1e-14)


def test_a_zero_step_leaves_the_weight() -> None:
    """Without gradient and decay u is 0: trust 1 and no NaN."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = Lamb([{"params": [weight]}])
    set_rate(optimizer, 0.01)
    weight.grad = torch.zeros(3)
    optimizer.step()
    assert weight.tolist() == [1, 1, 1]


def test_a_parameter_without_gradient_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Lamb([{"params": [used, unused], "weight_decay": 0.1}])
    set_rate(optimizer, 0.01)
    used.grad = torch.ones(2)
    assert clip_gradients([used, unused], 10.0).item() == pytest.approx(2**0.5)
    optimizer.step()
    assert unused.tolist() == [1, 1] and used.tolist() != [1, 1]


def test_the_state_survives_saving() -> None:
    """Moments and the step count, on which the bias correction depends."""

    def trained(interrupt: bool) -> list[float]:
        parameter = nn.Parameter(torch.ones(3))
        optimizer = Lamb([{"params": [parameter], "weight_decay": 0.1}])
        set_rate(optimizer, 0.1)
        for step in range(4):
            if interrupt and step == 2:
                state = optimizer.state_dict()
                optimizer = Lamb([{"params": [parameter]}])
                optimizer.load_state_dict(state)
            parameter.grad = torch.tensor([1.0, -2.0, 3.0 * step])
            optimizer.step()
        return parameter.tolist()

    assert trained(interrupt=True) == trained(interrupt=False)
