"""The miniature is worth its target: the benchmark reaches it with every seed, and nothing that is broken does."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from minigo_data import draw_archives, prepare_all

from octathlon import config
from octathlon.benchmarks.minigo import benchmark as module
from octathlon.benchmarks.minigo import players
from octathlon.benchmarks.minigo.benchmark import SelfPlay
from octathlon.contracts import Run
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

pytestmark = pytest.mark.slow

ENOUGH = 5
"""Generations after which a right run has mostly passed."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return prepare_all(
        draw_archives(tmp_path_factory.mktemp("archives")), tmp_path_factory.mktemp("prepared")
    )


def win_rates(data: Path, seed: int = 1, **over) -> list[float]:
    """Of the evaluations of a run."""
    facts = Run(seed=seed, device=torch.device("cpu"), data=data, manifest=read_json(data / "manifest.json"))
    chosen = SelfPlay(config.resolve("benchmarks", "minigo", "mini", over), facts)
    output = io.StringIO()
    timed_run(chosen, Events([output], wall_clock()))
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in output.getvalue().splitlines()]
    rates = [event["value"] for event in events if event["key"] == "eval_accuracy"]
    print(rates)
    return rates


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_seed_reaches_the_target(data: Path, seed: int) -> None:
    assert win_rates(data, seed)[-1] >= 0.5


def broken_rates(data: Path, **over) -> list[float]:
    return win_rates(data, cadence={"first": 1, "limit": ENOUGH}, **over)


def test_without_a_value_head_it_misses(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of the trained model learns nothing from values; the target has its own."""
    right = module.player

    def blind(model, *arguments):
        evaluate = right(model, *arguments)
        return lambda planes: (evaluate(planes)[0], np.zeros(len(planes), np.float32))

    target = []
    monkeypatch.setattr(players, "player", blind)
    monkeypatch.setattr(
        module, "player", lambda model, device: (right if model in target else blind)(model, device)
    )
    load = SelfPlay._load

    def remember(self, name):
        model = load(self, name)
        target.extend([model] if name == "target" else [])
        return model

    monkeypatch.setattr(SelfPlay, "_load", remember)
    assert max(broken_rates(data)) < 0.5


def test_without_a_search_it_misses(data: Path) -> None:
    """Games by the policy alone."""
    assert max(broken_rates(data, readouts=2, fast_readouts=2, eval_readouts=1)) < 0.5


def changed_batches(monkeypatch: pytest.MonkeyPatch, change) -> None:
    right = module.batches

    def batches(*arguments):
        for planes, policies, outcomes in right(*arguments):
            yield change(planes, policies, outcomes)

    monkeypatch.setattr(module, "batches", batches)


def test_with_shifted_planes_it_misses(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training sees each plane in the place of the one before."""
    changed_batches(
        monkeypatch, lambda planes, policies, outcomes: (np.roll(planes, 1, 1), policies, outcomes)
    )
    assert max(broken_rates(data)) < 0.5


def test_with_colours_swapped_it_misses(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes White's wins for Black's."""
    changed_batches(monkeypatch, lambda planes, policies, outcomes: (planes, policies, -outcomes))
    assert max(broken_rates(data)) < 0.5
