"""LAMB (You et al. 2019, arXiv:1904.00962) as apex's FusedLAMB computes it, and clipping by the global norm.

Per tensor w with gradient g, in step k = 1, 2, ...:

    m <- b1 m + (1 - b1) g
    v <- b2 v + (1 - b2) g^2
    u  = (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps) + weight_decay w
    w <- w - lr trust u        trust = |w| / |u| if both norms are positive, else 1; not bounded

Groups with `adapt: False` keep trust at 1: BERT's biases and layer norms, which it does not decay either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from octathlon.nn.optimizers import GroupOptimizer


class Lamb(GroupOptimizer):
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
        }
        super().__init__([dict(group) for group in groups], defaults)

    def _update(self, group: Mapping[str, Any], parameters: list[Tensor]) -> None:
        steps = self._steps(group, parameters)
        if group["adapt"]:
            rates = group["lr"] * _trust(parameters, steps)
            torch._foreach_addcmul_(parameters, steps, list(rates.unbind()), value=-1)
        else:
            torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _steps(self, group: Mapping[str, Any], parameters: list[Tensor]) -> tuple[Tensor, ...]:
        """Advance the moments; returns the u of all parameters.

        torch's fused AdamW advances the moments, and adds m / b1' / (sqrt(v / b2') + eps) to what it is given: here
        the weights' decay, instead of the weights. Half of the passes over memory that one operation each would take.
        """
        gradients = [parameter.grad for parameter in parameters]
        means, squares, counts = zip(*map(self._state, parameters), strict=True)
        torch._foreach_add_(counts, 1)
        steps = torch._foreach_mul(parameters, group["weight_decay"])
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            steps,
            gradients,
            means,
            squares,
            [],
            counts,
            lr=-1.0,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        return steps

    def _state(self, parameter: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m, v, k."""
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state["mean"], state["square"], state["step"]


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
