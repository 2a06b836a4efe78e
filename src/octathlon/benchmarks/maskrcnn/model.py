"""Mask R-CNN (He et al. 2017, arXiv:1703.06870) as the round's reference builds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead

from octathlon.benchmarks.maskrcnn import heads, proposals
from octathlon.benchmarks.maskrcnn.backbone import Body, Pyramid
from octathlon.benchmarks.maskrcnn.data import Images, Truth
from octathlon.benchmarks.maskrcnn.settings import Settings


@dataclass(frozen=True)
class Detections:
    """What was found in one image, K objects by falling score."""

    boxes: Tensor
    """(K, 4), in pixels of the resized image, see `boxes`"""
    scores: Tensor
    labels: Tensor
    masks: Tensor
    """probabilities within the box, (K, 28, 28)"""


class MaskRCNN(nn.Module):
    """In training mode images and truth -> losses by name; otherwise images -> detections of each."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        self._settings = settings
        self.body = Body(settings.blocks, settings.width)
        self.pyramid = Pyramid(self.body.channels, settings.pyramid_channels)
        self.proposals = RPNHead(settings.pyramid_channels, len(proposals.RATIOS))
        self.box_head = heads.BoxHead(settings, classes)
        self.mask_head = heads.MaskHead(settings, classes)

    def forward(self, images: Images, truth: Sequence[Truth] = ()) -> dict[str, Tensor] | list[Detections]:
        maps = self.pyramid(self.body(images.pixels))
        logits, deltas = self._predict(maps)
        anchors = [
            proposals.grid_anchors(stride, size, tuple(features.shape[2:]), features.device)
            for stride, size, features in zip(
                proposals.STRIDES, self._settings.anchor_sizes, maps, strict=True
            )
        ]
        if not self.training:
            count = self._settings.eval_proposals
            boxes = proposals.propose(logits, deltas, anchors, images.sizes, count, count, together=False)
            return self._detect(maps, boxes, images.sizes)
        boxes = proposals.propose(
            logits,
            deltas,
            anchors,
            images.sizes,
            self._settings.proposals_before_nms,
            self._settings.image_candidates * len(truth),
            together=True,
        )
        losses = proposals.proposal_losses(
            torch.cat(logits, 1),
            torch.cat(deltas, 1),
            torch.cat(anchors),
            images.sizes,
            [each.boxes for each in truth],
            self._settings.anchor_samples,
        )
        return losses | self._head_losses(maps, boxes, truth)

    def _predict(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Each level's objectness (N, A) and deltas (N, A, 4), by row, column and ratio."""
        logits, deltas = self.proposals(maps)
        return (
            [each.permute(0, 2, 3, 1).flatten(1).float() for each in logits],
            [each.permute(0, 2, 3, 1).reshape(len(each), -1, 4).float() for each in deltas],
        )

    def _head_losses(
        self, maps: list[Tensor], boxes: list[Tensor], truth: Sequence[Truth]
    ) -> dict[str, Tensor]:
        drawn = [
            heads.draw(torch.cat([box, each.boxes]), each.boxes, each.labels, self._settings.box_samples)
            for box, each in zip(boxes, truth, strict=True)
        ]
        boxes, labels, index = (list(each) for each in zip(*drawn, strict=True))
        label, matched = torch.cat(labels), torch.cat([t.boxes[i] for t, i in zip(truth, index, strict=True)])
        pooled = heads.pool(maps[:4], boxes, heads.BOX_POOL, self._settings.canonical_size)
        logits, deltas = self.box_head(pooled)
        losses = heads.box_losses(logits.float(), deltas.float(), torch.cat(boxes), label, matched)

        foreground = [each > 0 for each in labels]
        boxes = [box[chosen] for box, chosen in zip(boxes, foreground, strict=True)]
        polygons = [
            each.polygons[i]
            for each, found, chosen in zip(truth, index, foreground, strict=True)
            for i in found[chosen].tolist()
        ]
        pooled = heads.pool(maps[:4], boxes, heads.MASK_POOL, self._settings.canonical_size)
        masks = self.mask_head(pooled).float()
        return losses | {"masks": heads.mask_loss(masks, torch.cat(boxes), label[label > 0], polygons)}

    def _detect(
        self, maps: list[Tensor], boxes: list[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        counts = [len(box) for box in boxes]
        logits, deltas = self.box_head(
            heads.pool(maps[:4], boxes, heads.BOX_POOL, self._settings.canonical_size)
        )
        found = [
            heads.detect(*each)
            for each in zip(logits.split(counts), deltas.split(counts), boxes, sizes, strict=True)
        ]
        pooled = heads.pool(
            maps[:4], [box for box, _, _ in found], heads.MASK_POOL, self._settings.canonical_size
        )
        label = torch.cat([labels for _, _, labels in found])
        masks = self.mask_head(pooled)[torch.arange(len(label), device=label.device), label].float().sigmoid()
        parts = masks.split([len(labels) for _, _, labels in found])
        return [Detections(*each, mask) for each, mask in zip(found, parts, strict=True)]


def reference_names() -> list[str]:
    """The names of the initialised tensors in the round's logs; weight and bias have one together, and the backbone,
    which comes from a file, has none."""
    return [
        *(f"FPN_{kind}_block{level}" for level in range(1, 5) for kind in ("inner", "layer")),
        *(f"RPNHead_{part}" for part in ("conv", "cls", "bbox")),
        *("ROI_BOX_FEATURE_EXTRACTOR_fc6", "ROI_BOX_FEATURE_EXTRACTOR_fc7"),
        *("ROI_BOX_PREDICTOR_cls", "ROI_BOX_PREDICTOR_bbox"),
        *(f"ROI_MASK_FEATURE_EXTRACTOR_fcn{number}" for number in range(1, 5)),
        *("ROI_MASK_PREDICTOR_fcn5", "ROI_MASK_PREDICTOR_fcn_logits"),
    ]
