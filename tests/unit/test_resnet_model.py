"""The network against torchvision's, the reference's numbers and its initial distributions."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

from octathlon.benchmarks.resnet.model import ResNet, reference_name
from octathlon.scoring.compliance import expand, layers


@pytest.fixture(scope="module")
def resnet50() -> ResNet:
    torch.manual_seed(1)
    return ResNet((3, 4, 6, 3), 64, 1000)


def test_parameters_are_counted_as_published(resnet50: ResNet) -> None:
    counts = Counter()
    for module in resnet50.modules():
        counts[type(module)] += sum(each.numel() for each in module.parameters(recurse=False))
    expected = {nn.Conv2d: 23_454_912, nn.BatchNorm2d: 53_120, nn.Linear: 2_049_000}
    assert {kind: count for kind, count in counts.items() if count} == expected
    assert sum(expected.values()) == 25_557_032
    assert len(list(resnet50.parameters())) == 161


def test_the_small_network_has_511514_parameters() -> None:
    assert sum(each.numel() for each in ResNet((1, 1, 1, 1), 16, 10).parameters()) == 511_514


@torch.no_grad()
def test_with_torchvisions_weights_it_computes_the_same(resnet50: ResNet) -> None:
    """Also tells v1.5 from v1, which has the stride in the first convolution and as many parameters."""
    torch.manual_seed(2)
    theirs = torchvision.models.resnet50()
    ours = ResNet((3, 4, 6, 3), 64, 1000)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 96, 80)
    torch.testing.assert_close(ours(images), theirs(images))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def fingerprint(model: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """Logits in training mode of weights and an input that are sines of their position, rounded to fp32."""
    with torch.no_grad():
        for k, (name, parameter) in enumerate(model.named_parameters()):
            v = torch.sin(0.7 * torch.arange(parameter.numel(), dtype=torch.float64) + k).view_as(parameter)
            if parameter.ndim > 1:
                v *= math.sqrt(2 / parameter[0].numel())
            else:
                v = 0.1 * v + (name.endswith("weight"))
            parameter.copy_(v)
        images = torch.sin(0.011 * torch.arange(2 * 3 * 224 * 224, dtype=torch.float64)).float()
        return model.to(dtype).train()(images.view(2, 3, 224, 224).to(dtype)).double()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 6e-6), (torch.float32, 3e-3)])
def test_the_fingerprint_is_the_published_one(dtype: torch.dtype, tolerance: float) -> None:
    logits = fingerprint(ResNet((3, 4, 6, 3), 64, 1000), dtype)
    assert logits.mean().item() == pytest.approx(-0.0019865, abs=tolerance)
    assert logits.std().item() == pytest.approx(0.7057994, abs=tolerance)
    assert logits[0, :4].tolist() == pytest.approx([-0.69794, -0.85414, -0.19935, 0.60336], abs=tolerance)


def test_convolutions_start_truncated_normal(resnet50: ResNet) -> None:
    """Standard deviation sqrt(2 / fan in) after the cut at two (wider) sigmas."""
    for module in resnet50.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
            scaled = module.weight / math.sqrt(2 / module.weight[0].numel())
            assert scaled.std().item() == pytest.approx(1, abs=0.02)
            assert scaled.mean().item() == pytest.approx(0, abs=0.03)
            assert 2.2 < scaled.abs().max() <= 2 / 0.87962566 + 1e-5


def test_norms_start_at_one_and_the_last_layer_small(resnet50: ResNet) -> None:
    """No gamma starts at 0, not even the last of a block."""
    for module in resnet50.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
            assert (module.eps, module.momentum) == (1e-5, 0.1)
            assert (module.running_mean == 0).all() and (module.running_var == 1).all()
    assert resnet50.fc.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert resnet50.fc.weight.abs().max() > 0.04  # normal, not uniform
    assert (resnet50.fc.bias == 0).all()


def test_tensors_have_the_names_that_the_round_demands(resnet50: ResNet) -> None:
    rules = layers("v1.1")["closed_resnet"]["weights_initialization"]
    demanded = [name for pattern in rules["tensors"] for name in expand(pattern)]
    named = [reference_name(name) for name, _ in resnet50.named_parameters()]
    assert sorted(named) == sorted(demanded) and len(named) == 161
    shapes = {reference_name(name): tuple(each.shape) for name, each in resnet50.named_parameters()}
    assert shapes["conv0_weight"] == (64, 3, 7, 7)
    assert shapes["stage2_unit1_conv1sc_weight"] == (512, 256, 1, 1)
    assert shapes["stage4_unit3_conv2_weight"] == (512, 512, 3, 3)
    assert shapes["stage3_unit6_bn3_beta"] == (1024,)
    assert shapes["fc1_weight"] == (1000, 2048)


def test_smoothed_cross_entropy_is_the_references() -> None:
    logits = torch.tensor([[2, -1, 0.5, 0], [0.1, 0.2, 0.3, 3]])
    losses = cross_entropy(logits, torch.tensor([0, 2]), label_smoothing=0.1, reduction="none")
    assert losses.tolist() == pytest.approx([0.504850, 2.808086], abs=1e-6)
