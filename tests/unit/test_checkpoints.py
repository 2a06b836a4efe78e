"""A run that is interrupted and goes on ends as one that was not, to the last bit, for all eight benchmarks."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_weights import made_up
from toy_benchmark import Toy, toy

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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", registry.benchmarks())
def test_an_interrupted_run_ends_as_a_whole_one(name, tmp_path):
    settings = made_up(name, tmp_path)
    settings = settings.model_copy(
        update={"checkpoint_minutes": 10, "target": UNREACHED[settings.higher_is_better](settings)}
    )
    kind, manifest = registry.benchmark_class(name), read_json(tmp_path / "manifest.json")
    points = POINTS.get(name, (2, 4))
    check_resumed(lambda run: kind(settings, run), tmp_path, *points, data=tmp_path, manifest=manifest)


UNREACHED = {
    True: lambda settings: dict.fromkeys(settings.target, 2.0),
    False: lambda settings: dict.fromkeys(settings.target, -1.0),
}
POINTS: dict[str, tuple[int, int]] = {}
