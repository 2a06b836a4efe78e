"""A run that is interrupted and goes on ends as one that was not, to the last bit, for all eight benchmarks."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights import made_up

from octathlon import registry
from octathlon.contracts import Benchmark, Progress, Run
from octathlon.errors import OctathlonError
from octathlon.harness.checkpoints import Checkpoints
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.harness.progress import Display
from octathlon.receipts import read_json


class Hand(Display):
    """The test's: it is called after each update, just before a checkpoint would be written."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0
        self.at: dict[int, Callable[[], None]] = {}

    def stepped(self, progress: Progress) -> None:
        self.time += 1
        self.at.pop(progress.steps, lambda: None)()

    def later(self) -> None:
        """A checkpoint is due."""
        self.time += 600

    def die(self) -> None:
        """End the run by an error, with whatever it was writing written."""
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join()
        raise ZeroDivisionError

    def clock(self) -> float:
        return self.time


ABOUT = {"ranks": 1, "seed": 3}


def train(
    build: Callable[[Run], Benchmark], folder: Path, hand: Hand, about: dict[str, Any] = ABOUT, **facts: Any
) -> tuple[Outcome, dict[str, torch.Tensor], list[dict]]:
    """Go on or begin; outcome, weights and events, if it comes to an end."""
    log = folder / "result_0.txt"
    run = Run(seed=3, device=torch.device("cpu"), log=log, **facts)
    benchmark, models = build(run), []
    with log.open("w") as output:
        checkpoints = Checkpoints(benchmark, hand.clock, about, output)
        events = Events([output], hand.clock)
        outcome = timed_run(benchmark, events, hand, ready=models.append, checkpoints=checkpoints)
    checkpoints.remove()
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in log.read_text().splitlines()]
    return outcome, models[0].state_dict(), events


def told(events: list[dict]) -> list[tuple]:
    """All that a log says but times, rates and lines of code."""
    left_out = ("resumed", "tracked_stats")
    return [
        (event["key"], event["value"], event["metadata"].get("epoch_num"))
        for event in events
        if event["key"] not in left_out
    ]


def check_resumed(build: Callable[[Run], Benchmark], folder: Path, first: int, second: int, **facts) -> None:
    """Stop a run by a signal after update `first`, kill it after `second`, one after a checkpoint, and compare."""
    (folder / "whole").mkdir()
    whole, weights, events = train(build, folder / "whole", Hand(), **facts)
    hand = Hand()
    hand.at[first] = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(
        OctathlonError, match="told to stop after .* samples, a checkpoint was written; rerun"
    ):
        train(build, folder, hand, **facts)
    hand.at |= {second - 1: hand.later, second: hand.die}
    with pytest.raises(ZeroDivisionError):
        train(build, folder, hand, **facts)
    outcome, resumed, log = train(build, folder, hand, **facts)
    assert outcome.quality == whole.quality and outcome.samples == whole.samples
    assert resumed.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(resumed[name], tensor), name
    assert told(log) == told(events)
    assert [event["key"] for event in log].count("resumed") == 2
    assert outcome.seconds > whole.seconds + 600  # the clock went on
    assert sorted(path.name for path in folder.glob(".*")) == []


SIZES = {
    "bert": {"shards": 4, "samples": 26},
    "dlrm": {"train": 400, "evaluated": 100},
    "maskrcnn": {"train": 20, "evaluated": 8},
    "minigo": {"games": 16, "kept_games": 16},
    "resnet": {"train": 100},
    "rnnt": {"train": 26},
    "ssd": {"train": 20, "evaluated": 8},
    "unet3d": {},
}
"""Two or three updates an epoch."""
EPOCHS = {"first": 1.3, "every": 1.3, "limit": 2.6}
CADENCES = {
    "bert": {"first": 128, "every": 128, "limit": 256},
    "minigo": {"first": 1, "every": 1, "limit": 3},
    "unet3d": {"first": 2, "every": 2, "limit": 4},
}
POINTS = {
    "bert": (3, 7),  # the last of an epoch, both
    "dlrm": (5, 8),  # the last of the run
    "maskrcnn": (4, 6),  # the last of a block
    "minigo": (6, 10),  # the last of a generation
    "resnet": (1, 7),
    "rnnt": (2, 6),
    "ssd": (2, 4),
    "unet3d": (3, 5),
}
"""The updates after which a run is stopped and killed; the checkpoint before that is one update older."""
WORKERS = {"rnnt": 1}
"""Of its dropout later random numbers depend on, with loaders that stay open and loaders that don't."""


def short_run(name: str, folder: Path):
    """Settings of a run of two or three blocks over two or three epochs, in two micro-batches each, to no target."""
    settings = made_up(name, folder, **SIZES[name])
    changes = {
        "checkpoint_minutes": 10,
        "target": dict.fromkeys(settings.target, 2.0 if settings.higher_is_better else -1.0),
        "cadence": settings.cadence.model_copy(update=CADENCES.get(name, EPOCHS)),
        "gradient_accumulation_steps": 2,
        "loader_workers": WORKERS.get(name, 0),
    }
    return settings.model_copy(update=changes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", registry.benchmarks())
def test_an_interrupted_run_ends_as_a_whole_one(name, tmp_path):
    settings, kind = short_run(name, tmp_path), registry.benchmark_class(name)
    facts = {"data": tmp_path, "manifest": read_json(tmp_path / "manifest.json")}
    check_resumed(lambda run: kind(settings, run), tmp_path, *POINTS[name], **facts)
