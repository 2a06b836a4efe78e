"""A run that is interrupted and goes on ends as one that was not, to the last bit, for all eight benchmarks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_weights import made_up
from test_world import on_ranks
from torch import nn
from toy_benchmark import Toy, toy

from octathlon import registry
from octathlon.contracts import Benchmark, Progress, Run
from octathlon.errors import OctathlonError
from octathlon.harness.checkpoints import Checkpoints
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.harness.progress import Display
from octathlon.harness.tensor_files import said_by, write
from octathlon.nn import world
from octathlon.receipts import read_json
from octathlon.settings import BenchmarkSettings


class Hand(Display):
    """The test's: it is called after each update, just before a checkpoint would be written."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self.time = time
        self.at: dict[int, Callable[[], None]] = {}

    def stepped(self, progress: Progress) -> None:
        self.time += 1
        self.at.pop(progress.steps, lambda: None)()

    def later(self) -> None:
        """A checkpoint is due."""
        self.time += 600

    def die(self) -> None:
        """End the run by an error, with whatever it was writing written."""
        self.written()
        raise ZeroDivisionError

    def written(self) -> None:
        """Wait until it is."""
        for thread in threading.enumerate():
            if thread.name == "checkpoint":
                thread.join()

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
    with log.open("w") if run.rank == 0 else nullcontext() as output:
        checkpoints = Checkpoints(benchmark, hand.clock, about, output)
        events = Events([output] if output else [], hand.clock)
        outcome = timed_run(benchmark, events, hand, ready=models.append, checkpoints=checkpoints)
    checkpoints.remove()
    world.barrier()
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in log.read_text().splitlines()]
    weights = nn.ModuleDict({"trained": models[0], "evaluated": benchmark.evaluated(models[0])})
    return outcome, weights.state_dict(), events


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
EPOCHS = {"first": 0.9, "every": 0.9, "limit": 2.6}
CADENCES = {
    "bert": {"first": 128, "every": 128, "limit": 256},
    "minigo": {"first": 1, "every": 1, "limit": 3},
    "unet3d": {"first": 2, "every": 2, "limit": 4},
}
POINTS = {
    "bert": (3, 7),  # checkpoints at the ends of epochs; rnnt, too
    "dlrm": (5, 8),  # the last of the run
    "maskrcnn": (3, 5),  # the last of a block
    "minigo": (6, 10),  # the last of a generation
    "resnet": (1, 7),
    "rnnt": (3, 5),
    "ssd": (2, 4),
    "unet3d": (3, 5),
}
"""The updates after which a run is stopped and killed; the checkpoint before that is one update older."""
CHANGES = {"bert": {"hidden_dropout": 0.1}, "rnnt": {"loader_workers": 1}}
"""Both draw random numbers as they train: with a loader for each epoch, and with workers whose loaders stay open."""


def short_run(name: str, folder: Path):
    """Settings of a run of two or three blocks over two or three epochs, in two micro-batches each, to no target."""
    settings = made_up(name, folder, **SIZES[name])
    changes = {
        "checkpoint_minutes": 10,
        "target": dict.fromkeys(settings.target, 2.0 if settings.higher_is_better else -1.0),
        "cadence": settings.cadence.model_copy(update=CADENCES.get(name, EPOCHS)),
        "gradient_accumulation_steps": 2,
    }
    return settings.model_copy(update=changes | CHANGES.get(name, {}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", registry.benchmarks())
def test_an_interrupted_run_ends_as_a_whole_one(name, tmp_path):
    settings, kind = short_run(name, tmp_path), registry.benchmark_class(name)
    facts = {"data": tmp_path, "manifest": read_json(tmp_path / "manifest.json")}
    check_resumed(lambda run: kind(settings, run), tmp_path, *POINTS[name], **facts)


def _on_two(settings: dict[str, BenchmarkSettings], folder: Path, rank: int) -> list[str]:
    """Of each benchmark an undisturbed run, and one whose first rank is told to stop."""
    warnings.simplefilter("ignore")
    for name in settings:
        place, kind = folder / name, registry.benchmark_class(name)
        facts = {"data": place, "manifest": read_json(place / "manifest.json"), "rank": rank, "world": 2}
        go = partial(train, partial(kind, settings[name]), about=ABOUT | {"ranks": 2}, **facts)
        whole, weights, _ = go(folder=place / "whole", hand=Hand())
        hand = Hand()
        hand.at = {POINTS[name][0]: lambda: rank or signal.raise_signal(signal.SIGTERM)}
        with pytest.raises(OctathlonError, match="a checkpoint was written"):
            go(folder=place, hand=hand)
        outcome, resumed, events = go(folder=place, hand=hand)
        assert [event["key"] for event in events].count("resumed") == 1
        assert outcome.quality == pytest.approx(whole.quality) and outcome.samples == whole.samples
        for key, tensor in weights.items():
            torch.testing.assert_close(resumed[key], tensor, msg=lambda said, at=(name, key): f"{at}: {said}")
    return list(settings)


def test_two_ranks_of_each_benchmark_go_on_together(tmp_path):
    settings = {}
    for name in registry.benchmarks():
        (tmp_path / name / "whole").mkdir(parents=True)
        settings[name] = short_run(name, tmp_path / name)
    work = partial(_on_two, settings, tmp_path)
    assert on_ranks(2, tmp_path, work, start="spawn") == [registry.benchmarks()] * 2


def line(run: Run) -> Toy:
    return toy(run=run, checkpoint_minutes=10, target={"error": -1.0}, cadence=TOYS)


TOYS = {"unit": "epochs", "first": 2, "every": 2, "limit": 4}


@pytest.fixture
def interrupted(tmp_path):
    """The folder of a run that has left checkpoints after updates 9 and 18, the second one with file number 0."""
    hand = Hand()
    hand.at = {9: hand.later, 17: hand.written, 18: hand.later, 20: hand.die}
    with pytest.raises(ZeroDivisionError):
        train(line, tmp_path, hand)
    assert [path.name for path in files(tmp_path)] == [
        f".result_0.checkpoint_{turn}.safetensors" for turn in (0, 1)
    ]
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


def resumed_after(folder: Path, **options: Any) -> list[int]:
    """Go on to the end: the samples from which the run did."""
    _, _, events = train(line, folder, Hand(time=2_000_000_000.0), **options)
    return [event["value"] for event in events if event["key"] == "resumed"]


def test_the_newest_checkpoint_is_used(interrupted):
    assert resumed_after(interrupted) == [18 * 8]


@pytest.mark.parametrize("size", [0, 5, 900, -1])
def test_a_newest_one_that_was_cut_short_gives_way_to_the_one_before(size, interrupted, capsys):
    newest = files(interrupted)[0]
    newest.write_bytes(newest.read_bytes()[:size])
    assert resumed_after(interrupted) == [9 * 8]
    told = capsys.readouterr().err
    assert (
        told.count("\n") == 1
        and f"{newest}: a damaged checkpoint" in told
        and "goes on from the other" in told
    )


def test_where_all_are_damaged_the_run_starts_anew(interrupted, capsys):
    for path in files(interrupted):
        path.write_bytes(b"damaged")
    assert resumed_after(interrupted) == []
    assert capsys.readouterr().err.count("the run starts anew") == 2


def test_a_run_that_differs_starts_anew_and_says_in_what(interrupted, capsys):
    assert resumed_after(interrupted, about=ABOUT | {"seed": 4}) == []
    assert "a checkpoint of a run that differs in seed: the run starts anew\n" in capsys.readouterr().err


def test_another_number_of_ranks_is_refused(interrupted):
    with pytest.raises(OctathlonError, match="of 1 ranks, not of 2: start as many ranks, or delete it"):
        resumed_after(interrupted, about=ABOUT | {"ranks": 2})
    assert len(files(interrupted)) == 2


def test_no_run_goes_on_before_it_began(interrupted):
    with pytest.raises(OctathlonError, match="of later than the system's clock says .*: set the clock"):
        train(line, interrupted, Hand(time=1_600_000_000.0))


def test_a_full_disk_is_one_warning_and_older_checkpoints_stay(interrupted, monkeypatch, capsys):
    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("octathlon.harness.tensor_files.save_file", fail)
    hand = Hand(time=2_000_000_000.0)
    hand.at = {19: hand.later, 21: hand.later, 24: hand.later, 25: hand.die}
    with pytest.raises(ZeroDivisionError):
        train(line, interrupted, hand)
    assert capsys.readouterr().err.count("the run goes on without new checkpoints") == 1
    monkeypatch.undo()
    assert resumed_after(interrupted) == [18 * 8]


def changed(folder: Path, change: Callable[[dict, dict], object]) -> Path:
    """Both checkpoints with tensors or words changed; the newest."""
    for path in files(folder):
        said = said_by(path)
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        change(tensors, said)
        write(path, tensors, said)
    return files(folder)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, said: tensors.pop("model.1.weight"),
        lambda tensors, said: tensors.update({"model.1.weight": torch.zeros(10**6)}),
        lambda tensors, said: tensors.update({"model.1.weight": tensors["model.1.weight"].double()}),
        lambda tensors, said: tensors.update({"benchmark.window": torch.zeros(1)}),
        lambda tensors, said: tensors.update({"optimizer.9.momentum": torch.zeros(1)}),
        lambda tensors, said: tensors.update({"optimizer.0.momentum": torch.zeros(7)}),
        lambda tensors, said: tensors.pop("random.cpu"),
        lambda tensors, said: tensors.update({"random.cpu": torch.zeros(3, dtype=torch.uint8)}),
        lambda tensors, said: said.update(words={"python": [3, [1], None], "numpy": []}),
        lambda tensors, said: said["words"].update(python=[3, [2**70] * 625, None]),
    ],
)
def test_what_does_not_fit_is_one_sentence(change, interrupted):
    path = changed(interrupted, change)
    with pytest.raises(OctathlonError, match=f"{path}: does not fit the run .*; delete it to start anew"):
        resumed_after(interrupted)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("about"),
        lambda said: said["progress"].update(steps=-1),
        lambda said: said["progress"].update(steps="9"),
        lambda said: said["progress"].update(more=1),
        lambda said: said["place"].update(blocks=1.5),
        lambda said: said.update(time=float("nan")),
        lambda said: said.update(behind=float("inf")),
        lambda said: said.update(log=5),
    ],
)
def test_words_that_no_checkpoint_has_are_damage(change, interrupted, capsys):
    changed(interrupted, lambda _tensors, said: change(said))
    assert resumed_after(interrupted) == []
    assert capsys.readouterr().err.count("a damaged checkpoint") == 2


@contextmanager
def two_ranks(folder: Path, log: Path, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A run of dlrm, each rank of which has tables of its own."""
    octathlon = str(Path(sys.executable).with_name("octathlon"))
    train = ["train", "dlrm", "--data", str(folder), "--output", str(log), "--settings", json.dumps(settings)]
    command = [octathlon, "launch", "--ranks", "2", octathlon, *train]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """As long as the process lives."""
    while not done():
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"ended with {process.wait(0.1)}: {process.stderr.read()}")


def newest_of_both(log: Path) -> int:
    """Updates at the newest checkpoint that both ranks have: a kill may come when one of them has a newer one."""
    ranks = (log.parent.glob(f".{log.stem}.checkpoint_[01].{rank}safetensors") for rank in ("", "rank_1."))
    return min(max((said_by(path)["progress"]["steps"] for path in paths), default=0) for paths in ranks)


def test_two_ranks_go_on_after_a_signal_and_after_a_kill(tmp_path):
    settings = made_up("dlrm", tmp_path)
    changes = {
        "cadence": {"unit": "epochs", "first": 0.1, "every": 0.1, "limit": 0.2},
        "target": {"AUC": 1.0},
        "checkpoint_minutes": 0.001,
        "loader_workers": settings.loader_workers,
    }
    whole, log = tmp_path / "whole" / "result_0.txt", tmp_path / "runs" / "result_0.txt"
    with two_ranks(tmp_path, whole, **changes | {"checkpoint_minutes": 0}) as process:
        assert process.wait() == 0
    with two_ranks(tmp_path, log, **changes) as process:
        wait_for(lambda: newest_of_both(log), process)
        process.terminate()
        _, told = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and not log.exists()
    assert told.count("told to stop after") == 2 and "Traceback" not in told, told
    steps = newest_of_both(log)
    with two_ranks(tmp_path, log, **changes) as process:
        wait_for(lambda: newest_of_both(log) > steps, process)
        process.kill()
    with two_ranks(tmp_path, log, **changes) as process:
        assert process.wait() == 0, process.stderr.read()
    assert log.read_text().count('"key": "resumed"') == 2
    assert sorted(path.name for path in log.parent.iterdir()) == sorted(
        path.name for path in whole.parent.iterdir()
    )
    for name in ("result_0.safetensors", "result_0.rank_1.safetensors"):
        resumed, expected = load_file(log.with_name(name)), load_file(whole.with_name(name))
        for key, tensor in expected.items():
            torch.testing.assert_close(resumed[key], tensor)
        assert said_by(log.with_name(name))["quality"] == pytest.approx(
            said_by(whole.with_name(name))["quality"]
        )
