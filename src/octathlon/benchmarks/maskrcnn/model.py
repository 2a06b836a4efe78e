"""Mask R-CNN (He et al. 2017, arXiv:1703.06870) as the round's reference builds it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead

from octathlon.benchmarks.maskrcnn import heads, proposals
from octathlon.benchmarks.maskrcnn.backbone import Body, Pyramid
from octathlon.benchmarks.maskrcnn.boxes import inclusive
from octathlon.benchmarks.maskrcnn.data import Images, Objects
from octathlon.benchmarks.maskrcnn.masks import mask_targets
from octathlon.benchmarks.maskrcnn.settings import Settings
from octathlon.nn.boxes import take
from octathlon.nn.suppression import rows_of_images


@dataclass(frozen=True)
class Detections:
    """What was found in one image, K objects by falling score; on the host."""

    boxes: Tensor
    """(K, 4), in pixels of the resized image, see `boxes`"""
    scores: Tensor
    labels: Tensor
    masks: Tensor
    """probabilities within the box, (K, 28, 28)"""


class MaskRCNN(nn.Module):
    """Images and the objects in them -> losses by name; images alone -> detections of each."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        self._settings = settings
        self.body = Body(settings.blocks, settings.width)
        self.pyramid = Pyramid(self.body.channels, settings.pyramid_channels)
        self.proposals = RPNHead(settings.pyramid_channels, len(proposals.RATIOS))
        self.box_head = heads.BoxHead(settings, classes)
        self.mask_head = heads.MaskHead(settings, classes)
        cells = map(proposals.cell_anchors, proposals.STRIDES, settings.anchor_sizes)
        self.register_buffer("_cells", torch.stack(list(cells)), persistent=False)

    def forward(self, images: Images, objects: Objects | None = None) -> dict[str, Tensor] | list[Detections]:
        maps = self.pyramid(self.body(images.pixels))
        logits, deltas = self._predict(maps)
        anchors = [
            proposals.grid_anchors(cell, stride, tuple(features.shape[2:]))
            for cell, stride, features in zip(self._cells, proposals.STRIDES, maps, strict=True)
        ]
        predicted = logits, deltas, anchors, images.sizes
        # as they are pooled, by both heads: each would make a copy of its own
        maps = [
            features.to(dtype=torch.float32, memory_format=torch.contiguous_format)
            for features in maps[: len(heads.LEVELS)]
        ]
        settings = self._settings
        if objects is None:
            count = settings.eval_proposals
            return self._detect(
                maps, *proposals.propose(*predicted, count, count, together=False), images.sizes
            )
        # before the proposals, which wait for the device: so it is not idle while this is launched
        losses = proposals.proposal_losses(
            torch.cat(logits, 1),
            torch.cat(deltas, 1),
            torch.cat(anchors),
            images.sizes,
            objects,
            settings.anchor_samples,
        )
        candidates = settings.image_candidates * len(images.sizes)
        proposed = proposals.propose(*predicted, settings.proposals_before_nms, candidates, together=True)
        return losses | self._head_losses(maps, *proposed, objects)

    def _predict(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Each level's objectness (N, A) and deltas (N, A, 4), by row, column and ratio."""
        logits, deltas = self.proposals(maps)
        return (
            [each.permute(0, 2, 3, 1).flatten(1).float() for each in logits],
            [each.permute(0, 2, 3, 1).reshape(len(each), -1, 4).float() for each in deltas],
        )

    def _head_losses(
        self, maps: list[Tensor], proposed: Tensor, scores: Tensor, objects: Objects
    ) -> dict[str, Tensor]:
        settings, outlines = self._settings, objects.outlines
        boxes, labels, index = heads.draw(proposed, scores, objects, settings.box_samples)
        truth = take(objects.boxes, index).flatten(0, 1)
        images = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(labels)
        index = index + images * objects.boxes.shape[1]
        boxes, labels, images, index = (each.flatten(0, 1) for each in (boxes, labels, images, index))
        drawn, drawn_counts = heads.by_level(boxes, labels >= 0, settings.canonical_size)
        found, found_counts = heads.by_level(boxes, labels > 0, settings.canonical_size)
        sizes = (torch.stack([outlines.edge_counts, outlines.part_counts])[:, index] * (labels > 0)).sum(1)
        # the one time in a step that the device must tell how much there is of something
        counts = torch.cat([drawn_counts, found_counts, sizes]).tolist()
        of_drawn, of_found, sizes = counts[:4], counts[4:8], counts[8:]

        drawn = drawn[: sum(of_drawn)]
        pooled = heads.pool_by_level(maps, boxes[drawn], images[drawn], of_drawn, heads.BOX_POOL)
        logits, deltas = self.box_head(pooled)
        losses = heads.box_losses(logits.float(), deltas.float(), boxes[drawn], labels[drawn], truth[drawn])

        found = found[: sum(of_found)]
        pooled = heads.pool_by_level(maps, boxes[found], images[found], of_found, heads.MASK_POOL)
        targets = mask_targets(inclusive(boxes[found]), index[found], outlines, *sizes)
        return losses | {"masks": heads.mask_loss(self.mask_head(pooled).float(), labels[found], targets)}

    def _detect(
        self, maps: list[Tensor], proposed: Tensor, scores: Tensor, sizes: Tensor
    ) -> list[Detections]:
        canonical = self._settings.canonical_size
        images, places = (scores >= 0).nonzero(as_tuple=True)
        boxes = proposed[images, places]
        pooled = heads.pool(maps, boxes, images, heads.BOX_POOL, canonical)
        found = heads.detect(*self.box_head(pooled), boxes, images, sizes)
        pooled = heads.pool(maps, found.boxes, found.images, heads.MASK_POOL, canonical)
        numbers = torch.arange(len(pooled), device=pooled.device)
        masks = self.mask_head(pooled)[numbers, found.labels].float().sigmoid()
        rows = rows_of_images(found, len(sizes), masks.flatten(1))
        return [
            Detections(row[:, :4], row[:, 4], row[:, 5].long(), row[:, 6:].unflatten(1, masks.shape[1:]))
            for row in rows
        ]


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
