"""Light-weight object detection: SSD-ResNet34 on COCO (MLPerf Training v1.1, `ssd`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor, nn

from octathlon.benchmarks.detection import Detection
from octathlon.benchmarks.ssd.augment import recolour
from octathlon.benchmarks.ssd.boxes import default_boxes, detect, encode, match
from octathlon.benchmarks.ssd.data import Batch, EvaluationBatches, Key, TrainingBatches
from octathlon.benchmarks.ssd.loss import detection_loss
from octathlon.benchmarks.ssd.model import SSD, reference_names
from octathlon.benchmarks.ssd.schedule import WarmupAndDrops
from octathlon.benchmarks.ssd.settings import Settings
from octathlon.contracts import Run, Schedule
from octathlon.datasets.coco.loader import backbone
from octathlon.nn.optimizers import UncompiledSGD
from octathlon.nn.pixels import layout
from octathlon.nn.sampling import all_rank_batches, epoch_order, share_batches
from octathlon.nn.suppression import rows_of_images
from octathlon.nn.world import average_batch_norm

MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class LightDetection(Detection[Settings]):
    """The contract's members for ssd."""

    detector = "ssd"

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._defaults = default_boxes(settings).to(run.device)
        self._mean, self._std = (
            torch.tensor(values, device=run.device).view(3, 1, 1) for values in (MEAN_RGB, STD_RGB)
        )
        self._next_epoch = 0

    def build_model(self) -> nn.Module:
        model = SSD(self.settings, len(self._categories))
        model.backbone.load(backbone(self.run.data, "resnet34"))
        return model.to(self.run.device, memory_format=layout(self.settings))

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return reference_names(self.settings.blocks, len(self.settings.extras))

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        settings = self.settings
        optimizer = UncompiledSGD(
            model.parameters(),
            settings.base_learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        return optimizer, WarmupAndDrops(optimizer, settings, self._warmup_steps)

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        return (model,)

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            "opt_name": "sgd",
            "model_bn_span": self._local_batch,
            "max_samples": settings.max_samples,
            "opt_base_learning_rate": settings.base_learning_rate,
            "opt_learning_rate_warmup_factor": settings.warmup_factor,
            "opt_learning_rate_warmup_steps": self._warmup_steps,
            "opt_learning_rate_decay_boundary_epochs": list(settings.decay_epochs),
            "opt_weight_decay": settings.weight_decay,
        }

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """One stream over all epochs, so that the workers never wait for an epoch or an evaluation to end."""
        if epoch != self._next_epoch:
            self._training = iter(self._load_training(epoch, first))
        self._next_epoch = epoch + 1
        whole = math.ceil(self.sample_counts().train / (self._local_batch * self.run.world))
        return islice(self._training, whole - first)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self.run.device)
        locations, logits = model(self._normalise(recolour(batch.images, batch.colours)))
        index, labels = match(batch.boxes, batch.labels, self._defaults)
        boxes = batch.boxes.gather(1, index[..., None].expand(-1, -1, 4))
        offsets = encode(boxes, self._defaults).transpose(1, 2)
        return detection_loss(locations.float(), logits.float(), offsets, labels)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Box AP: each rank detects in its share of the images."""
        average_batch_norm(model)
        found = [torch.zeros(0, 7, dtype=torch.float64)]
        for numbers, images in zip(self._evaluation_keys, self._evaluation_batches, strict=True):
            locations, logits = model(self._normalise(images.to(self.run.device, non_blocking=True) / 255))
            found += self._detections(numbers, locations, logits)
        return {"mAP": self._evaluation.boxes(torch.cat(found))}

    def synthetic_batch(self) -> Batch:
        size, images = self.settings.image_size, self._local_batch
        return Batch(
            torch.randint(256, (images, 3, size, size), dtype=torch.uint8),
            torch.eye(3, 4).expand(images, 3, 4),
            torch.tensor([0.2, 0.2, 0.8, 0.8]).expand(images, 1, 4),
            torch.ones(images, 1, dtype=torch.int64),
        )

    @property
    def _warmup_steps(self) -> int:
        return int(self.settings.warmup_epochs * self.sample_counts().train / self.settings.global_batch_size)

    def _normalise(self, images: Tensor) -> Tensor:
        images = (images - self._mean) / self._std
        return images.contiguous(memory_format=layout(self.settings))

    def _detections(self, numbers: Iterable[int], locations: Tensor, logits: Tensor) -> Iterator[Tensor]:
        """Each image's detections, see `_rows`."""
        rows = rows_of_images(detect(locations, logits, self._defaults), len(logits))
        for number, row in zip(numbers, rows, strict=True):
            image = self._validation.tables.images[number]
            boxes = row[:, :4].double() * torch.tensor([image["width"], image["height"]] * 2)
            boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
            yield self._rows(number, boxes, row[:, 4], row[:, 5].long())

    @cached_property
    def _evaluation_keys(self) -> list[range]:
        run = self.run
        return share_batches(self.sample_counts().evaluation, self._local_batch, run.rank, run.world)

    @cached_property
    def _evaluation_batches(self) -> Iterable[Tensor]:
        return self._load(
            EvaluationBatches(self._validation, self.settings.image_size), self._evaluation_keys
        )

    def _load_training(self, epoch: int, first: int) -> Iterable[Batch]:
        size, most = self.settings.image_size, self.settings.max_samples
        batches = TrainingBatches(self._training_split, size, most, self.run.seed)
        return self._load(batches, islice(self._training_keys(epoch), first, None))

    def _training_keys(self, first_epoch: int) -> Iterator[Key]:
        """This rank's micro-batches, from the start of `first_epoch` on without end: its part of each global batch in
        pieces, the last one of which may be smaller. An epoch's last global batch may have fewer of them."""
        images, size = self._training_split.training_images(self.detector), self._local_batch
        part = size * self.settings.gradient_accumulation_steps
        for epoch in count(first_epoch):
            order = images[epoch_order(len(images), self.run.seed, epoch)]
            for batch in all_rank_batches(order, part, self.run.rank, self.run.world):
                for numbers in (batch[start : start + size] for start in range(0, len(batch), size)):
                    yield epoch, numbers, len(numbers) / len(batch)


BENCHMARK = LightDetection
