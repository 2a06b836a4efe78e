"""Image segmentation: 3D U-Net on KiTS19 (MLPerf Training v1.1, `unet3d`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count, islice
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octathlon.benchmarks.unet3d.loss import dice_ce_loss, dice_score
from octathlon.benchmarks.unet3d.model import UNet3D, reference_names
from octathlon.benchmarks.unet3d.settings import Settings
from octathlon.benchmarks.unet3d.windows import fit, sliding_window, window_count
from octathlon.contracts import Benchmark, Cadence, Run, SampleCounts, Schedule
from octathlon.datasets.kits19.loader import Batch, Cases, Crops, Key, Volumes
from octathlon.nn.loading import load
from octathlon.nn.optimizers import UncompiledSGD
from octathlon.nn.pixels import layout
from octathlon.nn.sampling import balanced_share, epoch_order, rank_batches
from octathlon.nn.schedules import StepSchedule
from octathlon.nn.shared_memory import empty
from octathlon.nn.world import all_sum

EVALUATION_WORKERS = 2
"""Reading is faster than predicting, and a volume takes up to half a gigabyte."""


class ImageSegmentation(Benchmark[Settings]):
    """The contract's members for unet3d."""

    evaluates_like_training = True

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._steps_per_epoch = ceil(self.sample_counts().train / settings.global_batch_size)
        self._epoch_samples = self._steps_per_epoch * settings.global_batch_size
        self._next_epoch = 0
        self._evaluation: Iterable[Batch] | None = None

    def sample_counts(self) -> SampleCounts:
        counts = self.run.manifest["counts"]
        return SampleCounts(counts["train"], counts["eval"])

    def cadence(self) -> Cadence:
        """The settings count epochs of the training set; an epoch here is longer where its last batch is filled up."""
        planned, longer = super().cadence(), self._epoch_samples / self.sample_counts().train
        first, every, limit = (
            ceil(mark / longer - 1e-9) for mark in (planned.first, planned.every, planned.limit)
        )
        return Cadence(unit=planned.unit, first=first, every=every, limit=limit)

    def build_model(self) -> nn.Module:
        settings = self.settings
        classes = len(self.run.manifest["classes"])
        model = UNet3D(settings.filters, settings.bottleneck, classes)
        return model.to(self.run.device, memory_format=layout(settings, torch.channels_last_3d))

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        """All of it, so that instance norms read and write the layout of the convolutions: PyTorch's own kernels for
        them need the other one, and changing it there and back takes half of a step on a GPU."""
        return (model,)

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return reference_names(model)

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        optimizer = UncompiledSGD(
            model.parameters(),
            lr=settings.initial_learning_rate,
            momentum=settings.momentum,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
        return optimizer, StepSchedule(
            optimizer, lambda step: self.learning_rate(step // self._steps_per_epoch + 1)
        )

    def learning_rate(self, epoch: int) -> float:
        """Of a whole epoch (1-based): linear from the initial rate at epoch 0 to the base rate, then in steps."""
        settings = self.settings
        base, initial = settings.base_learning_rate, settings.initial_learning_rate
        if epoch <= settings.warmup_epochs:
            return initial + (base - initial) * epoch / settings.warmup_epochs
        return base * settings.decay_factor ** sum(epoch > drop for drop in settings.decay_epochs)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        shape = [settings.patch_size] * 3
        return {
            "opt_name": "sgd",
            "opt_base_learning_rate": settings.base_learning_rate,
            "opt_initial_learning_rate": settings.initial_learning_rate,
            "opt_learning_rate_warmup_epochs": settings.warmup_epochs,
            "opt_learning_rate_decay_boundary_epochs": list(settings.decay_epochs),
            "opt_learning_rate_decay_factor": settings.decay_factor,
            "opt_momentum": settings.momentum,
            "opt_weight_decay": settings.weight_decay,
            "oversampling": settings.oversampling,
            "training_input_shape": shape,
            "validation_input_shape": shape,
            "validation_overlap": settings.overlap,
            "samples_per_epoch": self._epoch_samples,
        }

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """One stream over all epochs, so that the workers never wait for an epoch or an evaluation to end."""
        if epoch != self._next_epoch:
            crops = Crops(
                self._cases("train"),
                self.settings.patch_size,
                self.settings.oversampling,
                self.run.seed,
                empty,
            )
            keys = islice(self._training_keys(epoch), first, None)
            self._training = iter(self._load(crops, keys, self.settings.loader_workers))
        self._next_epoch = epoch + 1
        return islice(
            self._training, self._steps_per_epoch * self.settings.gradient_accumulation_steps - first
        )

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        images, labels = (tensor.to(self.run.device, non_blocking=True) for tensor in batch)
        return dice_ce_loss(model(images).float(), labels)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The mean over volumes and classes of the Dice: each rank sums up its share of the volumes."""
        if self._evaluation is None:
            cases = self._cases("eval")
            workers = min(self.settings.loader_workers, EVALUATION_WORKERS)
            self._evaluation = self._load(Volumes(cases, empty), self._evaluation_share(cases), workers)
        total = torch.zeros(len(self.run.manifest["classes"]) - 1, device=self.run.device)
        for volumes in self._evaluation:
            total += self._score(model, volumes)
        return {"mean_DICE": all_sum(total).mean().item() / self.sample_counts().evaluation}

    def synthetic_batch(self) -> Batch:
        size = self.settings.patch_size
        images = torch.rand(self._local_batch, 1, size, size, size)
        return images, torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.uint8)

    def _score(self, model: nn.Module, volumes: Batch) -> Tensor:
        """The Dice of each foreground class of one volume, float32 of shape (classes - 1,)."""
        settings = self.settings
        image, label = (tensor.to(self.run.device, non_blocking=True) for tensor in volumes)
        part = (..., *(fit(size, settings.stride) for size in label.shape[1:]))
        logits = sliding_window(model, image[part], settings.patch_size, settings.stride, self._local_batch)
        return dice_score(logits, label[part])[0]

    def _training_keys(self, first_epoch: int) -> Iterator[Key]:
        """This rank's micro-batches, from the start of `first_epoch` on without end."""
        for epoch in count(first_epoch):
            order = epoch_order(self.sample_counts().train, self.run.seed, epoch)
            numbers = np.resize(order, self._epoch_samples)  # the last batch is filled up from the beginning
            for places in rank_batches(
                np.arange(len(numbers)), self._local_batch, self.run.rank, self.run.world
            ):
                yield epoch, places, numbers[places]

    def _evaluation_share(self, cases: Cases) -> list[int]:
        size, stride = self.settings.patch_size, self.settings.stride
        costs = [window_count(facts["shape"], size, stride) for facts in cases.facts]
        return balanced_share(costs, self.run.rank, self.run.world)

    def _cases(self, split: str) -> Cases:
        return Cases(self.run.data, self.run.manifest, split)

    def _load(self, dataset: Crops | Volumes, keys: Iterable[Any], workers: int) -> Iterable[Batch]:
        return load(dataset, keys, workers=workers, pin_memory=self.run.device.type == "cuda")


BENCHMARK = ImageSegmentation
