"""Image classification: ResNet v1.5 on ImageNet (MLPerf Training v1.1, `resnet`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from octathlon.benchmarks.resnet.model import ResNet, reference_name
from octathlon.benchmarks.resnet.settings import Settings
from octathlon.contracts import Benchmark, Run, SampleCounts, Schedule
from octathlon.datasets.imagenet.loader import (
    MEAN_RGB,
    Batch,
    Batches,
    CentralCrop,
    Images,
    Key,
    RandomCrops,
    Transform,
)
from octathlon.datasets.imagenet.undecoded import Undecoded, UndecodedBatches, made_up
from octathlon.errors import OctathlonError
from octathlon.nn.lars import LARS, SGD
from octathlon.nn.loading import load
from octathlon.nn.pixels import layout, subtract
from octathlon.nn.sampling import epoch_order, rank_batches, share_batches
from octathlon.nn.schedules import StepSchedule, warmup_polynomial
from octathlon.nn.shared_memory import empty
from octathlon.nn.world import all_sum, average_batch_norm

AnyBatch = Batch | tuple[Undecoded, Tensor]
"""Images, or JPEGs that become images on the device, and labels."""


class ImageClassification(Benchmark[Settings]):
    """The contract's members for resnet."""

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._steps_per_epoch = self.sample_counts().train // settings.global_batch_size
        self._mean = torch.tensor(MEAN_RGB, device=run.device).view(3, 1, 1)
        if not self._steps_per_epoch:
            raise OctathlonError(
                f"global_batch_size {settings.global_batch_size} is more than the "
                f"{self.sample_counts().train} training images: choose a smaller one"
            )
        self._next_epoch = 0
        self._evaluation: Iterable[AnyBatch] | None = None

    def sample_counts(self) -> SampleCounts:
        counts = self.run.manifest["counts"]
        return SampleCounts(counts["train"], counts["eval"])

    def build_model(self) -> nn.Module:
        classes = len(self.run.manifest["classes"])
        model = ResNet(self.settings.blocks, self.settings.width, classes)
        return model.to(self.run.device, memory_format=layout(self.settings))

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return [reference_name(name) for name, _ in model.named_parameters()]

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        optimizer = _optimizer(model, settings)
        rate = partial(
            warmup_polynomial,
            base=settings.base_learning_rate,
            end=settings.end_learning_rate,
            warmup_steps=self._warmup_steps,
            decay_steps=self._decay_steps,
            power=settings.decay_power,
        )
        return optimizer, StepSchedule(optimizer, rate)

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        return (model,)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        prefix = f"{settings.optimizer}_opt"
        common = {
            "opt_name": settings.optimizer,
            "model_bn_span": self._local_batch,
            f"{prefix}_base_learning_rate": settings.base_learning_rate,
            f"{prefix}_end_learning_rate": settings.end_learning_rate,
            f"{prefix}_learning_rate_decay_poly_power": settings.decay_power,
            f"{prefix}_learning_rate_decay_steps": self._decay_steps,
            f"{prefix}_momentum": settings.momentum,
            f"{prefix}_weight_decay": settings.weight_decay,
        }
        if settings.optimizer == "sgd":
            return common | {"opt_learning_rate_warmup_epochs": settings.warmup_epochs}
        return common | {"lars_opt_learning_rate_warmup_epochs": settings.warmup_epochs, "lars_epsilon": 0.0}

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[AnyBatch]:
        """One stream over all epochs, so that the workers never wait for an epoch or an evaluation to end."""
        if epoch != self._next_epoch:
            keys = islice(self._training_keys(epoch), first, None)
            self._training = iter(self._load("train", self._crops, keys))
        self._next_epoch = epoch + 1
        return islice(
            self._training, self._steps_per_epoch * self.settings.gradient_accumulation_steps - first
        )

    def loss(self, model: nn.Module, batch: AnyBatch) -> Tensor:
        images, labels = batch
        logits = model(self._normalise(images)).float()
        labels = labels.to(self.run.device, non_blocking=True)
        return cross_entropy(logits, labels, label_smoothing=self.settings.label_smoothing)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Top-1 accuracy: each rank counts the hits of its share."""
        average_batch_norm(model)
        if self._evaluation is None:
            self._evaluation = self._load_evaluation()
        hits = torch.zeros((), dtype=torch.int64, device=self.run.device)
        for images, labels in self._evaluation:
            logits = model(self._normalise(images))
            hits += (logits.argmax(1) == labels.to(hits.device, non_blocking=True)).sum()
        return {"accuracy": all_sum(hits).item() / self.sample_counts().evaluation}

    def synthetic_batch(self) -> AnyBatch:
        size = self.settings.image_size
        labels = torch.zeros(self._local_batch, dtype=torch.int64)
        if self.settings.decode_on_device:
            return made_up(self._local_batch, self._crops), labels
        images = torch.randint(256, (self._local_batch, 3, size, size), dtype=torch.uint8)
        return images.contiguous(memory_format=torch.channels_last), labels

    @property
    def _crops(self) -> RandomCrops:
        return RandomCrops(self.settings.image_size, self.run.seed)

    @property
    def _warmup_steps(self) -> int:
        return self.settings.warmup_epochs * self._steps_per_epoch

    @property
    def _decay_steps(self) -> int:
        return self.settings.planned_epochs * self._steps_per_epoch - self._warmup_steps + 1

    def _normalise(self, images: Tensor | Undecoded) -> Tensor:
        images = images.to(self.run.device, non_blocking=True)
        return subtract(images, self._mean, layout(self.settings))

    def _training_keys(self, first_epoch: int) -> Iterator[Key]:
        """This rank's micro-batches, from the start of `first_epoch` on without end; whole updates only."""
        used = self._steps_per_epoch * self.settings.global_batch_size
        for epoch in count(first_epoch):
            order = epoch_order(self.sample_counts().train, self.run.seed, epoch)[:used]
            for numbers in rank_batches(order, self._local_batch, self.run.rank, self.run.world):
                yield epoch, numbers

    def _load_evaluation(self) -> Iterable[AnyBatch]:
        run, samples = self.run, self.sample_counts().evaluation
        keys = [(0, batch) for batch in share_batches(samples, self._local_batch, run.rank, run.world)]
        transform = CentralCrop(self.settings.image_size, self.settings.eval_short_side)
        return self._load("eval", transform, keys)

    def _load(self, split: str, transform: Transform, keys: Iterable[Key]) -> Iterable[AnyBatch]:
        kind = UndecodedBatches if self.settings.decode_on_device else Batches
        return load(
            kind(Images(self.run.data, self.run.manifest, split), transform, empty),
            keys,
            workers=self.settings.loader_workers,
            pin_memory=self.run.device.type == "cuda",
        )


def _optimizer(model: nn.Module, settings: Settings) -> SGD:
    """Batch norms are neither decayed nor adapted; the last layer's bias is decayed by SGD, not by LARS."""
    lars = settings.optimizer == "lars"
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        regularised = parameter.ndim > 1 or (name == "fc.bias" and not lars)
        (decayed if regularised else plain).append(parameter)
    if lars:
        weights = {"params": decayed, "weight_decay": settings.weight_decay, "adapt": True}
        return LARS([weights, {"params": plain}], momentum=settings.momentum)
    # The reference adds weight_decay * w**2 to the loss, whose gradient has a factor 2.
    weights = {"params": decayed, "weight_decay": 2 * settings.weight_decay}
    return SGD([weights, {"params": plain}], momentum=settings.momentum)


BENCHMARK = ImageClassification
