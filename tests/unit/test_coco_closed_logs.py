"""The full scale's settings pass the official rules of the closed division: hyperparameters, names, order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_run import draw, prepare_all

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

MANIFEST = {
    "counts": {"train": {"ssd": 117_266, "maskrcnn": 117_266}, "eval": 5_000},
    "categories": [{"id": number, "name": str(number)} for number in range(1, 81)],
}
RANKS = 8


def closed(name: str, **overrides: Any) -> Any:
    """The benchmark at full scale as the first of eight ranks sees it."""
    settings = resolve("benchmarks", name, "full", overrides)
    run = Run(seed=1, device=torch.device("cpu"), world=RANKS, data=Path("nowhere"), manifest=MANIFEST)
    return registry.benchmark_class(name)(settings, run)


def log(name: str, path: Path, quality: Any, **overrides: Any) -> Path:
    """A run's log with the benchmark's own hyperparameters and names, as the harness orders it."""
    benchmark = closed(name, **overrides)
    settings, counts = benchmark.settings, benchmark.sample_counts()
    now = 1_636_000_000.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    with path.open("w") as file:
        events = Events([file], clock)
        for key, value in {
            "benchmark": name,
            "org": "octathlon",
            "division": settings.division,
            "status": "onprem",
            "platform": "rack",
        }.items():
            events.point(f"submission_{key}", value)
        events.point("cache_clear", True)
        events.start("init_start")
        common = {
            "seed": 1,
            "global_batch_size": settings.global_batch_size,
            "gradient_accumulation_steps": settings.gradient_accumulation_steps,
            "train_samples": counts.train,
            "eval_samples": counts.evaluation,
        }
        for key, value in (common | dict(benchmark.hyperparameters())).items():
            events.point(key, value)
        for tensor in benchmark.tensor_names(torch.nn.Identity()):
            events.point("weights_initialization", tensor=tensor)
        events.stop("init_stop")
        events.start("run_start")
        mark = settings.cadence.first
        events.start("block_start", first_epoch_num=1, epoch_count=mark)
        events.stop("block_stop", first_epoch_num=1)
        events.start("eval_start", epoch_num=mark)
        events.point("eval_accuracy", quality, epoch_num=mark)
        events.stop("eval_stop", epoch_num=mark)
        events.stop("run_stop", status="success")
    return path


def passes(path: Path) -> bool:
    """The official checker's verdict, warnings counted as errors."""
    command = [sys.executable, "-m", "mlperf_logging.compliance_checker", "--usage", "training"]
    options = ["--ruleset", "1.1.0", "--werror", "--log_output", str(path.with_suffix(".out")), str(path)]
    result = subprocess.run(command + options, capture_output=True, text=True)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode == 0


REACHED = {"ssd": 0.2301, "maskrcnn": {"BBOX": 0.3771, "SEGM": 0.3391}}
MISSED = {"ssd": 0.2299, "maskrcnn": {"BBOX": 0.3771, "SEGM": 0.3389}}


@pytest.mark.parametrize("name", REACHED)
def test_logs_of_the_full_scale_pass_the_closed_rules(name: str, tmp_path: Path) -> None:
    assert passes(log(name, tmp_path / "result_0.txt", REACHED[name]))
    assert not passes(log(name, tmp_path / "result_1.txt", MISSED[name]))


def test_the_rules_see_settings_that_are_not_free(tmp_path: Path) -> None:
    assert not passes(log("ssd", tmp_path / "a.txt", 0.2301, decay_epochs=[44, 54]))
    assert not passes(log("maskrcnn", tmp_path / "b.txt", REACHED["maskrcnn"], base_learning_rate=0.13))


def test_hyperparameters_are_those_of_published_submissions() -> None:
    assert closed("ssd").hyperparameters() == {
        "opt_name": "sgd",
        "model_bn_span": 114,
        "max_samples": 1,
        "opt_base_learning_rate": pytest.approx(0.0899745),
        "opt_learning_rate_warmup_factor": 0,
        "opt_learning_rate_warmup_steps": 642,
        "opt_learning_rate_decay_boundary_epochs": [44, 55],
        "opt_weight_decay": 1.3e-4,
    }
    heavy = closed("maskrcnn").hyperparameters()
    assert heavy["num_image_candidates"] == 12_000 and heavy["opt_learning_rate_decay_steps"] == [
        12_000,
        16_000,
    ]
    assert heavy["opt_learning_rate_warmup_factor"] * heavy[
        "opt_learning_rate_warmup_steps"
    ] == pytest.approx(0.12)


@pytest.mark.parametrize("name", ["ssd", "maskrcnn"])
def test_a_short_run_goes_the_whole_way(name: str, tmp_path: Path) -> None:
    """Prepared miniature, one epoch, an evaluation; its log has what the open division demands."""
    data = prepare_all(draw(tmp_path / "archives"), tmp_path / "prepared")
    cadence = {"unit": "epochs", "first": 1, "every": 1, "limit": 1}
    settings = resolve("benchmarks", name, "mini", {"cadence": cadence})
    run = Run(seed=1, device=torch.device("cpu"), data=data, manifest=read_json(data / "manifest.json"))
    with (tmp_path / "log").open("w") as file:
        outcome = timed_run(
            registry.benchmark_class(name)(settings, run), Events([file], iter(range(10**6)).__next__)
        )
    assert set(outcome.quality) == set(settings.target) and all(
        0 <= value <= 1 for value in outcome.quality.values()
    )
    events = [json.loads(line.split("MLLOG ")[1]) for line in (tmp_path / "log").read_text().splitlines()]
    keys = [event["key"] for event in events]
    assert keys.count("eval_accuracy") == 1 and keys[-1] == "run_stop"
