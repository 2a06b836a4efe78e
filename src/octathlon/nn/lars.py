"""Momentum SGD and LARS with the learning rate inside the momentum buffer, as in the MLPerf reference.

    d  <- gradient + weight_decay * w
    m  <- momentum * m + lr * trust * d
    w  <- w - m

For SGD trust is 1. LARS (You, Gitman, Ginsburg 2017, arXiv:1708.03888; formula and eps as lars_optimizer.py
in mlcommons/training, image_classification/tensorflow2) scales each tensor of an adapted group by

    trust = eeta * |w| / (|gradient| + weight_decay * |w| + eps)    if both norms are positive, else 1.

torch.optim.SGD keeps lr outside of m, which differs whenever lr changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from octathlon.nn.optimizers import GroupOptimizer


class SGD(GroupOptimizer):
    """Momentum SGD, lr inside the buffer. `weight_decay` multiplies w: it is twice an L2 loss's factor."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], **defaults: float) -> None:
        super().__init__([dict(group) for group in groups], {"lr": 0.0, "weight_decay": 0.0, **defaults})

    def _update(self, group: Mapping[str, Any], parameters: list[Tensor]) -> None:
        """One group, all tensors of it in each call: on a GPU one kernel instead of one per tensor."""
        gradients = [parameter.grad for parameter in parameters]
        steps = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        self._scale(group, parameters, gradients, steps)
        buffers = [self._buffer(parameter) for parameter in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, steps)
        torch._foreach_sub_(parameters, buffers)

    def _scale(
        self, group: Mapping[str, Any], _weights: list[Tensor], _gradients: list[Tensor], steps: list[Tensor]
    ) -> None:
        torch._foreach_mul_(steps, group["lr"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


class LARS(SGD):
    """SGD whose groups with `adapt: True` scale each tensor's step by its trust ratio."""

    def __init__(self, groups: Iterable[Mapping[str, Any]], **defaults: float) -> None:
        super().__init__(groups, adapt=False, eeta=0.001, eps=1e-7, **defaults)

    def _scale(
        self, group: Mapping[str, Any], weights: list[Tensor], gradients: list[Tensor], steps: list[Tensor]
    ) -> None:
        if not group["adapt"]:
            super()._scale(group, weights, gradients, steps)
            return
        # Norms in fp32: half precision would overflow. No .item(): nothing waits for the device.
        weight_norms = torch.stack(torch._foreach_norm(weights, 2, torch.float32))
        gradient_norms = torch.stack(torch._foreach_norm(gradients, 2, torch.float32))
        trust = group["eeta"] * weight_norms
        trust /= gradient_norms + group["weight_decay"] * weight_norms + group["eps"]
        trust = torch.where((weight_norms > 0) & (gradient_norms > 0), trust, 1.0)
        torch._foreach_mul_(steps, list((group["lr"] * trust).unbind()))
