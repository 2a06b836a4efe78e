"""What our own optimizers have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class GroupOptimizer(torch.optim.Optimizer):
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
