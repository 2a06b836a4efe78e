"""The quality of weights that a run has left, by the evaluation that the run did."""

from __future__ import annotations

import os
from pathlib import Path

import click
import torch
from pydantic import ValidationError

from octathlon.contracts import Benchmark, Run
from octathlon.errors import OctathlonError
from octathlon.harness.ranks import choose_device, find_rank, joined
from octathlon.harness.trainer import StepTrainer, evaluate
from octathlon.harness.weights import About, about, restore
from octathlon.receipts import read_json
from octathlon.settings import BenchmarkSettings


def evaluate_weights(
    benchmark: str,
    classes: tuple[type[Benchmark], type[BenchmarkSettings]],
    weights: Path,
    data: Path,
    device: str,
    threads: int,
) -> dict[str, float]:
    """Evaluate and print the quality, beside what the run's log says; on all ranks, where a launcher started several.

    On the same machine and number of ranks both are equal to the digit.

    Args:
        classes: the benchmark's, and its settings'.

    Raises:
        OctathlonError: if the weights are not of this benchmark and these data, or don't fit the ranks.
    """
    torch.set_num_threads(threads)
    said = about(weights)
    if said["benchmark"] != benchmark:
        raise OctathlonError(f"{weights}: weights of {said['benchmark']}, not of {benchmark}: name that one")
    benchmark_class, settings_class = classes
    settings = _settings(settings_class, weights, said)
    rank = find_rank(os.environ)
    chosen = choose_device(device, rank)
    with joined(rank, chosen):
        run = Run(
            seed=said["seed"],
            device=chosen,
            rank=rank.rank,
            world=rank.world,
            data=data,
            manifest=read_json(data / "manifest.json"),
        )
        judge = benchmark_class(settings, run)
        model = judge.build_model()
        trainer = StepTrainer(judge, model, *judge.build_optimizer(model), events=None)
        restore(judge, model, weights, said)
        quality = evaluate(judge, trainer.model)
    if rank.rank == 0:
        for name, value in quality.items():
            click.echo(f"{benchmark}: {name} {value!r} (its log: {said['quality'].get(name)!r})")
    return quality


def _settings(kind: type[BenchmarkSettings], weights: Path, said: About) -> BenchmarkSettings:
    try:
        return kind(**said["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        raise OctathlonError(
            f"{weights}: settings that this version does not take ({first['loc']}: {first['msg']}): use the version "
            "that trained them"
        ) from error
