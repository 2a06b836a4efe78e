"""Average precision as COCO defines it (https://cocodataset.org/#detection-eval), with the work spread over ranks.

Each rank brings the detections of its own images; all ranks then share all detections, and each evaluates some of
the categories over all images. Precision is averaged per category, so the sum over ranks is the value of one.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from torch import Tensor

from octathlon.nn import world


class Evaluation:
    """Evaluates against the truth in one file, which is read at the first use."""

    def __init__(self, truth: Path, device: torch.device) -> None:
        self._path, self._device = truth, device

    def boxes(self, detections: Tensor) -> float:
        """Mean average precision of boxes over IoU 0.50 to 0.95, at most 100 an image: COCOeval's stats[0].

        Args:
            detections: this rank's, of shape (N, 7): image id, left, top, width, height, score, category id.
        """
        gathered = self._gather(detections)
        return self._precision(gathered.numpy(), "bbox") if len(gathered) else 0.0

    def masks(self, detections: Tensor, masks: list[dict[str, Any]]) -> float:
        """The same of masks.

        Args:
            detections: as for `boxes`.
            masks: the mask of each, in COCO's compressed run lengths: {"size": [height, width], "counts": bytes}.
        """
        found = self._gather(detections)
        sizes = self._gather(torch.tensor([mask["size"] for mask in masks], dtype=torch.int64).view(-1, 2))
        counts = self._gather_bytes([mask["counts"] for mask in masks])
        results = [
            {"image_id": int(row[0]), "category_id": int(row[6]), "score": row[5], "segmentation": mask}
            for row, mask in zip(
                found.tolist(),
                ({"size": size, "counts": text} for size, text in zip(sizes.tolist(), counts, strict=True)),
                strict=True,
            )
        ]
        return self._precision(results, "segm") if results else 0.0

    def _precision(self, results: Any, kind: Literal["bbox", "segm"]) -> float:
        """Of all results, by all ranks together."""
        rank, ranks = world.rank(), world.size()
        categories = sorted(self._truth.getCatIds())[rank::ranks]
        total = np.zeros(2)
        if categories:
            evaluation = COCOeval_faster(
                self._truth, self._truth.loadRes(results), kind, rle_iou_max_workers=1
            )
            parameters = evaluation.params
            parameters.catIds = categories
            # the mean precision depends on no other area and number of detections
            parameters.areaRng, parameters.areaRngLbl = parameters.areaRng[:1], parameters.areaRngLbl[:1]
            parameters.maxDets = parameters.maxDets[-1:]
            evaluation.evaluate()
            evaluation.accumulate()
            precision = evaluation.eval["precision"]
            valid = precision[precision > -1]
            total[:] = valid.sum(), valid.size
        precisions, count = world.all_sum(torch.from_numpy(total).to(self._device)).tolist()
        return precisions / count if count else 0.0

    @cached_property
    def _truth(self) -> COCO:
        return COCO(str(self._path))

    def _gather(self, tensor: Tensor) -> Tensor:
        return world.all_gather(tensor.to(self._device)).cpu()

    def _gather_bytes(self, texts: list[bytes]) -> list[bytes]:
        lengths = self._gather(torch.tensor([len(text) for text in texts], dtype=torch.int64)).tolist()
        joined = torch.frombuffer(bytearray(b"".join(texts)) or bytearray(1), dtype=torch.uint8)
        content = self._gather(joined[: sum(map(len, texts))]).numpy().tobytes()
        ends = np.cumsum(lengths).tolist()
        return [content[end - length : end] for end, length in zip(ends, lengths, strict=True)]
