"""The residual network with a policy and a value head (reference: minigo, dual_net.py)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from octathlon.datasets.minigo_models.rows import PLANES

EPSILON, MOMENTUM = 1e-5, 0.05  # TensorFlow's momentum of 0.95 in PyTorch's words


class Residual(nn.Module):
    """Two convolutions around which the input is added."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(filters, filters, 3), _norm(filters)
        self.conv2, self.bn2 = _convolution(filters, filters, 3), _norm(filters)

    def forward(self, inputs: Tensor) -> Tensor:
        return relu(inputs + self.bn2(self.conv2(relu(self.bn1(self.conv1(inputs))))))


class DualNetwork(nn.Module):
    """Planes of shape (N, 13, size, size) -> logits of shape (N, size * size + 1), values of shape (N,) in [-1, 1].

    The value is Black's: 1 if Black wins. The last logit is the pass.
    """

    def __init__(self, size: int, filters: int, blocks: int, value_units: int) -> None:
        super().__init__()
        points = size * size
        self.conv, self.bn = _convolution(PLANES, filters, 3), _norm(filters)
        self.tower = nn.Sequential(*(Residual(filters) for _ in range(blocks)))
        self.policy_conv, self.policy_bn = _convolution(filters, 2, 1), _norm(2, affine=False)
        self.value_conv, self.value_bn = _convolution(filters, 1, 1), _norm(1, affine=False)
        self.policy = nn.Linear(2 * points, points + 1)
        self.value1 = nn.Linear(points, value_units)
        self.value2 = nn.Linear(value_units, 1)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.tower(relu(self.bn(self.conv(planes))))
        policy = relu(self.policy_bn(self.policy_conv(trunk))).flatten(1)
        value = relu(self.value_bn(self.value_conv(trunk))).flatten(1)
        return self.policy(policy), torch.tanh(self.value2(relu(self.value1(value)))).squeeze(1)


def _convolution(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)


def _norm(filters: int, affine: bool = True) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(filters, eps=EPSILON, momentum=MOMENTUM, affine=affine)


def folded(model: DualNetwork) -> DualNetwork:
    """A copy for inference, its batch norms within the convolutions before them."""
    copied = deepcopy(model).eval().requires_grad_(False)
    pairs = [(copied, ""), (copied, "policy_"), (copied, "value_")]
    for module, prefix in pairs:
        _fold(module, f"{prefix}conv", f"{prefix}bn")
    for block in copied.tower:
        _fold(block, "conv1", "bn1")
        _fold(block, "conv2", "bn2")
    return copied


def _fold(module: nn.Module, convolution: str, norm: str) -> None:
    layer = getattr(module, norm)
    fused = fuse_conv_bn_eval(getattr(module, convolution), layer)
    setattr(module, convolution, fused)
    setattr(module, norm, nn.Identity())
