"""Synthetic logs of the closed division, value-correct for ruleset 1.1.0: one per benchmark.

Hyperparameters are those of reference runs and of published submissions; every log converges about as late as
the reference does at its batch size. The names of initialised tensors come from the official checker's files.
"""

import json
import re
from importlib.resources import files
from pathlib import Path

START_MS = 1_636_000_000_000
IMAGENET = {"train_samples": 1281167, "eval_samples": 50000}
COCO = {"train_samples": 117266, "eval_samples": 5000}

# benchmark -> hyperparameters and (epoch_num, value) of the evaluations, the last of which reaches the target
RUNS = {
    "resnet": (
        IMAGENET
        | {
            "global_batch_size": 4096,
            "opt_name": "lars",
            "lars_opt_base_learning_rate": 10.0,
            "lars_opt_end_learning_rate": 0.0001,
            "lars_opt_learning_rate_decay_poly_power": 2,
            "lars_opt_learning_rate_decay_steps": 13137,
            "lars_epsilon": 0.0,
            "lars_opt_learning_rate_warmup_epochs": 5,
            "lars_opt_momentum": 0.9,
            "lars_opt_weight_decay": 0.0002,
            "model_bn_span": 64,
        },
        [*((epoch, 0.5) for epoch in range(1, 33, 4)), (33, 0.7302), (37, 0.7511), (41, 0.7594)],
    ),
    "resnet_sgd": (
        IMAGENET
        | {
            "global_batch_size": 4096,
            "opt_name": "sgd",
            "sgd_opt_base_learning_rate": 1.7,
            "sgd_opt_end_learning_rate": 0.0001,
            "sgd_opt_learning_rate_decay_poly_power": 2,
            "sgd_opt_learning_rate_decay_steps": 13137,
            "sgd_opt_weight_decay": 0.00005,
            "sgd_opt_momentum": 0.9,
            "model_bn_span": 64,
            "opt_learning_rate_warmup_epochs": 5,
        },
        [*((epoch, 0.5) for epoch in range(1, 37, 4)), (37, 0.7511), (41, 0.7594)],
    ),
    "ssd": (
        COCO
        | {
            "global_batch_size": 2048,
            "model_bn_span": 16,
            "opt_learning_rate_warmup_factor": 0,
            "opt_learning_rate_warmup_steps": 1489,
            "opt_weight_decay": 4e-5,
            "opt_base_learning_rate": 0.29248,
            "max_samples": 50,
            "opt_learning_rate_decay_boundary_epochs": [60, 75],
        },
        [*((epoch, 0.1) for epoch in range(5, 60, 5)), (60, 0.2113), (65, 0.2306)],
    ),
    "maskrcnn": (
        COCO
        | {
            "global_batch_size": 96,
            "opt_base_learning_rate": 0.12,
            "opt_learning_rate_warmup_steps": 625,
            "opt_learning_rate_warmup_factor": 1.92e-4,
            "num_image_candidates": 12000,
            "opt_learning_rate_decay_factor": 0.1,
            "opt_learning_rate_decay_steps": [12000, 16000],
            "min_image_size": 800,
            "max_image_size": 1333,
        },
        [
            *((epoch, {"BBOX": 0.1, "SEGM": 0.1}) for epoch in range(1, 13)),
            (13, {"BBOX": 0.374, "SEGM": 0.340}),
            (14, {"BBOX": 0.378, "SEGM": 0.342}),
        ],
    ),
    "bert": (
        {
            "train_samples": 2_700_000,
            "eval_samples": 10000,
            "global_batch_size": 448,
            "opt_base_learning_rate": 4e-4,
            "opt_epsilon": 1e-6,
            "opt_learning_rate_training_steps": 8103,
            "opt_learning_rate_warmup_steps": 0,
            "num_warmup_steps": 0,
            "start_warmup_step": 0,
            "opt_lamb_beta_1": 0.9,
            "opt_lamb_beta_2": 0.999,
            "opt_lamb_weight_decay_rate": 0.01,
        },
        [
            *((samples, 0.5) for samples in range(150_000, 2_550_000, 150_000)),
            (2_550_000, 0.7192),
            (2_700_000, 0.7203),
        ],
    ),
    "dlrm": (
        {
            "train_samples": 4195197692,
            "eval_samples": 89137319,
            "global_batch_size": 55296,
            "opt_base_learning_rate": 24.0,
            "opt_learning_rate_warmup_steps": 2750,
            "lr_decay_start_steps": 49315,
            "sgd_opt_base_learning_rate": 24.0,
            "sgd_opt_learning_rate_decay_poly_power": 2,
            "sgd_opt_learning_rate_decay_steps": 27772,
        },
        [*((1 + part / 20, 0.8) for part in range(1, 17)), (1.85, 0.80242), (1.9, 0.80251)],
    ),
    "rnnt": (
        {
            "train_samples": 278528,
            "eval_samples": 2703,
            "model_weights_initialization_scale": 0.5,
            "global_batch_size": 1024,
            "opt_name": "lamb",
            "opt_base_learning_rate": 0.004,
            "opt_lamb_epsilon": 1e-9,
            "opt_lamb_learning_rate_decay_poly_power": 0.935,
            "opt_lamb_learning_rate_hold_epochs": 40,
            "opt_learning_rate_warmup_epochs": 6,
            "opt_weight_decay": 1e-3,
            "opt_lamb_beta_1": 0.9,
            "opt_lamb_beta_2": 0.999,
            "opt_gradient_clip_norm": 1,
            "opt_learning_rate_alt_decay_func": True,
            "opt_learning_rate_alt_warmup_func": True,
            "opt_lamb_learning_rate_min": 1e-5,
            "data_train_max_duration": 16.7,
            "data_train_num_buckets": 1,
            "data_speed_perturbaton_min": 0.85,
            "data_speed_perturbaton_max": 1.15,
            "data_spec_augment_freq_n": 2,
            "data_spec_augment_freq_min": 0,
            "data_spec_augment_freq_max": 20,
            "data_spec_augment_time_n": 10,
            "data_spec_augment_time_min": 0,
            "data_spec_augment_time_max": 0.03,
            "model_eval_ema_factor": 0.999,
            "eval_max_prediction_symbols": 300,
        },
        [*((epoch, 10.4) for epoch in range(1, 57)), (57, 0.0585), (58, 0.0576)],
    ),
    "unet3d": (
        {
            "train_samples": 168,
            "eval_samples": 42,
            "global_batch_size": 56,
            "opt_name": "sgd",
            "opt_base_learning_rate": 2.0,
            "opt_learning_rate_warmup_epochs": 1000,
            "opt_learning_rate_decay_boundary_epochs": [],
            "opt_learning_rate_decay_factor": 1.0,
            "opt_weight_decay": 0.0,
            "opt_momentum": 0.9,
            "oversampling": 0.4,
            "training_input_shape": [128, 128, 128],
            "validation_input_shape": [128, 128, 128],
            "validation_overlap": 0.5,
        },
        [*((epoch, 0.5) for epoch in range(1000, 2180, 20)), (2180, 0.9062), (2200, 0.9083)],
    ),
    "minigo": (
        {
            "train_batch_size": 4096,
            "lr_boundaries": [128, 10000, 20000],
            "lr_rates": [0.016, 0.16, 0.016, 0.0016],
            "min_selfplay_games_per_generation": 8192,
            "actual_selfplay_games_per_generation": 8997,
        },
        [(40, 0.4961), (41, 0.5078)],
    ),
}
NAMES = [name for name in RUNS if name != "resnet_sgd"]
COUNTS = {"bert": 10, "rnnt": 10, "minigo": 10, "unet3d": 40}
"""Runs of a result; five for the others."""


def closed_log(name: str, number: int = 0, status: str = "success") -> list[dict]:
    """The events of run `number`; `name` is a benchmark, or resnet_sgd."""
    hyperparameters, evaluations = RUNS[name]
    benchmark = name.partition("_")[0]
    log = _Log()
    for key, value in (
        ("benchmark", benchmark),
        ("org", "Us"),
        ("division", "closed"),
        ("status", "onprem"),
        ("platform", "box"),
    ):
        log.add(f"submission_{key}", value)
    log.add("cache_clear", True)
    log.add("init_start")
    log.add("seed", 1000 + number, lineno=73)
    log.add("gradient_accumulation_steps", 1)
    for key, value in hyperparameters.items():
        log.add(key, value)
    for tensor in tensor_names(benchmark):
        log.add("weights_initialization", tensor=tensor)
    log.add("init_stop", seconds=90)
    log.add("run_start")
    for epoch, value in evaluations:
        log.add("block_start", first_epoch_num=epoch, epoch_count=1)
        log.add("block_stop", first_epoch_num=epoch, seconds=300 + number)
        log.add("eval_start", epoch_num=epoch)
        log.add("eval_accuracy", value, epoch_num=epoch)
        log.add("eval_stop", epoch_num=epoch)
    log.add("run_stop", status=status)
    return log.events


def tensor_names(benchmark: str) -> list[str]:
    """The names that the official checker wants initialised."""
    folder = files("mlperf_logging") / "compliance_checker" / "training_1.1.0"
    text = (folder / f"closed_{benchmark}.yaml").read_text()
    return re.findall(r"[\"']([^\"']+)[\"']", text.split("== sorted([")[1].split("])")[0])


def write_log(path: Path, events: list[dict]) -> Path:
    """Write a log as mllog does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f":::MLLOG {json.dumps(event)}\n" for event in events))
    return path


class _Log:
    def __init__(self) -> None:
        self.events: list[dict] = []
        self.time_ms = START_MS

    def add(self, key: str, value=None, *, seconds: float = 0.1, **metadata) -> None:
        kinds = {"start": "INTERVAL_START", "stop": "INTERVAL_END"}
        self.time_ms += int(seconds * 1000)
        self.events.append(
            {
                "namespace": "",
                "time_ms": self.time_ms,
                "event_type": kinds.get(key.rpartition("_")[2], "POINT_IN_TIME"),
                "key": key,
                "value": value,
                "metadata": {"file": "train.py", "lineno": len(self.events)} | metadata,
            }
        )
