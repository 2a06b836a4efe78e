"""LAMB (You et al. 2019, arXiv:1904.00962) as apex's FusedLAMB computes it, and clipping by the global norm.

Per tensor w with gradient g, in step k = 1, 2, ...:

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    u  = (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps) + weight_decay w
    w <- w - lr trust u        trust = |w| / |u| if both norms are positive, else 1; not bounded

Groups with `adapt: False` keep trust at 1: BERT's biases and layer norms, which it does not decay either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """LAMB over groups of tensors, all tensors of a group in each call."""

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": 0.0,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "adapt": True,
            "step": 0,
        }
        super().__init__([dict(group) for group in groups], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update all parameters that have a gradient."""
        if closure is not None:
            raise TypeError("a closure is not supported")
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            group["step"] += 1
            if parameters:
                self._update(group, parameters)

    def _update(self, group: Mapping[str, Any], parameters: list[Tensor]) -> None:
        steps = self._steps(group, parameters)
        if group["adapt"]:
            rates = group["lr"] * _trust(parameters, steps)
            torch._foreach_addcmul_(parameters, steps, list(rates.unbind()), value=-1)
        else:
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _steps(self, group: Mapping[str, Any], parameters: list[Tensor]) -> tuple[Tensor, ...]:
        """Advance the moments; returns the u of all parameters.

        Numbers that are the same for all elements are taken together, so that few passes go over the weights:
        m / b / (sqrt(v) / c + eps) = (c / b) m / (sqrt(v) + c eps).
        """
        gradients = [parameter.grad for parameter in parameters]
        means, squares = zip(*map(self._moments, parameters), strict=True)
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        bias, root_bias = 1 - beta1 ** group["step"], (1 - beta2 ** group["step"]) ** 0.5
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, root_bias * group["eps"])
        steps = torch._foreach_mul(parameters, group["weight_decay"])
        torch._foreach_addcdiv_(steps, means, roots, root_bias / bias)
        return steps

    def _moments(self, parameter: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        return state["mean"], state["square"]


def _trust(weights: Sequence[Tensor], steps: Sequence[Tensor]) -> Tensor:
    """The trust ratios, of shape (tensors,). No .item(): nothing waits for the device."""
    weight_norms, step_norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (weights, steps))
    return torch.where((weight_norms > 0) & (step_norms > 0), weight_norms / step_norms, 1.0)


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scale all gradients by limit / max(norm, limit), the norm being that of all of them together; returns the norm.

    torch's clip_grad_norm_ adds 1e-6 to the norm, which the references don't.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    torch._foreach_mul_(gradients, limit / norm.clamp(min=limit))
    return norm
