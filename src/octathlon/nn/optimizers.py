"""Optimizers without PyTorch's compiler, and what our own have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Uncompiled(torch.optim.Optimizer):
    """Has its methods as they are written. PyTorch wraps them so that its compiler leaves them alone, and imports the
    compiler when one is first called: a second and a half before a run's clock, for runs that compile no optimizer."""

    add_param_group = torch.optim.Optimizer.add_param_group.__wrapped__
    zero_grad = torch.optim.Optimizer.zero_grad.__wrapped__


class UncompiledSGD(Uncompiled, torch.optim.SGD):
    """torch.optim.SGD."""

    step = torch.no_grad()(torch.optim.SGD.step.__wrapped__)


class GroupOptimizer(Uncompiled):
    """Updates all tensors of a group together."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update all parameters that have a gradient.

        Raises:
            TypeError: if a closure is given.
        """
        if closure is not None:
            raise TypeError("a closure is not supported")
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._update(group, parameters)

    @abstractmethod
    def _update(self, group: Mapping[str, Any], parameters: list[Tensor]) -> None:
        """Update the parameters of one group."""
