"""Learning rates as functions of the step."""

from __future__ import annotations

from collections.abc import Callable

import torch

from octathlon.contracts import Progress


class StepSchedule:
    """Sets a rate that depends on nothing but the number of finished updates, for all parameter groups."""

    def __init__(self, optimizer: torch.optim.Optimizer, rate: Callable[[int], float]) -> None:
        self._groups = optimizer.param_groups
        self._rate = rate

    def set(self, progress: Progress) -> float:
        """Set and return the rate of the update that follows `progress.steps` finished ones."""
        rate = self._rate(progress.steps)
        for group in self._groups:
            group["lr"] = rate
        return rate


def warmup_polynomial(
    step: int, *, base: float, end: float, warmup_steps: int, decay_steps: int, power: float
) -> float:
    """Linear from 0 at step 0 to `base` at `warmup_steps`, then polynomial to `end` in `decay_steps` steps.

    The schedule of the MLPerf ResNet reference (mlcommons/training, image_classification/tensorflow2).
    """
    if step < warmup_steps:
        return base * step / warmup_steps
    done = min(step - warmup_steps, decay_steps) / decay_steps
    return end + (base - end) * (1 - done) ** power


def warmup_hold_polynomial(
    step: int, *, base: float, warmup_steps: int, decay_start: int, decay_steps: int, power: float
) -> float:
    """Linear to `base` at the update number `warmup_steps`, held, then polynomial to 0.

    Update number `decay_start` (counted from 1) is the first of the decay and still has the whole `base`.
    The schedule of the MLPerf DLRM submissions (NVIDIA/benchmarks/dlrm in training_results_v1.1).

    Args:
        step: finished updates.
    """
    number = step + 1
    if number < warmup_steps:
        return base * number / warmup_steps
    left = min(max(decay_start + decay_steps - number, 0), decay_steps)
    return base * (left / decay_steps) ** power
