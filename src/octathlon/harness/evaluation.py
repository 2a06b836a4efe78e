"""The quality of weights that a run has left, by the evaluation that the run did."""

from __future__ import annotations

import os
from pathlib import Path

import click
import torch
from pydantic import ValidationError

from octathlon import registry
from octathlon.contracts import Run
from octathlon.errors import OctathlonError
from octathlon.harness.ranks import choose_device, find_rank, joined
from octathlon.harness.trainer import StepTrainer, evaluate
from octathlon.harness.weights import About, about, restore
from octathlon.receipts import read_json
from octathlon.settings import BenchmarkSettings


def evaluate_weights(
    benchmark: str, weights: Path, data: Path, device_kind: str, threads: int
) -> dict[str, float]:
    """Evaluate and print the quality, beside what the run's log says; on all ranks, where a launcher started several.

    On the same machine and number of ranks both are equal to the digit.

    Raises:
        OctathlonError: if the weights are not of this benchmark and these data, or don't fit the ranks.
    """
    torch.set_num_threads(threads)
    said = about(weights)
    if said["benchmark"] != benchmark:
        raise OctathlonError(f"{weights}: weights of {said['benchmark']}, not of {benchmark}: name that one")
    settings = _settings(benchmark, weights, said)
    rank = find_rank(os.environ)
    device = choose_device(device_kind, rank)
    with joined(rank, device):
        run = Run(
            seed=said["seed"],
            device=device,
            rank=rank.rank,
            world=rank.world,
            data=data,
            manifest=read_json(data / "manifest.json"),
        )
        judge = registry.benchmark_class(benchmark)(settings, run)
        model = judge.build_model()
        trainer = StepTrainer(judge, model, *judge.build_optimizer(model), events=None)
        restore(judge, model, weights, said)
        quality = evaluate(judge, trainer.model)
    if rank.rank == 0:
        for name, value in quality.items():
            click.echo(f"{benchmark}: {name} {value!r} (its log: {said['quality'].get(name)!r})")
    return quality


def _settings(benchmark: str, weights: Path, said: About) -> BenchmarkSettings:
    try:
        return registry.benchmark_settings(benchmark)(**said["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        raise OctathlonError(
            f"{weights}: settings that this version does not take ({first['loc']}: {first['msg']}): use the version "
            "that trained them"
        ) from error
