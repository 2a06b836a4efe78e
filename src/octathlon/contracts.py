"""The file to read first: what a benchmark is, in the words of the MLPerf rules.

A benchmark says WHAT is trained (model, data, loss, quality); the harness owns WHEN and HOW it is timed (clock, seeds,
ranks, log, stop). A benchmark therefore has no loop, clock, seed or log of its own, and the harness knows no benchmark.

The shapes here serve all eight events: data sets counted in epochs (resnet, ssd, maskrcnn, rnnt, unet3d), in samples
(bert, dlrm) and in generations of self-play (minigo, which makes its own samples, replaces `train_block` and is
evaluated off the clock).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from octathlon.settings import BenchmarkSettings

Settings = TypeVar("Settings", bound="BenchmarkSettings")
Batch = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The quality that stops the clock: every metric must meet its threshold in one and the same evaluation."""

    thresholds: Mapping[str, float]
    higher_is_better: bool = True

    def reached(self, quality: Mapping[str, float]) -> bool:
        """True if `quality` meets every threshold; a missing metric or a NaN never does."""
        if self.higher_is_better:
            return all(quality.get(name, float("nan")) >= value for name, value in self.thresholds.items())
        return all(quality.get(name, float("nan")) <= value for name, value in self.thresholds.items())

    def missed(self) -> dict[str, float]:
        """The quality of a model that gets nothing right: rates of 0, or error rates of 1."""
        return dict.fromkeys(self.thresholds, 0.0 if self.higher_is_better else 1.0)

    def value(self, quality: Mapping[str, float]) -> float | dict[str, float]:
        """`quality` as `eval_accuracy` logs it: a number, or an object where there are several metrics."""
        values = {name: float(quality[name]) for name in self.thresholds}
        return next(iter(values.values())) if len(values) == 1 else values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """When to evaluate: first after `first` units, then every `every` units, giving up after `limit` units.

    The unit is an epoch (whole or a fraction; for minigo a generation) or a training sample. An evaluation follows
    the first step at which the mark is reached.
    """

    unit: Literal["epochs", "samples"]
    first: float
    every: float
    limit: float

    def marks(self) -> Iterator[float]:
        """The evaluation points, in units; the last one is the limit."""
        count = 0
        while (mark := self.first + count * self.every) < self.limit * (1 - 1e-9):
            yield mark
            count += 1
        yield self.limit


@dataclass(slots=True)
class Progress:
    """How far a run is. Samples are global: counted over all ranks."""

    train_samples: int
    """Samples of one epoch; 0 where there are no epochs over data (minigo)."""
    steps: int = 0
    """Optimizer updates made."""
    samples: int = 0
    """Training samples of these updates."""
    epochs: int = 0
    """Epochs finished."""
    epoch_samples: int = 0
    """Those of the current epoch."""
    epoch_batches: int = 0
    """Micro-batches of the current epoch that a rank has trained on."""

    def in_epochs(self) -> float:
        """Epochs done, with the fraction of the current one, which is whole only when its batches have ended."""
        fraction = self.epoch_samples / self.train_samples if self.train_samples else 0
        return self.epochs + min(fraction, 1 - 1e-6)

    def reached(self, mark: float, unit: str) -> bool:
        """True when `mark` units are done."""
        return (self.in_epochs() if unit == "epochs" else self.samples) >= mark * (1 - 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One rank's view of one timed run. `data` and `manifest` are None for a benchmark without a data set."""

    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1
    data: Path | None = None
    """The prepared data set's folder: not to be opened before `run_start` (only the manifest is)."""
    manifest: Mapping[str, Any] | None = None
    log: Path | None = None
    """Where the log will be. What a benchmark leaves beside it has the log's name and another suffix."""


class Schedule(Protocol):
    """Sets the learning rate of the optimizer that it was made for, once before each update."""

    def set(self, progress: Progress) -> float:
        """Set and return the rate of the update that follows `progress.steps` finished ones."""
        ...


class Trainer(Protocol):
    """The harness's hands, given to `train_block`."""

    progress: Progress

    def step(self, batch: Batch) -> None:
        """Forward, backward and, when a global batch is complete, reduce and update."""
        ...

    def end_epoch(self) -> None:
        """Count a finished epoch (or generation)."""
        ...

    def check_losses(self) -> None:
        """End the run here if a loss was not finite. Else a diverged run goes on until the next of the regular checks,
        which follow some updates and each block."""
        ...

    def point(self, key: str, value: Any, **metadata: Any) -> None:
        """Log one more event, e.g. how many games a generation played."""
        ...


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """Samples of one training epoch and of the evaluation set, as `train_samples` and `eval_samples` log them."""

    train: int
    evaluation: int


class Benchmark(ABC, Generic[Settings]):
    """One event of the suite. Subclasses write the abstract members and override few of the others.

    Batches are per rank: a benchmark that is one of `run.world` ranks yields its part of every global micro-batch,
    `settings.local_batch_size(run.world)` samples of it.
    """

    evaluates_off_the_clock: ClassVar[bool] = False
    """Whether the rules time only the training of the checkpoint that meets the target, as minigo's do."""
    fixed_shapes: ClassVar[bool] = True
    """Whether all training batches have one shape, for which it pays to try out which kernels are fastest."""
    evaluates_like_training: ClassVar[bool] = False
    """Whether the model is evaluated on batches of the training shapes: what is compiled off the clock serves both
    then. Else evaluations are eager, or the clock would run while they are compiled."""
    loads_in_processes: ClassVar[bool] = True
    """Whether `loader_workers` are processes, which need shared memory for their batches."""
    logs_trained_samples: ClassVar[bool] = False
    """True where `train_samples` is what a run trained on, logged at its end, instead of the data set's size."""

    def __init__(self, settings: Settings, run: Run) -> None:
        self.settings = settings
        self.run = run
        self._batches: Iterator[Batch] | None = None

    # What every benchmark writes -------------------------------------------------------------------------------

    @abstractmethod
    def build_model(self) -> nn.Module:
        """The initialised model on `run.device`. Random numbers come from torch's global generator, which the
        harness seeds alike on all ranks."""

    @abstractmethod
    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        """The optimizer and its schedule, for the model as `build_model` made it."""

    @abstractmethod
    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """This rank's part of each micro-batch of `epoch` (1-based): whole global batches, or the rest is given up.
        The first touch of the training data.

        Args:
            first: how many to leave out at the start, unread: a resumed run has trained on them.
        """

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of this rank's part of the batch; the harness averages the gradients over ranks. `model` may
        be wrapped: call it, once, and use nothing else of it."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Quality over the full evaluation set, by all ranks together; the same value on each."""

    @abstractmethod
    def sample_counts(self) -> SampleCounts:
        """Sizes of the training and the evaluation set, from the manifest."""

    @abstractmethod
    def hyperparameters(self) -> Mapping[str, Any]:
        """What the round wants in the log before run_start, under the round's names (`opt_...`). The harness adds
        seed, global_batch_size, gradient_accumulation_steps, train_samples, eval_samples and weights_initialization."""

    @abstractmethod
    def synthetic_batch(self) -> Batch:
        """A made-up batch of the training shapes, as large as any."""

    # Defaults that few override --------------------------------------------------------------------------------

    def warm_up_batches(self) -> Iterable[Batch]:
        """What the harness warms up on, off the clock, without an update: with the largest one first, as many as there
        are kinds of shapes that are compiled apart; default: the synthetic batch."""
        return [self.synthetic_batch()]

    def target(self) -> Target:
        """The quality target; default: the settings'."""
        return Target(thresholds=self.settings.target, higher_is_better=self.settings.higher_is_better)

    def cadence(self) -> Cadence:
        """The evaluation points; default: the settings'."""
        return Cadence(**self.settings.cadence.model_dump())

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        """The names that `weights_initialization` logs; default: the model's own."""
        return [name for name, _ in model.named_parameters()]

    def epoch_num(self, progress: Progress) -> float:
        """The `epoch_num` under which an evaluation is logged; default: epochs finished."""
        return progress.epochs

    def sharded_parameters(self, model: nn.Module) -> Iterable[str]:
        """Names of parameters that differ from rank to rank and keep out of the gradient reduction; default: none.
        Their gradients must already be those of the global mean loss."""
        return ()

    def evaluated(self, model: nn.Module) -> nn.Module:
        """What `evaluate` judges, and what is kept after a run; default: the model."""
        return model

    def state(self) -> Mapping[str, Tensor]:
        """What training depends on beside model, optimizer, progress, random numbers and what `evaluated` gives;
        default: nothing. What of it `seed`, epoch and `epoch_batches` tell is none of it."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from another run's `state`.

        Raises:
            ValueError: if it can't be one.
        """
        if state:
            raise ValueError(f"{', '.join(state)}: not known")

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        """What torch.compile is let loose on, part by part, if the settings say so; default: the model's children.
        Parts of the same code and shapes are compiled once."""
        return model.children()

    @property
    def captured(self) -> bool:
        """Whether updates are replayed as one CUDA graph, see `harness.capture`: where a global batch is one tensor of
        one shape, and a step depends on nothing else; default: no."""
        return False

    def weight(self, batch: Batch) -> float:
        """A micro-batch's part of what this rank has of the global batch; default: all are alike. The update follows
        when these make up 1, after as many micro-batches on all ranks. Override where some may be smaller."""
        return 1 / self.settings.gradient_accumulation_steps

    def update(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """One update from the reduced gradients; override to clip them first, or to average weights after it."""
        optimizer.step()

    def rehearse_epoch(self, model: nn.Module, seconds: float) -> Mapping[str, float]:
        """For a benchmark that makes its own samples: `samples` of an epoch, and the `seconds` that all ranks take to
        make them, judged by about `seconds` of it, after a block was begun; default: nothing, as data say it."""
        return {}

    def train_block(self, trainer: Trainer, mark: float) -> None:
        """Train until `mark` (in units of the cadence); default: walk through `train_batches`, epoch after epoch."""
        unit = self.cadence().unit
        while not trainer.progress.reached(mark, unit):
            if self._batches is None:
                done = trainer.progress
                self._batches = iter(self.train_batches(done.epochs + 1, done.epoch_batches))
            batch = next(self._batches, None)
            if batch is None:
                self._batches = None
                trainer.end_epoch()
            else:
                trainer.step(batch)
