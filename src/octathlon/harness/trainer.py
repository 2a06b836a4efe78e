"""The one training step: autocast, forward, backward, accumulation, all-reduce, update."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from octathlon.contracts import Batch, Benchmark, Progress, Schedule
from octathlon.errors import OctathlonError
from octathlon.harness.capture import CapturedUpdate
from octathlon.harness.divergence import LossWatch

if TYPE_CHECKING:
    from octathlon.harness.events import Events

CHECK_EVERY = 50
"""Updates between two looks at the losses: often enough to waste little, and too seldom to cost anything."""


class StepTrainer:
    """The `contracts.Trainer` that a benchmark's `train_block` is given.

    A global batch is one or more micro-batches, each spread over the ranks; the update uses the mean gradient over all
    of it. Progress counts whole updates, so no evaluation comes in the middle of one.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        events: Events,
        on_step: Sequence[Callable[[Progress], None]] = (),
    ) -> None:
        self.progress = Progress(train_samples=benchmark.sample_counts().train)
        self.model = model
        self._benchmark = benchmark
        _tune(benchmark, model)
        self._wrapped = _wrap(benchmark, model)
        self.optimizer = optimizer
        self._schedule = schedule
        self._events = events
        self._on_step = on_step
        self._losses = LossWatch()
        self._accumulated = 0.0
        self._first = lambda: None
        self._captured = CapturedUpdate(self._whole_update, optimizer) if benchmark.captured else None

    def step(self, batch: Batch) -> None:
        """Forward and backward of this rank's part of a micro-batch; the update after the last one of a global batch.

        Raises:
            Diverged: now and then, if a loss since the last check was not finite; on all ranks.
        """
        self._begin()
        self.progress.epoch_batches += 1
        if self._captured:
            self._schedule.set(self.progress)
            self._losses.see(self._captured(batch), self.progress.samples)
            self._count_update()
            return
        weight = self._benchmark.weight(batch)
        self._accumulated += weight
        last = self._accumulated > 1 - 1e-6
        with nullcontext() if last else self.unsynchronised():
            loss = self._backward(batch, weight)
        self._losses.see(loss, self.progress.samples)
        if last:
            self._update()

    def end_epoch(self) -> None:
        """Count a finished epoch (or generation). Micro-batches that are no whole global batch are given up."""
        self._begin()
        self._begin_global_batch()
        self.progress.epochs += 1
        self.progress.epoch_samples = self.progress.epoch_batches = 0

    def go_on(self, progress: Progress, first: Callable[[], None]) -> None:
        """Continue another run.

        Args:
            first: called before anything is trained on, when the batch for it is there.
        """
        self.progress, self._first = progress, first

    def check_losses(self) -> None:
        """Look at the losses of the steps since the last check.

        Raises:
            Diverged: if one was not finite; on all ranks.
        """
        self._losses.check()

    def point(self, key: str, value: Any, **metadata: Any) -> None:
        """Log one more event."""
        self._events.point(key, value, **metadata)

    def warm_up(self) -> None:
        """Forward and backward on synthetic data, off the clock, that leave no trace in the model.

        Libraries choose their kernels, memory pools grow, ranks connect.
        """
        benchmark = self._benchmark
        buffers = deepcopy(dict(self.model.named_buffers()))
        for batch in benchmark.warm_up_batches():
            self._backward(batch, weight=1.0)
        self._begin_global_batch()
        if benchmark.settings.compile != "none" and benchmark.evaluates_like_training:
            self.model.eval()
            with torch.inference_mode(), autocast(benchmark):
                benchmark.loss(self.model, benchmark.synthetic_batch())
            self.model.train()
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers[name])

    def unsynchronised(self) -> AbstractContextManager[Any]:
        """In the block gradients are not reduced over the ranks."""
        wrapped = self._wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    def _begin(self) -> None:
        self._first()
        self._first = lambda: None

    def _backward(self, batch: Batch, weight: float) -> Tensor:
        with autocast(self._benchmark):
            loss = self._benchmark.loss(self._wrapped, batch)
        (loss * weight).backward()
        return loss

    def _whole_update(self, batch: Batch) -> Tensor:
        """Of a global batch that is one micro-batch: all that the device does, and nothing that is counted."""
        loss = self._backward(batch, weight=1.0)
        self._benchmark.update(self.model, self.optimizer)
        self.optimizer.zero_grad()
        return loss

    def _update(self) -> None:
        self._schedule.set(self.progress)
        self._benchmark.update(self.model, self.optimizer)
        self._begin_global_batch()
        self._count_update()

    def _count_update(self) -> None:
        samples = self._benchmark.settings.global_batch_size
        self.progress.steps += 1
        self.progress.samples += samples
        self.progress.epoch_samples += samples
        for tell in self._on_step:
            tell(self.progress)
        if self.progress.steps % CHECK_EVERY == 0:
            self.check_losses()

    def _begin_global_batch(self) -> None:
        self.optimizer.zero_grad()
        self._accumulated = 0.0


def autocast(benchmark: Benchmark) -> torch.autocast:
    """The precision of forward and loss."""
    enabled = benchmark.settings.precision == "bf16"
    return torch.autocast(benchmark.run.device.type, torch.bfloat16, enabled)


def uncompiled() -> AbstractContextManager[Any]:
    """In the block compiled parts run as they are written."""
    return torch.compiler.set_stance("force_eager")


def evaluate(benchmark: Benchmark, model: nn.Module) -> dict[str, float]:
    """The model's quality, in the run's precision; the model stays in evaluation mode.

    Eager, if compiling would be for shapes and a mode of its own, on the clock.
    """
    model.eval()
    eager = benchmark.settings.compile != "none" and not benchmark.evaluates_like_training
    with uncompiled() if eager else nullcontext(), torch.inference_mode(), autocast(benchmark):
        return dict(benchmark.evaluate(model))


def _tune(benchmark: Benchmark, model: nn.Module) -> None:
    """Let libraries look for the fastest kernels, off the clock: steps only gain where shapes stay."""
    torch.backends.cudnn.benchmark = benchmark.fixed_shapes
    if (mode := benchmark.settings.compile) != "none":
        compile_parts(benchmark.compiled_parts(model), mode, benchmark.fixed_shapes)


def compile_parts(parts: Iterable[nn.Module], mode: str, fixed_shapes: bool) -> None:
    """Have modules compiled when they are first called: for all shapes, unless these are fixed.

    Raises:
        OctathlonError: if there is no compiler for what PyTorch writes.
    """
    from torch._inductor import config  # slow to import
    from torch.fx.experimental import _config as shapes

    if not shutil.which(compiler := os.environ.get("CXX", "g++")):
        raise OctathlonError(
            f"compile: {compiler} is not there: install a C++ compiler, or set compile to none"
        )
    # otherwise the backward pass of a convolution of any shape is compiled for the first one alone (torch 2.14)
    config.force_layout_optimization = not fixed_shapes
    shapes.use_duck_shape = fixed_shapes  # else three images with three colours each are only ever three
    for part in parts:
        part.compile(mode=mode, dynamic=not fixed_shapes)


def _wrap(benchmark: Benchmark, model: nn.Module) -> nn.Module:
    """Average gradients over ranks while the backward pass goes on, but for parameters that are sharded."""
    if benchmark.run.world == 1:
        return model
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        model, list(benchmark.sharded_parameters(model))
    )
    # PyTorch 2.14 warns that the argument will go, though what is to replace it is not there yet
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
