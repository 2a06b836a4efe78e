"""What ssd and maskrcnn share: images of COCO, and detections in them as COCO counts them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, ClassVar, Generic

import torch
from torch import Tensor
from torch.utils.data import Dataset

from octathlon.contracts import Benchmark, Run, SampleCounts, Settings
from octathlon.datasets.coco.loader import Split
from octathlon.nn.coco_evaluation import Evaluation
from octathlon.nn.loading import load


class Detection(Benchmark[Settings], Generic[Settings]):
    """The contract's members that are the same for both."""

    detector: ClassVar[str]
    """The name under which COCO was prepared for it: the images that it trains on are its own."""

    def __init__(self, settings: Settings, run: Run) -> None:
        super().__init__(settings, run)
        self._local_batch = settings.local_batch_size(run.world)
        self._categories = torch.tensor([0, *(category["id"] for category in run.manifest["categories"])])

    def sample_counts(self) -> SampleCounts:
        counts = self.run.manifest["counts"]
        return SampleCounts(counts["train"][self.detector], counts["eval"])

    def weight(self, batch: Any) -> float:
        return batch.weight

    def _rows(self, number: int, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """The K detections in an image of the validation set, as `Evaluation.boxes` takes them.

        Args:
            number: the image's.
            boxes: left, top, width and height in its pixels, (K, 4).
            scores: of shape (K,).
            labels: int64 (K,), from 1 on.
        """
        image = int(self._validation.tables.images[number]["id"])
        images = torch.full((len(boxes), 1), image, dtype=torch.float64)  # float32 holds no id beyond 2^24
        return torch.cat([images, boxes, torch.stack([scores, self._categories[labels]], 1)], 1)

    @cached_property
    def _training_split(self) -> Split:
        return Split(self.run.data, self.run.manifest, "train")

    @cached_property
    def _validation(self) -> Split:
        return Split(self.run.data, self.run.manifest, "val")

    @cached_property
    def _evaluation(self) -> Evaluation:
        return Evaluation(self.run.data / "val-truth.json", self.run.device)

    def _load(self, batches: Dataset[Any], keys: Iterable[Any]) -> Iterable[Any]:
        return load(
            batches,
            keys,
            workers=self.settings.loader_workers,
            pin_memory=self.run.device.type == "cuda",
        )
