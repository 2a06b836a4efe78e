"""Trains a benchmark as the harness does, on this rank of several or alone, and tells what it saw and came to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
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


class Trained(NamedTuple):
    """What one rank has after an epoch."""

    samples: list[int]
    """Numbers of the training samples that it read, in order."""
    moves: dict[str, np.ndarray]
    """How each tensor changed."""
    quality: dict[str, float]


@contextmanager
def _first_arguments(kind: type, method: str) -> Iterator[list[int]]:
    """Of all calls of a method, on any object, as long as the context lasts."""
    original, seen = getattr(kind, method), []

    def noted(self: Any, number: int, *rest: Any) -> Any:
        seen.append(int(number))
        return original(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, method, noted)
        yield seen


def train_an_epoch(chosen: Benchmark, reader: type, method: str) -> Trained:
    """Train on this rank, and evaluate. `method` of `reader` reads the sample whose number it is given."""
    trainer = trainer_of(chosen)
    model = trainer.model
    start = weights_of(model)
    with _first_arguments(reader, method) as samples:
        chosen.train_block(trainer, 1)
    model.eval()
    with torch.inference_mode():
        quality = dict(chosen.evaluate(model))
    moves = {name: weight - start[name] for name, weight in weights_of(model).items()}
    return Trained(samples, moves, quality)


def weights_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """All parameters, copied."""
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}


def check_equal(ranks: list[Trained]) -> None:
    """All ranks have the same weights, to the last bit, and found the same quality."""
    for each in ranks:
        assert each.quality == ranks[0].quality
        for name, move in ranks[0].moves.items():
            np.testing.assert_array_equal(each.moves[name], move, err_msg=name)


def check_close(found: Trained, expected: Trained, tolerance: float) -> None:
    """Each tensor moved by the same, but for a part of its way."""
    for name, move in expected.moves.items():
        error = np.linalg.norm(found.moves[name] - move) / np.linalg.norm(move)
        assert error < tolerance, f"{name}: {error}"
