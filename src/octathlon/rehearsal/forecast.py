"""What was measured, as the time of whole runs on a whole system, beside what others published."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octathlon.contracts import Cadence
from octathlon.scoring import rule_data
from octathlon.scoring.rcp import at_batch_size, references
from octathlon.scoring.results import load
from octathlon.scoring.rules import load_round
from octathlon.settings import BenchmarkSettings

ROUND = "v1.1"
FIRST_EPOCH = {"dlrm": 1}
"""Where the reference convergence points do not count from 0."""
GENERATIONS = {"minigo": 41.8}
"""Epochs to the target where there are no reference convergence points: the mean of NVIDIA's runs on eight A100s."""
EXCHANGE_LIMITS = 0.2
"""The part of a step that ranks may wait for one another before this counts as what limits."""
LAUNCHES_LIMIT = 0.8
"""The part of a step that a device must be busy for its kernels to count as what limits."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What the runs will have."""

    accelerators: int
    rehearsed: int
    """How many of them were rehearsed on."""


def forecast(
    benchmark: str, settings: BenchmarkSettings, measured: Facts, samples: Mapping[str, int], system: System
) -> dict[str, Any]:
    """The seconds of a run to the target and of all runs; how they come about, and what limits them.

    The target is reached after as many epochs as the reference took at this batch size, in the mean. In the open
    division, where no reference is known, all of the cadence is counted: the longest that a run can take. Where more
    accelerators will run than were rehearsed on, reducing gradients between them is not in it.

    Args:
        measured: of `harness.rehearsal.rehearse`.
        samples: `train` and `evaluation` of the real data set.
    """
    facts = {"limited_by": limit(measured, system), "workers": workers(measured, system)}
    facts["published"] = published(benchmark, system.accelerators)
    progress = _progress(benchmark, settings)
    if progress is None:
        return facts
    cadence, epoch = Cadence(**settings.cadence.model_dump()), measured["epoch"]
    in_epoch = epoch["samples"] if epoch else samples["train"]
    updates = math.ceil(progress * (in_epoch if cadence.unit == "epochs" else 1) / settings.global_batch_size)
    share = system.rehearsed / system.accelerators
    making = progress * epoch.get("seconds", 0) * share
    smaller = measured["wanted_local_batch"] / measured["local_batch"]
    training = updates * measured["training"]["median_s"] * smaller
    evaluations, evaluation = _evaluations(
        cadence, progress, measured["evaluation"], samples["evaluation"] * share
    )
    run = making + training + evaluation
    if making > training:
        facts["limited_by"] = "self-play"
    return facts | {
        "updates": updates,
        "evaluations": evaluations,
        "making_s": making,
        "training_s": training,
        "evaluation_s": evaluation,
        "run_s": run,
        "all_runs_s": run * settings.runs,
    }


def _evaluations(
    cadence: Cadence, progress: float, measured: Facts | None, samples: float
) -> tuple[int, float]:
    """How many there are on the clock, and the seconds that all of them take; the first one takes as much longer as it
    did in the rehearsal.

    Args:
        samples: those of one evaluation, for as many accelerators as rehearsed.
    """
    if measured is None:
        return 0, 0.0
    count = 1 + sum(mark < progress for mark in cadence.marks())
    beginning = max(measured["first_s"] - measured["seconds"], 0)
    return count, beginning + count * measured["seconds"] * samples / measured["samples"]


def _progress(benchmark: str, settings: BenchmarkSettings) -> float | None:
    """Epochs or samples to the target; None where nobody knows."""
    if settings.division == "open":
        return settings.cadence.limit
    points = references(benchmark, load_round(ROUND).tasks[benchmark].drop)
    if not points:
        return GENERATIONS.get(benchmark)
    batch = min(settings.global_batch_size, points[-1].batch_size)
    return at_batch_size(points, batch, settings.runs).mean - FIRST_EPOCH.get(benchmark, 0)


def workers(measured: Facts, system: System) -> int:
    """Processes that must read data for one accelerator, so that it need not wait."""
    rate = measured["training"]["samples_per_s"] / system.rehearsed
    return math.ceil(rate / measured["loader"]["samples_per_s"])


def limit(measured: Facts, system: System) -> str:
    """What a faster machine should have more of: memory, loader (cores), exchange (network), launches (a faster
    core: the device waits for the program), or kernels."""
    if measured["local_batch"] < measured["wanted_local_batch"]:
        return "memory"
    if workers(measured, system) > max((os.cpu_count() or 1) // system.rehearsed, 1):
        return "loader"
    if measured["training"]["shares"].get("exchange", 0) > EXCHANGE_LIMITS:
        return "exchange"
    if measured["training"]["kernels"]["busy_s"] < LAUNCHES_LIMIT * measured["training"]["median_s"]:
        return "launches"
    return "kernels"


def published(benchmark: str, accelerators: int) -> dict[str, Any] | None:
    """The closed results of the round with as many accelerators: how many, and their seconds; None without any."""
    seconds = [
        each.minutes * 60
        for each in load(rule_data.ROUNDS / f"published_{ROUND}.csv")[0]
        if (each.benchmark, each.division, each.accelerators) == (benchmark, "closed", accelerators)
        and not math.isnan(each.minutes)
    ]
    if not seconds:
        return None
    return {"entries": len(seconds), "best_s": min(seconds), "median_s": statistics.median(seconds)}
