"""The learning rate of SSD: warmed up by steps, dropped by epochs."""

from __future__ import annotations

import torch

from octathlon.benchmarks.ssd.settings import Settings
from octathlon.contracts import Progress

DROP = 0.1


class WarmupAndDrops:
    """Linear in the steps of the warm-up, then a tenth after each of the decay epochs.

    The reference (mlcommons/training, single_stage_detector/ssd) leaves the rate one step short of its base after the
    warm-up; like the round's submissions this takes the base itself.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: Settings, warmup_steps: int) -> None:
        self._groups = optimizer.param_groups
        self._settings, self._warmup_steps = settings, warmup_steps

    def set(self, progress: Progress) -> float:
        """Set and return the rate of the update that follows `progress.steps` finished ones."""
        rate = self.rate(progress.steps, progress.epochs)
        for group in self._groups:
            group["lr"] = rate
        return rate

    def rate(self, step: int, epoch: int) -> float:
        """The rate of update `step` (from 0 on) in a run that has finished `epoch` epochs."""
        base = self._settings.base_learning_rate
        left = max(self._warmup_steps - step, 0) / max(self._warmup_steps, 1)
        warm = base * (1 - left * 0.5**self._settings.warmup_factor)
        return warm * DROP ** sum(epoch >= decay for decay in self._settings.decay_epochs)
