"""The smallest benchmark that learns: a line through made-up points. Tests of the harness run it for real."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import nn

from octathlon.contracts import Benchmark, Run, SampleCounts
from octathlon.nn.sampling import epoch_order, rank_batches
from octathlon.nn.schedules import StepSchedule
from octathlon.settings import BenchmarkSettings

SAMPLES = 64
DEFAULTS = {
    "runs": 5,
    "division": "open",
    "target": {"error": 0.01},
    "higher_is_better": False,
    "cadence": {"unit": "epochs", "first": 2, "every": 3, "limit": 20},
    "global_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "precision": "fp32",
    "loader_workers": 0,
}


class Toy(Benchmark[BenchmarkSettings]):
    """y = 3x - 1, with batch norm in between so that there are buffers."""

    def __init__(self, settings: BenchmarkSettings, run: Run) -> None:
        super().__init__(settings, run)
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(SAMPLES, 1, generator=generator)
        self.truth = 3 * self.inputs - 1
        self.rates: list[float] = []

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1))

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, StepSchedule]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return optimizer, StepSchedule(optimizer, lambda step: self.rates.append(step) or 0.1)

    def train_batches(self, epoch: int, first: int = 0):
        order = epoch_order(SAMPLES, self.run.seed, epoch)
        local = self.settings.local_batch_size(self.run.world)
        return islice(rank_batches(order, local, self.run.rank, self.run.world), first, None)

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        return ((model(self.inputs[batch]) - self.truth[batch]) ** 2).mean()

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        return {"error": ((model(self.inputs) - self.truth) ** 2).mean().item()}

    def sample_counts(self) -> SampleCounts:
        return SampleCounts(SAMPLES, SAMPLES)

    def hyperparameters(self) -> dict[str, Any]:
        return {"opt_name": "sgd", "opt_base_learning_rate": 0.1}

    def synthetic_batch(self) -> torch.Tensor:
        return torch.arange(8)


def toy(kind: type[Toy] = Toy, run: Run | None = None, **changes: Any) -> Toy:
    """A toy with some settings changed."""
    return kind(BenchmarkSettings(**(DEFAULTS | changes)), run or Run(seed=1, device=torch.device("cpu")))
