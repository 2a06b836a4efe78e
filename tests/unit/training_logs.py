"""Small training logs for the tests of scoring, in the format of v0.7 and later, that keep the rules of v1.1."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import IMAGENET, RUNS, tensor_names

__all__ = ["BEGIN", "IMAGENET", "line", "log_lines", "tensor_names", "write_folder", "write_log"]

BEGIN = 1_634_831_816_075
"""A time in v1.1's days, in milliseconds."""


def line(key: str, seconds: float, value: Any = None, **metadata: Any) -> str:
    """One event, `seconds` after BEGIN."""
    event = {
        "namespace": "",
        "time_ms": BEGIN + round(seconds * 1000),
        "event_type": "POINT_IN_TIME",
        "key": key,
    }
    return ":::MLLOG " + json.dumps(
        event | {"value": value, "metadata": {"file": "a.py", "lineno": 1} | metadata}
    )


def log_lines(
    minutes: float = 30.0,
    quality: Sequence[Any] = (0.5, 0.76),
    status: str = "success",
    benchmark: str = "resnet",
    init_minutes: float = 1.0,
    start: float = 0.0,
    **numbers: float,
) -> list[str]:
    """A log of one run; the evaluations are spread evenly over its time. `numbers` are logged in place of the
    benchmark's own; None: not at all."""
    begin = start + init_minutes * 60
    own = RUNS.get(benchmark, ({},))[0]
    hyperparameters = {"gradient_accumulation_steps": 1, "seed": int(start)} | own | numbers
    lines = [
        line("submission_benchmark", start, benchmark),
        line("submission_org", start, "Us"),
        line("submission_division", start, "closed"),
        line("submission_status", start, "onprem"),
        line("submission_platform", start, "box"),
        line("cache_clear", start, True),
        line("init_start", start),
        *(line(key, start, number) for key, number in hyperparameters.items() if number is not None),
        line("init_stop", begin),
        line("run_start", begin),
        line("block_start", begin, first_epoch_num=1, epoch_count=len(quality)),
    ]
    for number, value in enumerate(quality, 1):
        lines.append(
            line("eval_accuracy", begin + minutes * 60 * number / len(quality), value, epoch_num=number)
        )
    end = begin + minutes * 60
    return [*lines, line("block_stop", end, first_epoch_num=1), line("run_stop", end, status=status)]


def write_log(path: Path, **options: Any) -> Path:
    """Write a log of `log_lines(**options)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(log_lines(**options)) + "\n")
    return path


def write_folder(folder: Path, minutes: Sequence[float], **options: Any) -> Path:
    """A benchmark folder with one log for each of `minutes`; a negative number: that run was aborted."""
    for number, each in enumerate(minutes):
        status = "success" if each > 0 else "aborted"
        write_log(
            folder / f"result_{number}.txt", minutes=abs(each), status=status, start=number * 1e5, **options
        )
    return folder
