"""Trains a benchmark as the harness does, on this rank of several or alone, and tells what it saw and came to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch

from octathlon.contracts import Batch, Benchmark
from octathlon.harness.events import Events
from octathlon.harness.seeds import seed_alike, seed_rank
from octathlon.harness.trainer import StepTrainer


def trainer_of(benchmark: Benchmark) -> StepTrainer:
    """A trainer of a model whose weights are alike on all ranks, and whose batch norms keep their statistics."""
    seed_alike(benchmark.run.seed)
    model = benchmark.build_model()
    optimizer, schedule = benchmark.build_optimizer(model)
    seed_rank(benchmark.run.seed, benchmark.run.rank)
    return StepTrainer(benchmark, model, optimizer, schedule, Events([], lambda: 0.0))


def steps(trainer: StepTrainer, batches: Iterable[Batch]) -> torch.Tensor:
    """Train on all of `batches`; the weights then, in one vector."""
    for batch in batches:
        trainer.step(batch)
    return weights(trainer)


def weights(trainer: StepTrainer) -> torch.Tensor:
    """The trained weights in one vector."""
    parts = [each.detach().flatten() for each in trainer.model.parameters() if each.requires_grad]
    return torch.cat(parts)


def digest(tensor: torch.Tensor) -> str:
    """Equal for equal values."""
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
