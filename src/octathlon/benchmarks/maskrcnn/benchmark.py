"""Heavy-weight object detection: Mask R-CNN on COCO (MLPerf Training v1.1, `maskrcnn`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, partial
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from octathlon.benchmarks.detection import Detection
from octathlon.benchmarks.maskrcnn.boxes import inclusive
from octathlon.benchmarks.maskrcnn.data import (
    MEAN_BGR,
    Batch,
    EvaluationBatches,
    Images,
    Key,
    Objects,
    TrainingBatches,
    Truth,
    collate,
    grouped_batches,
    portrait,
)
from octathlon.benchmarks.maskrcnn.masks import paste
from octathlon.benchmarks.maskrcnn.model import Detections, MaskRCNN, reference_names
from octathlon.benchmarks.maskrcnn.schedule import DROP, WarmupAndDrops, optimizer_of
from octathlon.benchmarks.maskrcnn.settings import Settings
from octathlon.contracts import Progress, Run, Schedule
from octathlon.datasets.coco.loader import backbone
from octathlon.nn.pixels import layout
from octathlon.nn.sampling import epoch_order, rank_share


class HeavyDetection(Detection[Settings]):
    """The contract's members for maskrcnn."""

    detector = "maskrcnn"
    fixed_shapes = False

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._mean = torch.tensor(MEAN_BGR, device=run.device).view(3, 1, 1)
        self._training: Iterator[Batch] | None = None

    def build_model(self) -> nn.Module:
        model = MaskRCNN(self.settings, len(self._categories))
        model.body.load(backbone(self.run.data, "resnet50"))
        return model.to(self.run.device, memory_format=layout(self.settings))

    def tensor_names(self, model: nn.Module) -> Iterable[str]:
        return reference_names()

    def build_optimizer(self, model: nn.Module) -> tuple[torch.optim.Optimizer, Schedule]:
        optimizer = optimizer_of(model, self.settings)
        return optimizer, WarmupAndDrops(optimizer, self.settings)

    def compiled_parts(self, model: nn.Module) -> Iterable[nn.Module]:
        """The networks: of the losses and proposals between them the shapes depend on the objects."""
        return model.body, model.pyramid, model.proposals, model.box_head, model.mask_head

    def hyperparameters(self) -> Mapping[str, Any]:
        settings = self.settings
        return {
            "opt_name": "sgd_with_momentum",
            "opt_base_learning_rate": settings.base_learning_rate,
            "opt_learning_rate_warmup_steps": settings.warmup_steps,
            "opt_learning_rate_warmup_factor": settings.warmup_factor,
            "opt_learning_rate_decay_factor": DROP,
            "opt_learning_rate_decay_steps": list(settings.decay_steps),
            "num_image_candidates": settings.image_candidates * self._local_batch,
            "min_image_size": settings.min_image_size,
            "max_image_size": settings.max_image_size,
        }

    def train_batches(self, epoch: int, first: int = 0) -> Iterable[Batch]:
        """An epoch is a number of steps: one more than full batches in the training set. The images come in a stream
        of passes of its own, whose small batches of either orientation make a pass a little longer."""
        steps = self.sample_counts().train // self.settings.global_batch_size + 1
        whole = steps * self.settings.gradient_accumulation_steps
        if self._training is None:
            self._training = iter(self._load_training((epoch - 1) * whole + first))
        return islice(self._training, whole - first)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        batch = batch.to(self.run.device)
        return sum(model(self._normalise(batch.images), batch.objects).values())

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Box and mask AP: each rank detects in its share of the images."""
        rows, masks = [torch.zeros(0, 7, dtype=torch.float64)], []
        for numbers, images in zip(self._evaluation_keys, self._evaluation_batches, strict=True):
            sizes = images.sizes.tolist()
            images = images.map(partial(Tensor.to, device=self.run.device, non_blocking=True))
            for number, size, found in zip(numbers, sizes, model(self._normalise(images)), strict=True):
                boxes, pasted = self._in_picture(number, size, found)
                rows.append(boxes)
                masks += pasted
        found = torch.cat(rows)
        return {"BBOX": self._evaluation.boxes(found), "SEGM": self._evaluation.masks(found, masks)}

    def epoch_num(self, progress: Progress) -> float:
        return progress.in_epochs()

    def synthetic_batch(self) -> Batch:
        """Of the largest shape, with two objects in each image."""
        return self._made_up(self._local_batch, [[0.1, 0.25, 0.4, 0.75], [0.6, 0.25, 0.9, 0.75]])

    def warm_up_batches(self) -> Iterable[Batch]:
        """And one image, as the rest of a pass may be, with an object so small that no region but its own finds it:
        one of something is what PyTorch compiles apart from any number."""
        yield self.synthetic_batch()
        yield self._made_up(1, [[0.5, 0.5, 0.502, 0.502]])

    def _made_up(self, images: int, shares: list[list[float]]) -> Batch:
        """Images of the largest shape with objects in boxes, as shares of their sides."""
        height, width = self.settings.min_image_size, self.settings.max_image_size
        picture = torch.randint(256, (3, height, width), dtype=torch.uint8)
        boxes = torch.tensor(shares) * torch.tensor([width, height] * 2)
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].view(-1, 1, 4, 2).numpy()
        truth = Truth(boxes, torch.ones(len(boxes), dtype=torch.int64), [list(each) for each in corners])
        return Batch(collate([picture] * images), Objects.of([truth] * images))

    def _normalise(self, images: Images) -> Images:
        return images.normalised(self._mean, layout(self.settings))

    def _in_picture(
        self, number: int, size: tuple[int, int], found: Detections
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        """One image's detections, see `_rows`, and their masks."""
        image = self._validation.tables.images[number]
        width, height = int(image["width"]), int(image["height"])
        scale = found.boxes.new_tensor([width / size[1], height / size[0]] * 2)
        corners = inclusive(found.boxes) * scale
        masks = paste(found.masks, corners, (height, width))
        boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2] + 1], 1)
        return self._rows(number, boxes, found.scores, found.labels), masks

    @cached_property
    def _evaluation_keys(self) -> list[np.ndarray]:
        """This rank's share; apart by orientation, mixed batches would have 1.5 times the pixels."""
        share = np.array(rank_share(self.sample_counts().evaluation, self.run.rank, self.run.world), int)
        return list(grouped_batches(share, portrait(self._validation)[share], self._local_batch))

    @cached_property
    def _evaluation_batches(self) -> Iterable[Images]:
        sides = self.settings.min_image_size, self.settings.max_image_size
        return self._load(EvaluationBatches(self._validation, *sides), self._evaluation_keys)

    def _load_training(self, first: int) -> Iterable[Batch]:
        sides = self.settings.min_image_size, self.settings.max_image_size
        batches = TrainingBatches(self._training_split, *sides, self.run.seed)
        return self._load(batches, islice(self._training_keys(), first, None))

    def _training_keys(self) -> Iterator[Key]:
        """This rank's micro-batches, of which some are small: they weigh in an update by their images."""
        batches = self._grouped()
        while True:
            update = list(islice(batches, self.settings.gradient_accumulation_steps))
            images = sum(len(numbers) for _, numbers in update)
            for turn, numbers in update:
                yield turn, numbers, len(numbers) / images

    def _grouped(self) -> Iterator[tuple[int, np.ndarray]]:
        """This rank's passes and batches: a contiguous part of each pass's permutation, all parts equally long."""
        images = self._training_split.training_images(self.detector)
        upright = portrait(self._training_split)
        length = -(-len(images) // self.run.world)
        for turn in count():
            order = epoch_order(len(images), self.run.seed, turn)
            padded = images[order.take(range(length * self.run.world), mode="wrap")]
            numbers = padded[length * self.run.rank :][:length]
            for batch in grouped_batches(numbers, upright[numbers], self._local_batch):
                yield turn, batch


BENCHMARK = HeavyDetection
