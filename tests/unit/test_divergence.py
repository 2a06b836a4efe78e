"""A loss that is not finite ends a run soon, as a valid aborted result: on the toy, over ranks, in all benchmarks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click_logs_archives
import coco_run
import imagenet_archives
import kits19_archives
import librispeech_archives
import minigo_data
import pytest
import torch
import wikipedia_archives
from click.testing import CliRunner
from test_world import on_ranks
from torch import nn
from toy_benchmark import SAMPLES, Toy, toy

from octathlon import registry
from octathlon.cli import octathlon
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.harness.trainer import CHECK_EVERY
from octathlon.receipts import read_json
from octathlon.scoring.check import check_path

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")


class Lost(Toy):
    """Its loss is no number from the step `lost` on, on the rank `lost_on`; then it must not be evaluated."""

    lost, lost_on = 0, 0

    def __init__(self, *facts: Any) -> None:
        super().__init__(*facts)
        self.losses = 0

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        self.losses += 1
        loss = super().loss(model, batch)
        here = self.run.rank == self.lost_on and self.losses - 1 > self.lost  # the first one is the warm-up's
        return loss * float("nan") if here else loss

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        assert self.losses - 1 <= self.lost
        return super().evaluate(model)


def train(chosen: Toy) -> tuple[Outcome, list[dict[str, Any]]]:
    output = io.StringIO()
    outcome = timed_run(chosen, Events([output], lambda: 0.0))
    return outcome, [json.loads(line.removeprefix(":::MLLOG ")) for line in output.getvalue().splitlines()]


LONG = {"target": {"error": 0.0}, "cadence": {"unit": "epochs", "first": 50, "every": 50, "limit": 100}}


def test_the_log_of_a_diverged_run_says_where_and_ends_in_order() -> None:
    chosen = toy(Lost, **LONG)
    chosen.lost = 9
    outcome, events = train(chosen)
    assert (outcome.reached, outcome.diverged, outcome.quality) == (False, 9 * 8, {"error": 1.0})
    tail = events[[event["key"] for event in events].index("run_start") + 1 :]
    assert [event["key"] for event in tail] == [
        *("block_start", "diverged", "block_stop", "tracked_stats"),
        *("eval_start", "eval_accuracy", "eval_stop", "run_stop"),
    ]
    assert tail[1]["value"] == 9 * 8
    assert tail[5]["value"] == 1.0  # all wrong: not evaluated
    assert tail[-1]["metadata"]["status"] == "aborted"


def test_no_more_is_trained_than_up_to_the_next_check() -> None:
    chosen = toy(Lost, **LONG)
    chosen.lost = CHECK_EVERY + 3
    assert train(chosen)[0].diverged == (CHECK_EVERY + 3) * 8
    assert chosen.losses - 1 == 2 * CHECK_EVERY < 50 * SAMPLES // 8


def test_the_end_of_a_block_is_a_check() -> None:
    chosen = toy(Lost, **LONG | {"cadence": {"unit": "epochs", "first": 1, "every": 1, "limit": 9}})
    chosen.lost = 8 + 2
    outcome, events = train(chosen)
    assert outcome.diverged == (8 + 2) * 8 and chosen.losses - 1 == 16
    assert [event["key"] for event in events].count("eval_accuracy") == 2


def test_a_micro_batch_counts_from_the_last_update() -> None:
    chosen = toy(Lost, **LONG, gradient_accumulation_steps=4)
    chosen.lost = 4 * 5 + 2
    assert train(chosen)[0].diverged == 5 * 8


def test_losses_are_not_read_before_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a number off the device makes the program wait for it."""
    reads = []
    monkeypatch.setattr(torch.Tensor, "tolist", _noting(torch.Tensor.tolist, reads))
    monkeypatch.setattr(torch.Tensor, "item", _noting(torch.Tensor.item, reads))
    monkeypatch.setattr(torch.Tensor, "__bool__", _noting(torch.Tensor.__bool__, reads))
    train(toy(target={"error": 0.0}, cadence={"unit": "epochs", "first": 25, "every": 25, "limit": 25}))
    assert len(reads) == 25 * SAMPLES // 8 // CHECK_EVERY + 1  # and one for the evaluation


def _noting(method: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def noted(tensor: torch.Tensor) -> Any:
        calls.append(method.__name__)
        return method(tensor)

    return noted


def _one_is_lost(rank: int) -> tuple[int | None, int]:
    run = Run(seed=1, device=torch.device("cpu"), rank=rank, world=4)
    chosen = toy(Lost, run, **LONG)
    chosen.lost, chosen.lost_on = 3, 2
    return timed_run(chosen, Events([], lambda: 0.0)).diverged, chosen.losses - 1


def test_all_ranks_leave_together_when_one_is_lost(tmp_path: Path) -> None:
    assert on_ranks(4, tmp_path, _one_is_lost) == [(3 * 8, CHECK_EVERY)] * 4


# The eight ----------------------------------------------------------------------------------------------


def _coco(folder: Path) -> Path:
    return coco_run.prepare_all(coco_run.draw(folder / "archives"), folder / "prepared")


def _click_logs(folder: Path) -> Path:
    archives = click_logs_archives.draw(folder / "archives")
    click_logs_archives.prepare_all(archives, folder / "prepared", click_logs_archives.settings())
    return folder / "prepared"


def _minigo_models(folder: Path) -> Path:
    return minigo_data.prepare_all(
        minigo_data.draw_archives(folder / "archives", games=8), folder / "prepared"
    )


def _drawn(module: Any) -> Callable[[Path], Path]:
    return lambda folder: module.prepare_all(module.draw(folder / "archives"), folder / "prepared")


PREPARED: dict[str, Callable[[Path], Path]] = {
    "coco": _coco,
    "click_logs": _click_logs,
    "minigo_models": _minigo_models,
    "imagenet": _drawn(imagenet_archives),
    "kits19": _drawn(kits19_archives),
    "librispeech": _drawn(librispeech_archives),
    "wikipedia": _drawn(wikipedia_archives),
}
GAMES = {"min_selfplay_games": 8, "eval_games": 2, "readouts": 4, "fast_readouts": 4}
GAMES |= {"eval_readouts": 4, "target_readouts": 4, "global_batch_size": 8}
TOO_FAST: dict[str, dict[str, Any]] = {
    "resnet": {"base_learning_rate": 1e30},
    "unet3d": {"base_learning_rate": 1e30, "warmup_epochs": 0},
    "ssd": {"learning_rate_per_32": 1e30},
    "maskrcnn": {"base_learning_rate": 1.0, "warmup_steps": 0},
    "rnnt": {"base_learning_rate": 1e30},
    "bert": {"base_learning_rate": 1e30, "layers": 1, "hidden": 16, "heads": 2, "inner": 32},
    "dlrm": {"base_learning_rate": 1e30},
    "minigo": {"lr_rates": [1e30, 1e30], **GAMES},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(benchmark: str) -> Path:
        name = registry.dataset_of(benchmark)
        if name not in made:
            made[name] = PREPARED[name](tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.mark.parametrize("name", registry.benchmarks())
def test_a_rate_that_is_far_too_high_aborts_the_run(
    name: str, prepared: Callable[[str], Path], tmp_path: Path
) -> None:
    log = tmp_path / "result_0.txt"
    command = ["train", name, "--data", prepared(name), "--output", log, "--settings"]
    result = CliRunner().invoke(octathlon, [*map(str, command), json.dumps(TOO_FAST[name])])
    assert result.exit_code == 0, result.output
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in log.read_text().splitlines()]
    (diverged,) = (event["value"] for event in events if event["key"] == "diverged")
    assert f"{name} diverged: after {diverged:,} samples its loss was not finite" in result.stderr
    assert events[-1]["key"] == "run_stop" and events[-1]["metadata"]["status"] == "aborted"
    errors = [finding for report in check_path(log) for finding in report.errors]
    # no word error rate of a model that gets nothing right is below 1
    assert [error.rule for error in errors] == (["eval_accuracy.reached"] if name == "rnnt" else [])


@pytest.mark.parametrize("weight", [float("nan"), 1e30])
@pytest.mark.parametrize("name", registry.benchmarks())
def test_what_the_last_update_of_a_block_has_broken_is_evaluated_and_misses(
    name: str, weight: float, prepared: Callable[[str], Path]
) -> None:
    """No loss has shown it yet."""
    data = prepared(name)
    manifest = read_json(data / "manifest.json")
    settings = resolve("benchmarks", name, "mini", TOO_FAST[name])
    run = Run(seed=1, device=torch.device("cpu"), data=data, manifest=manifest)
    benchmark = registry.benchmark_class(name)(settings, run)
    model = benchmark.build_model()
    for parameter in model.parameters():
        nn.init.constant_(parameter, weight)
    benchmark.build_optimizer(model)  # rnnt evaluates a copy that is made here
    with torch.inference_mode():
        quality = benchmark.evaluate(model.eval())
    assert not benchmark.target().reached(quality)
