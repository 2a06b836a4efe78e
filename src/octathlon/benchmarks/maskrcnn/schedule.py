"""The learning rates of Mask R-CNN: one of the weights, and twice that of the biases."""

from __future__ import annotations

import torch
from torch import nn

from octathlon.benchmarks.maskrcnn.settings import Settings
from octathlon.contracts import Progress
from octathlon.nn.optimizers import UncompiledSGD

BIAS_FACTOR = 2
DROP = 0.1


def optimizer_of(model: nn.Module, settings: Settings) -> UncompiledSGD:
    """SGD whose biases learn twice as fast and don't decay."""
    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["bias" in name].append(parameter)
    return UncompiledSGD(
        [
            {"params": groups[False], "factor": 1, "weight_decay": settings.weight_decay},
            {"params": groups[True], "factor": BIAS_FACTOR, "weight_decay": 0},
        ],
        settings.base_learning_rate,
        settings.momentum,
        fused=True,
    )


class WarmupAndDrops:
    """Steps count from 1. In the warm-up all rates lack the same amount, which shrinks by `warmup_factor` a step: the
    weights' rate starts near 0, that of the biases near half of its own. What is left drops twice, by steps.

    This is `mlperf_linear` of the reference and of the round's submissions.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Settings) -> None:
        self._groups, self._settings = optimizer.param_groups, settings

    def set(self, progress: Progress) -> float:
        """Set the rates of the update that follows `progress.steps` finished ones; return that of the weights."""
        for group in self._groups:
            group["lr"] = self.rate(progress.steps + 1, group["factor"])
        return self._groups[0]["lr"]

    def rate(self, step: int, factor: int) -> float:
        """The rate of update `step` (from 1 on) of a group whose base is `factor` times the weights'."""
        settings = self._settings
        lacking = max(settings.warmup_steps - step, 0) * settings.warmup_factor
        drops = sum(step >= decay for decay in settings.decay_steps)
        return (factor * settings.base_learning_rate - lacking) * DROP**drops
