"""Notices that a run has diverged: its loss is no longer a finite number."""

from __future__ import annotations

import torch
from torch import Tensor

from octathlon.nn import world


class Diverged(Exception):
    """Leaves the training of a block, on all ranks at the same step."""

    def __init__(self, samples: int) -> None:
        super().__init__(f"the loss is not finite after {samples} samples")
        self.samples = samples


class LossWatch:
    """Keeps the losses where they are, on the device, until they are asked for: reading each one would make the
    program wait for the device at each step."""

    def __init__(self) -> None:
        self._seen: list[tuple[int, Tensor]] = []

    def see(self, loss: Tensor, samples: int) -> None:
        """Note this rank's loss of a micro-batch that follows `samples` trained ones."""
        self._seen.append((samples, loss.detach()))

    def check(self) -> None:
        """Look at all losses since the last check, of all ranks: each must have seen as many.

        Raises:
            Diverged: if one of them is infinite or no number, with the samples before the first such one.
        """
        if not self._seen:
            return
        samples, losses = zip(*self._seen, strict=True)
        self._seen = []
        wrong = world.all_sum(torch.stack(losses).isfinite().logical_not().int()).tolist()
        for before, count in zip(samples, wrong, strict=True):
            if count:
                raise Diverged(before)
