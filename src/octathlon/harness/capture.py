"""An update as one CUDA graph: hundreds of small kernels take longer to be launched one by one than to run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EAGER = 11
"""Updates before the capture: memory pools grow, and DistributedDataParallel wants as many (PyTorch's notes on CUDA
graphs)."""


class CapturedUpdate:
    """Forward, backward and update on one batch, recorded once and then replayed on copies of the batches.

    What it replays must depend on no value that the host knows, but for the learning rates: during the capture they are
    tensors, which the optimizer must take as such.
    """

    def __init__(self, update: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer) -> None:
        """
        Args:
            update: a batch, always of the same shape -> its loss. Leaves no gradients.
        """
        self._update = update
        self._groups = optimizer.param_groups
        self._left = EAGER
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()

    def __call__(self, batch: Tensor) -> Tensor:
        """The loss of an update on `batch`."""
        if self._left:
            self._left -= 1
            return self._aside(batch)
        if self._graph is None:
            self._capture(batch)
        self._batch.copy_(batch, non_blocking=True)
        for rate, group in zip(self._rates, self._groups, strict=True):
            rate.fill_(group["lr"])
        self._graph.replay()
        return self._loss.clone()

    def _aside(self, batch: Tensor) -> Tensor:
        """Not captured, but on another stream than the default one, as a capture must be."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss = self._update(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss

    def _capture(self, batch: Tensor) -> None:
        rates = [group["lr"] for group in self._groups]
        self._batch = torch.empty_like(batch, device=self._stream.device)
        self._rates = [torch.tensor(rate, device=self._stream.device) for rate in rates]
        self._graph = torch.cuda.CUDAGraph()
        for group, rate in zip(self._groups, self._rates, strict=True):
            group["lr"] = rate
        # other threads may use the device meanwhile, e.g. the one that pins batches
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._loss = self._update(self._batch).detach()
        for group, rate in zip(self._groups, rates, strict=True):
            group["lr"] = rate
