"""A rehearsal: what a timed run's parts would take on this machine, before days are spent on it.

The benchmark is built as for a run, and its steps go through the same trainer, so that what is measured is what runs.
Nothing is logged, and nothing is learnt that is kept.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from octathlon.contracts import Batch, Benchmark, Progress, Run
from octathlon.errors import OctathlonError
from octathlon.harness.kernels import slowest_kernels
from octathlon.harness.seeds import seed_alike, seed_rank
from octathlon.harness.stopwatch import Stopwatch
from octathlon.harness.synchronisations import count_synchronisations
from octathlon.harness.trainer import StepTrainer, evaluate, uncompiled
from octathlon.nn import world
from octathlon.settings import BenchmarkSettings

WARM_UP = 2
"""Updates that are not measured, after a run's own warm-up: kernels are chosen and memory pools grow."""
MOST_BATCHES = 8
"""Global batches that are kept in memory and used in turn."""
FEW, MOST_UPDATES = 3, 2000
LOADING, TRAINING = 0.25, 0.5
"""Parts of the time; the rest is for the evaluation."""
GEMM_S = 0.3
GEMM_SIDE = {"cuda": 8192, "cpu": 1024}

Facts = dict[str, Any]


class Alone(OctathlonError):
    """What ends a rehearsal on one of several ranks, while the others wait for it: only its end ends them."""


def rehearse(
    benchmark_class: type[Benchmark],
    settings: BenchmarkSettings,
    run: Run,
    seconds: float,
    turn: AbstractContextManager[Any],
) -> Facts:
    """Measure loading, training and evaluation; where memory is too small, with the largest half, quarter ... of the
    batch that fits, rounded down.

    Args:
        seconds: about how long it may take. Building, compiling and two evaluations come on top.
        turn: entered while the device is measured, where others rehearse on it too.

    Returns:
        `local_batch`, `wanted_local_batch`, `samples` of the data, `ready_s` (building, compiling and first batches),
        and a mapping for each of `loader`, `training`, `evaluation` and, of a benchmark that makes its
        samples, `epoch`; numbers in seconds, bytes, samples.

    Raises:
        OctathlonError: on all ranks, if the settings don't fit the data or the machine, or not even one sample fits its
            memory.
        Alone: on a rank that can't go on once the ranks work together.
    """
    wanted = settings.local_batch_size(run.world)
    while True:
        try:
            facts = _measure(benchmark_class, settings, run, seconds, turn)
            return facts | {"wanted_local_batch": wanted, "local_batch": settings.local_batch_size(run.world)}
        except torch.OutOfMemoryError:
            fits = settings.local_batch_size(run.world) // 2
            if not fits:
                raise OctathlonError(
                    f"one sample needs more memory than {run.device} has: rehearse on a device with more"
                ) from None
            parts = run.world * settings.gradient_accumulation_steps
            settings = settings.model_copy(update={"global_batch_size": fits * parts})


def _measure(
    benchmark_class: type[Benchmark],
    settings: BenchmarkSettings,
    run: Run,
    seconds: float,
    turn: AbstractContextManager[Any],
) -> Facts:
    _forget_the_last(run.device)
    start = time.perf_counter()
    with _on_all():
        benchmark = benchmark_class(settings.model_copy(update={"loader_workers": 0}), run)
        seed_alike(run.seed)
        model = benchmark.build_model()
        optimizer, _ = benchmark.build_optimizer(model)
    seed_rank(run.seed, run.rank)
    model.train()
    with _alone(run):
        batches, loader = _load(benchmark, seconds * LOADING)
        updates = _Updates(benchmark, model, optimizer, batches)
    with _on_all():
        updates.first()  # which compiles
    with _alone(run):
        ready = time.perf_counter() - start
        with turn:
            training = _train(benchmark, updates, seconds * TRAINING)
            epoch = dict(benchmark.rehearse_epoch(model, seconds * (1 - LOADING - TRAINING)))
            # Evaluations are as a run does them: with the workers that are of no use to training on kept batches.
            benchmark.settings = settings
            evaluation = None if benchmark.evaluates_off_the_clock else _evaluate(benchmark, model)
    counts = benchmark.sample_counts()
    return {
        "samples": {"train": counts.train, "evaluation": counts.evaluation},
        "ready_s": ready,
        "loader": loader,
        "training": training | _peaks(run.device),
        "evaluation": evaluation,
        "epoch": epoch,
    }


@contextmanager
def _on_all() -> Iterator[None]:
    """What ends the block on one rank ends it on all, in which no rank waits for another.

    Raises:
        torch.OutOfMemoryError, OctathlonError: the first rank's that has one.
    """
    fault: Exception | None = None
    try:
        yield
    except (torch.OutOfMemoryError, OctathlonError) as error:
        fault = type(error)(str(error))  # without the trace, which keeps tensors
    fault = next(filter(None, world.all_objects(fault)), None)
    if fault:
        raise fault


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """What ends the block on one of several ranks is not heard by the others, which wait for it.

    Raises:
        Alone: instead of an error of one of several ranks.
    """
    try:
        yield
    except (torch.OutOfMemoryError, OctathlonError) as error:
        if run.world == 1:
            raise
        short = isinstance(error, torch.OutOfMemoryError)
        reason = "out of memory; rehearse with a smaller global_batch_size" if short else error
        raise Alone(f"rank {run.rank}, for which the others wait: {reason}") from None


class _Enough(Exception):  # noqa: N818 - it is no error
    """Ends a block of training."""


class _Collector:
    """A `contracts.Trainer` that keeps batches instead of training on them."""

    def __init__(self, benchmark: Benchmark, seconds: float) -> None:
        self.progress = Progress(train_samples=benchmark.sample_counts().train)
        self.updates: list[list[Batch]] = [[]]
        self._benchmark = benchmark
        self._weight = 0.0
        self._deadline = time.perf_counter() + seconds
        self._times: list[float] = []

    @property
    def seconds_per_update(self) -> float:
        """Without the first one, for which files are opened."""
        return (self._times[-1] - self._times[0]) / (len(self._times) - 1)

    def step(self, batch: Batch) -> None:
        self.updates[-1].append(_pinned(batch) if self._benchmark.run.device.type == "cuda" else batch)
        self._weight += self._benchmark.weight(batch)
        if self._weight > 1 - 1e-6:
            self._times.append(time.perf_counter())
            late = len(self.updates) > 1 and self._times[-1] > self._deadline
            if late or len(self.updates) == MOST_BATCHES:
                raise _Enough
            self._weight = 0.0
            self.updates.append([])

    def end_epoch(self) -> None:
        self.progress.epochs += 1

    def check_losses(self) -> None:
        """There are none."""

    def point(self, key: str, value: Any, **metadata: Any) -> None:
        """There is no log."""


def _pinned(batch: Batch) -> Batch:
    """In memory that a GPU copies from, as the loader's worker would leave it."""
    from torch.utils.data._utils.pin_memory import pin_memory

    return pin_memory(batch)


def _load(benchmark: Benchmark, seconds: float) -> tuple[list[list[Batch]], Facts]:
    """The micro-batches of a few global batches, and how fast one process made them."""
    collector = _Collector(benchmark, seconds)
    with suppress(_Enough):
        benchmark.train_block(collector, math.inf)
    samples = benchmark.settings.global_batch_size / benchmark.run.world
    return collector.updates, {"samples_per_s": samples / collector.seconds_per_update}


class _Still:
    """A schedule that keeps all rates at 0. What is learnt from noise, again and again from a few batches, diverges, or
    has detectors find objects everywhere."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._groups = optimizer.param_groups

    def set(self, _progress: Progress) -> float:
        for group in self._groups:
            group["lr"] = 0.0
        return 0.0


class _Updates:
    """Steps through the trainer, a global batch at a time, with a stopwatch at the seams of a step."""

    def __init__(
        self,
        benchmark: Benchmark,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: list[list[Batch]],
    ) -> None:
        self.stopwatch = Stopwatch(benchmark.run.device)
        self._batches = batches
        self._done = 0
        if not benchmark.captured:  # a graph has no seams
            self._phases(benchmark)
        self.trainer = StepTrainer(benchmark, model, optimizer, _Still(optimizer), events=None)

    def first(self) -> None:
        """As before a run, on the largest batch there may be; then an update, for which the optimizer takes its memory.
        Gradients stay with their ranks."""
        with self.trainer.unsynchronised():
            self.trainer.warm_up()
            self.next()

    def next(self) -> None:
        """One update."""
        for batch in self._batches[self._done % len(self._batches)]:
            self.trainer.step(batch)
        self._done += 1

    def timed(self, count: int) -> list[dict[str, float]]:
        """That many updates, and the seconds of each by phase. Waits for the device only after the last one, as a run
        would."""
        for _ in range(count):
            self.stopwatch.begin("rest")
            self.next()
            self.stopwatch.lap()
        return self.stopwatch.laps()

    def timed_for(self, seconds: float) -> list[dict[str, float]]:
        """As many updates as fit, by the first few of them and on all ranks alike."""
        first = self.timed(FEW)
        typical = statistics.median(_totals(first))
        return first + self.timed(world.from_first(min(int(seconds / typical), MOST_UPDATES)))

    def _phases(self, benchmark: Benchmark) -> None:
        begin, loss, update = self.stopwatch.begin, benchmark.loss, benchmark.update

        def timed_loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
            def forward(*arguments: Any) -> Any:
                begin("forward")
                result = model(*arguments)
                begin("loss")
                return result

            begin("input")
            value = loss(forward, batch)
            begin("backward")
            return value

        def timed_update(*arguments: Any) -> None:
            begin("optimizer")
            update(*arguments)
            begin("rest")

        benchmark.loss, benchmark.update = timed_loss, timed_update


def _train(benchmark: Benchmark, updates: _Updates, seconds: float) -> Facts:
    updates.timed(WARM_UP)
    counter = FlopCounterMode(display=False)
    with uncompiled(), counter:
        updates.next()
    synchronisations = count_synchronisations(benchmark.run.device, updates.next)
    phases = updates.timed_for(seconds)
    times = sorted(_totals(phases))
    median = statistics.median(times)
    peak = _gemm_rate(benchmark)
    facts = {
        "updates": len(times),
        "median_s": median,
        "p95_s": times[math.ceil(0.95 * len(times)) - 1],
        "samples_per_s": benchmark.settings.global_batch_size / median,
        "flops": counter.get_total_flops(),
        "gemm_flops_per_s": peak,
        "share_of_gemm": counter.get_total_flops() / median / peak,
        "synchronisations": dict(synchronisations),
        "shares": _shares(phases),
        "kernels": slowest_kernels(benchmark.run.device, updates.next),
    }
    if benchmark.run.world > 1:
        with updates.trainer.unsynchronised():
            alone = updates.timed_for(seconds / 4)
        facts["shares"]["exchange"] = max(1 - statistics.median(_totals(alone)) / median, 0)
    return facts


def _totals(phases: list[dict[str, float]]) -> list[float]:
    return [sum(each.values()) for each in phases]


def _shares(phases: list[dict[str, float]]) -> dict[str, float]:
    """Each phase's part of the whole time; what a phase is, see `_Updates`."""
    total = sum(_totals(phases))
    names = {name for each in phases for name in each}
    return {name: sum(each.get(name, 0) for each in phases) / total for name in sorted(names)}


def _gemm_rate(benchmark: Benchmark) -> float:
    """FLOP/s of a large product of matrices in the run's precision: what no step can exceed."""
    device = benchmark.run.device
    dtype = torch.bfloat16 if benchmark.settings.precision == "bf16" else torch.float32
    side = GEMM_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    stopwatch, deadline = Stopwatch(device), time.perf_counter() + GEMM_S
    fastest = math.inf
    while time.perf_counter() < deadline:
        stopwatch.begin("product")
        left @ right
        stopwatch.lap()
        fastest = min(fastest, *_totals(stopwatch.laps()))
    return 2 * side**3 / fastest


def _evaluate(benchmark: Benchmark, model: torch.nn.Module) -> Facts:
    """Of the first evaluation, which also starts workers, opens files and chooses kernels, and of another one."""
    first, took = (_timed_evaluation(benchmark, model) for _ in range(2))
    samples = benchmark.sample_counts().evaluation
    return {"first_s": first, "samples": samples, "seconds": took, "samples_per_s": samples / took}


def _timed_evaluation(benchmark: Benchmark, model: torch.nn.Module) -> float:
    start = time.perf_counter()
    evaluate(benchmark, model)  # gives numbers, so the device has finished
    return time.perf_counter() - start


def _forget_the_last(device: torch.device) -> None:
    """Free what is left of the last rehearsal, which refers to itself, and let the peaks of memory begin anew."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    Path("/proc/self/clear_refs").write_text("5")


def _peaks(device: torch.device) -> dict[str, int]:
    """Bytes of host and device that were in use at most; the host's with those of finished worker processes."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    peaks = {"host_bytes": int(line.split()[1]) * 1024}
    if device.type == "cuda":
        peaks["device_bytes"] = torch.cuda.max_memory_allocated(device)
    return peaks
