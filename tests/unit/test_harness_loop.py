"""The timed loop, run whole on a toy, in fake time."""

from __future__ import annotations

import io
import json
from itertools import count

import pytest
import torch
from toy_benchmark import SAMPLES, Toy, toy

from octathlon.contracts import SampleCounts
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run


def run(benchmark, **options):
    """A run in which each look at the clock takes one second; returns outcome and events."""
    output = io.StringIO()
    ticks = count(1_000_000)
    outcome = timed_run(benchmark, Events([output], lambda: next(ticks)), **options)
    return outcome, [json.loads(line.removeprefix(":::MLLOG ")) for line in output.getvalue().splitlines()]


def keys(events, *wanted):
    return [event["key"] for event in events if event["key"] in wanted]


def of(events, key):
    return [event for event in events if event["key"] == key]


def test_events_come_in_the_order_of_the_rules():
    outcome, events = run(
        toy(cadence={"unit": "epochs", "first": 1, "every": 1, "limit": 2}, target={"error": 0.0})
    )
    assert [event["key"] for event in events] == [
        "init_start",
        *("seed", "global_batch_size", "gradient_accumulation_steps", "train_samples", "eval_samples"),
        *("quality_target", "opt_name", "opt_base_learning_rate"),
        *["weights_initialization"] * 4,
        *("init_stop", "run_start"),
        *("block_start", "block_stop", "tracked_stats", "eval_start", "eval_accuracy", "eval_stop") * 2,
        "run_stop",
    ]
    assert not outcome.reached
    assert of(events, "run_stop")[0]["metadata"]["status"] == "aborted"
    types = {event["key"]: event["event_type"] for event in events}
    assert types["run_start"] == "INTERVAL_START"
    assert types["run_stop"] == types["eval_stop"] == "INTERVAL_END"
    assert types["eval_accuracy"] == "POINT_IN_TIME"


def test_target_stops_the_clock_at_the_evaluation_that_meets_it():
    outcome, events = run(toy())
    values = [event["value"] for event in of(events, "eval_accuracy")]
    assert outcome.reached
    assert all(value > 0.01 for value in values[:-1])
    assert values[-1] == outcome.quality["error"] <= 0.01
    assert events[-1]["key"] == "run_stop"
    assert events[-1]["metadata"]["status"] == "success"
    start = of(events, "run_start")[0]["time_ms"]
    assert outcome.seconds == (events[-1]["time_ms"] - start) / 1000  # the clock's time, not the machine's


def test_evaluations_follow_the_cadence_from_a_late_first_one_to_the_limit():
    _, events = run(
        toy(cadence={"unit": "epochs", "first": 4, "every": 3, "limit": 11}, target={"error": 0.0})
    )
    assert [event["metadata"]["epoch_num"] for event in of(events, "eval_accuracy")] == [4, 7, 10, 11]
    blocks = [event["metadata"] for event in of(events, "block_start")]
    assert [block["first_epoch_num"] for block in blocks] == [1, 5, 8, 11]
    assert [block["epoch_count"] for block in blocks] == [4, 3, 3, 1]


class CountedInSamples(Toy):
    """As bert: the cadence, epoch_num and train_samples are in samples trained on."""

    logs_trained_samples = True

    def epoch_num(self, progress):
        return progress.samples


@pytest.mark.parametrize("accumulation", [1, 4])
def test_cadence_in_samples_evaluates_at_the_first_update_that_reaches_the_mark(accumulation):
    cadence = {"unit": "samples", "first": 20, "every": 30, "limit": 100}
    changes = {"cadence": cadence, "gradient_accumulation_steps": accumulation}
    _, events = run(toy(CountedInSamples, **changes, target={"error": 0.0}))
    # updates of 8: 20 -> 24, 50 -> 56, 80 -> 80, 100 -> 104; an epoch has 64
    assert [event["metadata"]["epoch_num"] for event in of(events, "eval_accuracy")] == [24, 56, 80, 104]


def test_train_samples_can_be_those_of_the_run():
    cadence = {"unit": "samples", "first": 20, "every": 30, "limit": 60}
    _, events = run(toy(CountedInSamples, cadence=cadence, target={"error": 0.0}))
    (logged,) = of(events, "train_samples")
    assert logged["value"] == 64
    assert keys(events, "train_samples", "eval_stop", "run_stop") == [
        *["eval_stop"] * 3,
        *("train_samples", "run_stop"),
    ]


def test_fractions_of_an_epoch_are_marks_too():
    class Fractions(Toy):
        def epoch_num(self, progress):
            return 1 + progress.in_epochs()

    cadence = {"unit": "epochs", "first": 0.25, "every": 0.25, "limit": 1}
    _, events = run(toy(Fractions, cadence=cadence, target={"error": 0.0}))
    assert [event["metadata"]["epoch_num"] for event in of(events, "eval_accuracy")] == [1.25, 1.5, 1.75, 2]


class TwoMetrics(Toy):
    """As maskrcnn: two metrics, both to be met in one evaluation."""

    script = iter([])

    def evaluate(self, model):
        return next(self.script)


def test_two_targets_must_be_met_in_one_evaluation():
    benchmark = toy(TwoMetrics, target={"BBOX": 0.377, "SEGM": 0.339}, higher_is_better=True)
    benchmark.script = iter(
        [{"BBOX": 0.4, "SEGM": 0.3}, {"BBOX": 0.3, "SEGM": 0.4}, {"BBOX": 0.377, "SEGM": 0.339}]
    )
    outcome, events = run(benchmark)
    assert outcome.reached
    assert [event["value"] for event in of(events, "eval_accuracy")][1:] == [
        {"BBOX": 0.3, "SEGM": 0.4},
        {"BBOX": 0.377, "SEGM": 0.339},
    ]
    assert of(events, "quality_target")[0]["value"] == {
        "BBOX": {"at_least": 0.377},
        "SEGM": {"at_least": 0.339},
    }


def test_a_quality_that_is_no_number_is_never_enough():
    benchmark = toy(TwoMetrics, target={"error": 0.5})
    benchmark.script = iter([{"error": float("nan")}] * 9)
    assert not run(benchmark)[0].reached


class SelfMade(Toy):
    """As minigo: no data set; a block is a generation that makes its own samples and then trains on them."""

    def sample_counts(self):
        return SampleCounts(0, 0)

    def train_block(self, trainer, mark):
        while not trainer.progress.reached(mark, "epochs"):
            trainer.point("actual_selfplay_games_per_generation", 7, epoch_num=trainer.progress.epochs + 1)
            for batch in self.train_batches(trainer.progress.epochs + 1):
                trainer.step(batch)
            trainer.end_epoch()


def test_a_benchmark_may_make_its_own_data():
    outcome, events = run(toy(SelfMade, cadence={"unit": "epochs", "first": 1, "every": 1, "limit": 40}))
    assert outcome.reached
    games = of(events, "actual_selfplay_games_per_generation")
    assert [event["metadata"]["epoch_num"] for event in games] == list(range(1, len(games) + 1))
    assert len(games) == len(of(events, "eval_accuracy"))


class SlowlyEvaluated(Toy):
    """As minigo: a checkpoint is evaluated off the clock."""

    evaluates_off_the_clock = True

    def evaluate(self, model):
        for _ in range(1000):
            self.clock()
        return super().evaluate(model)


def run_slowly_evaluated(**changes):
    """A run whose evaluations take a thousand seconds each."""
    output, benchmark = io.StringIO(), toy(SlowlyEvaluated, **changes)
    benchmark.clock = count(1_000_000).__next__
    outcome = timed_run(benchmark, Events([output], benchmark.clock))
    return outcome, [json.loads(line.removeprefix(":::MLLOG ")) for line in output.getvalue().splitlines()]


def test_run_stop_is_dated_back_to_the_first_checkpoint_that_passes():
    outcome, events = run_slowly_evaluated()
    _, on_the_clock = run(toy())
    evaluations = of(events, "eval_accuracy")
    assert outcome.reached and len(evaluations) == len(of(on_the_clock, "eval_accuracy")) > 1
    trained = of(events, "block_stop")[-1]["time_ms"]
    assert trained <= evaluations[-1]["time_ms"] <= of(events, "run_stop")[0]["time_ms"] <= trained + 5000
    assert (
        outcome.seconds
        == (of(events, "run_stop")[0]["time_ms"] - of(events, "run_start")[0]["time_ms"]) / 1000
    )
    assert outcome.seconds < 1000


def test_off_the_clock_time_stands_still_only_while_evaluating():
    _, events = run_slowly_evaluated(target={"error": 0.0})
    times = [event["time_ms"] for event in events]
    assert times == sorted(times)
    for start, stop in zip(of(events, "eval_start"), of(events, "eval_stop"), strict=True):
        assert start["time_ms"] == stop["time_ms"]
    for start, stop in zip(of(events, "block_start"), of(events, "block_stop"), strict=True):
        assert stop["time_ms"] - start["time_ms"] == 1000  # as the clock ticks


def test_max_blocks_ends_a_smoke_test_early():
    outcome, events = run(toy(target={"error": 0.0}), max_blocks=2)
    assert len(of(events, "eval_accuracy")) == 2
    assert not outcome.reached
    assert events[-1]["metadata"]["status"] == "aborted"


def test_same_seed_same_run_other_seed_other_run():
    def values(seed):
        from octathlon.contracts import Run

        _, events = run(toy(run=Run(seed=seed, device=torch.device("cpu"))))
        return [event["value"] for event in of(events, "eval_accuracy")]

    assert values(1) == values(1) != values(2)


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_schedule_is_set_once_before_each_update_with_the_updates_made(accumulation):
    benchmark = toy(
        gradient_accumulation_steps=accumulation,
        cadence={"unit": "epochs", "first": 2, "every": 1, "limit": 2},
    )
    run(benchmark)
    assert benchmark.rates == list(range(2 * SAMPLES // 8))


def test_log_tells_where_an_event_was_logged():
    _, events = run(toy(), max_blocks=1)
    assert {event["metadata"]["file"] for event in events} == {"octathlon/harness/loop.py"}
