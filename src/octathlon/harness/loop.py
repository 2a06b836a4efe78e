"""The timed loop, for every benchmark:

    INIT_START: build model, optimizer, schedule; warm up on synthetic data; log hyperparameters :INIT_STOP
    barrier
    RUN_START                                       the data may be touched from here on
      for each evaluation point of the cadence:
        BLOCK_START: train up to the point :BLOCK_STOP
        EVAL_START: evaluate, log EVAL_ACCURACY :EVAL_STOP      off the clock where the rules want it so
        leave when the target is reached
    RUN_STOP(success | aborted)

A loss that is not finite ends the training: the event `diverged` says after how many samples, the model counts as one
that gets nothing right without being evaluated, and the run is aborted.

Where a benchmark evaluates off the clock, the log's time stands still meanwhile: its run_stop bears the time at which
the first checkpoint that meets the target was trained, as if all checkpoints had been evaluated after the run.

A run may go on from a checkpoint: its log then begins with what it was there, and the event `resumed` says after how
many samples.

Events and their order: MLPerf Training rules v1.1 and the compliance rules 1.1.0 (rounds/compliance_v1.1.yaml).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from octathlon.contracts import Benchmark
from octathlon.harness.checkpoints import Checkpoints, Place
from octathlon.harness.divergence import Diverged
from octathlon.harness.events import Events
from octathlon.harness.progress import Display
from octathlon.harness.seeds import seed_alike, seed_rank
from octathlon.harness.trainer import StepTrainer, evaluate
from octathlon.nn import world


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    reached: bool
    quality: dict[str, float]
    """Of the last evaluation."""
    seconds: float
    """From run_start to run_stop."""
    samples: int
    """Trained on."""
    diverged: int | None = None
    """Samples trained on before the first loss that was not finite; None where there was none."""


def timed_run(
    benchmark: Benchmark,
    events: Events,
    display: Display | None = None,
    max_blocks: int | None = None,
    ready: Callable[[nn.Module], None] = lambda model: None,
    checkpoints: Checkpoints | None = None,
) -> Outcome:
    """Train from scratch until the target or the limit of the cadence, on the clock of `events`.

    Args:
        display: shows how far the run is.
        max_blocks: give up after so many evaluations.
        ready: called with the model when it is built, off the clock.
        checkpoints: where the run goes on from, if it does, and leaves its own; default: it leaves none.
    """
    display = display or Display()
    found = checkpoints is not None and checkpoints.found
    with events.muted() if found else nullcontext():
        events.start("init_start")
        trainer = _initialise(benchmark, events, display, checkpoints)
        ready(trainer.model)
        events.stop("init_stop")
    world.barrier()
    place = _resume(benchmark, trainer, events, checkpoints) if found else Place(events.start("run_start"))
    reached, quality, diverged = False, {}, None
    with checkpoints.watching(trainer, events, place) if checkpoints else nullcontext():
        for mark in islice(benchmark.cadence().marks(), place.blocks, max_blocks):
            quality, diverged = _block(benchmark, trainer, events, place, mark)
            display.evaluated(quality)
            reached = world.from_first(benchmark.target().reached(quality))
            place.done, place.blocks = mark, place.blocks + 1
            if reached or diverged is not None:
                break
    if benchmark.logs_trained_samples:
        events.point("train_samples", trainer.progress.samples)
    stopped = events.stop("run_stop", status="success" if reached else "aborted")
    return Outcome(reached, dict(quality), stopped - place.started, trainer.progress.samples, diverged)


def _resume(benchmark: Benchmark, trainer: StepTrainer, events: Events, checkpoints: Checkpoints) -> Place:
    place = checkpoints.restore(trainer, events)
    epoch = _plain(benchmark.epoch_num(trainer.progress))
    events.point("resumed", trainer.progress.samples, epoch_num=epoch)
    return place


def _initialise(
    benchmark: Benchmark, events: Events, display: Display, checkpoints: Checkpoints | None
) -> StepTrainer:
    seed_alike(benchmark.run.seed)
    model = benchmark.build_model()
    optimizer, schedule = benchmark.build_optimizer(model)
    on_step = [display.stepped, *([checkpoints.stepped] if checkpoints else [])]
    trainer = StepTrainer(benchmark, model, optimizer, schedule, events, on_step)
    seed_rank(benchmark.run.seed, benchmark.run.rank)
    model.train()
    trainer.warm_up()
    _log_settings(benchmark, events)
    for name in benchmark.tensor_names(model):
        events.point("weights_initialization", tensor=name)
    return trainer


def _log_settings(benchmark: Benchmark, events: Events) -> None:
    settings, counts, target = benchmark.settings, benchmark.sample_counts(), benchmark.target()
    bound = "at_least" if target.higher_is_better else "at_most"
    common = {
        "seed": benchmark.run.seed,
        "global_batch_size": settings.global_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        **({} if benchmark.logs_trained_samples else {"train_samples": counts.train}),
        "eval_samples": counts.evaluation,
        "quality_target": {name: {bound: value} for name, value in target.thresholds.items()},
    }
    for key, value in (common | dict(benchmark.hyperparameters())).items():
        events.point(key, value)


def _block(
    benchmark: Benchmark, trainer: StepTrainer, events: Events, place: Place, mark: float
) -> tuple[dict[str, float], int | None]:
    """Train up to `mark`, in units of the cadence, and evaluate.

    Returns:
        the quality and, if the training diverged, after how many samples.
    """
    first = _plain(1 + place.done)
    if place.block_started is None:
        count = _plain(mark - place.done)
        place.block_started = events.start("block_start", first_epoch_num=first, epoch_count=count)
        place.block_samples = trainer.progress.samples
    trainer.model.train()
    diverged = _train(benchmark, trainer, events, mark)
    _wait_for_device(benchmark)
    seconds = events.stop("block_stop", first_epoch_num=first) - place.block_started
    place.block_started = None
    throughput = (trainer.progress.samples - place.block_samples) / max(seconds, 1e-9)
    events.point("tracked_stats", {"throughput": throughput}, step=trainer.progress.steps)

    with events.paused() if benchmark.evaluates_off_the_clock else nullcontext():
        return _evaluation(benchmark, trainer, events, diverged is not None), diverged


def _train(benchmark: Benchmark, trainer: StepTrainer, events: Events, mark: float) -> int | None:
    """Train up to `mark`, or until it is noticed that the loss is not finite: then returns after how many samples."""
    try:
        benchmark.train_block(trainer, mark)
        trainer.check_losses()
    except Diverged as end:
        events.point("diverged", end.samples, epoch_num=_plain(benchmark.epoch_num(trainer.progress)))
        return end.samples
    return None


def _evaluation(
    benchmark: Benchmark, trainer: StepTrainer, events: Events, diverged: bool
) -> dict[str, float]:
    epoch = _plain(benchmark.epoch_num(trainer.progress))
    events.start("eval_start", epoch_num=epoch)
    quality = benchmark.target().missed() if diverged else _evaluate(benchmark, trainer)
    events.point("eval_accuracy", benchmark.target().value(quality), epoch_num=epoch)
    events.stop("eval_stop", epoch_num=epoch)
    return quality


def _evaluate(benchmark: Benchmark, trainer: StepTrainer) -> dict[str, float]:
    """Where there are checkpoints, training's generators stay as they are: loaders draw a number when they are first
    opened, which a resumed run does later."""
    device = benchmark.run.device
    resumable = benchmark.settings.checkpoint_minutes > 0
    with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=resumable):
        return evaluate(benchmark, trainer.model)


def _wait_for_device(benchmark: Benchmark) -> None:
    """A GPU works behind the program's back: its work of the block belongs into the block."""
    if benchmark.run.device.type == "cuda":
        torch.cuda.synchronize(benchmark.run.device)


def _plain(number: float) -> float:
    """Without the digits that binary fractions add, and whole numbers as such: 3, 1.05."""
    rounded = round(number, 9)
    return int(rounded) if rounded == int(rounded) else rounded
