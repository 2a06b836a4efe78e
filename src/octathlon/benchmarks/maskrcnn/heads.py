"""What is in a proposed box, where exactly, and which of its pixels: the heads of Mask R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from octathlon.benchmarks.maskrcnn.boxes import clip, decode, encode, inclusive, sample
from octathlon.benchmarks.maskrcnn.data import Objects
from octathlon.benchmarks.maskrcnn.proposals import STRIDES
from octathlon.benchmarks.maskrcnn.settings import Settings
from octathlon.nn.boxes import box_iou, take
from octathlon.nn.suppression import Found, best_of_images

FOREGROUND_IOU = 0.5
FOREGROUND_SHARE = 0.25
BOX_POOL, MASK_POOL = 7, 14
SAMPLING_RATIO = 2
SCORE, NMS_IOU, KEPT = 0.05, 0.5, 100
"""Detections: least score, greatest overlap within a class, most in an image."""
WEIGHTS = (10.0, 5.0)
"""Of centres and of sizes, in what is predicted."""
LEVELS = STRIDES[:4]
"""The strides of the maps that boxes are pooled from."""


class BoxHead(nn.Module):
    """Pooled features (R, channels, 7, 7) -> class logits (R, C) and box deltas (R, 4 * C)."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        self.layers = TwoMLPHead(settings.pyramid_channels * BOX_POOL**2, settings.box_channels)
        self.predictor = FastRCNNPredictor(settings.box_channels, classes)
        for layer in (self.layers.fc6, self.layers.fc7):
            nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.normal_(self.predictor.cls_score.weight, std=0.01)
        nn.init.normal_(self.predictor.bbox_pred.weight, std=0.001)
        _zero_biases(self)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictor(self.layers(pooled))


class MaskHead(nn.Sequential):
    """Pooled features (R, channels, 14, 14) -> mask logits of every class (R, C, 28, 28)."""

    def __init__(self, settings: Settings, classes: int) -> None:
        channels = settings.mask_channels
        super().__init__()
        self.layers = MaskRCNNHeads(settings.pyramid_channels, (channels,) * 4, dilation=1)
        self.predictor = MaskRCNNPredictor(channels, channels, classes)
        _zero_biases(self)


def _zero_biases(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)


def pool(maps: Sequence[Tensor], boxes: Tensor, owners: Tensor, side: int, canonical_size: int) -> Tensor:
    """Features of boxes (R, 4), each from the level that its size asks for: (R, channels, side, side).

    Args:
        maps: of strides 4 to 32.
        owners: the image of each box, (R,).
    """
    order, counts = by_level(boxes, torch.ones_like(owners, dtype=torch.bool), canonical_size)
    return pool_by_level(maps, boxes[order], owners[order], counts.tolist(), side)[order.argsort()]


def by_level(boxes: Tensor, chosen: Tensor, canonical_size: int) -> tuple[Tensor, Tensor]:
    """The order of boxes (R, 4) by level, with those that are not chosen at the end, and how many are on each level."""
    level = pyramid_level(boxes, canonical_size).masked_fill(~chosen, len(LEVELS))
    numbers = torch.arange(len(LEVELS), device=boxes.device)
    return level.argsort(stable=True), (level == numbers[:, None]).sum(1)


def pool_by_level(
    maps: Sequence[Tensor], boxes: Tensor, owners: Tensor, counts: Sequence[int], side: int
) -> Tensor:
    """Features of boxes (R, 4) that come level after level: (R, channels, side, side).

    Args:
        maps: of strides 4 to 32.
        owners: the image of each box, (R,).
        counts: boxes of each level.
    """
    regions = torch.cat([owners[:, None].to(boxes), inclusive(boxes)], 1).split(list(counts))
    # in fp32 also where the maps are not: bf16 would move the regions by pixels
    return torch.cat(
        [
            roi_align(features.float(), region, side, 1 / stride, SAMPLING_RATIO)
            for features, region, stride in zip(maps, regions, LEVELS, strict=True)
        ]
    )


def pyramid_level(boxes: Tensor, canonical_size: int) -> Tensor:
    """The place in `LEVELS`: a box of the canonical size is pooled from that of stride 16."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    return torch.floor(2 + torch.log2(side / canonical_size + 1e-6)).clamp(0, len(LEVELS) - 1).long()


@torch.no_grad()
def draw(proposals: Tensor, scores: Tensor, objects: Objects, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of each image's proposals and true boxes the heads learn from.

    Args:
        proposals, scores: as `propose` returns them.

    Returns:
        boxes (N, K, 4), labels (N, K; 0 for the background, -1 where an image has fewer boxes) and the index of the
        closest true box of each (N, K).
    """
    boxes, real = torch.cat([proposals, objects.boxes], 1), objects.labels > 0
    best, index = box_iou(objects.boxes, boxes).masked_fill_(~real[..., None], -1).max(1)
    labels = objects.labels.gather(1, index).masked_fill(best < FOREGROUND_IOU, 0)
    usable = torch.cat([scores >= 0, real], 1)
    drawn, label = sample(labels.masked_fill(~usable, -1), count, FOREGROUND_SHARE)
    return take(boxes, drawn), label, index.gather(1, drawn)


def box_losses(
    logits: Tensor, deltas: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """Of all drawn boxes (R, 4), with their labels (R,) and true boxes (R, 4)."""
    found = take(deltas.view(len(deltas), -1, 4), labels[:, None])[:, 0]
    distance = smooth_l1_loss(found, encode(truth, boxes, WEIGHTS), beta=1.0, reduction="none").sum(1)
    return {
        "classes": cross_entropy(logits, labels),
        "boxes": distance.where(labels > 0, 0).sum() / len(labels),
    }


def mask_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Of foreground boxes' masks (R, C, 28, 28) with their labels and what they should be (R, 28, 28). There always is
    one, as the true boxes are among the proposals."""
    found = logits.gather(1, labels.view(-1, 1, 1, 1).expand(-1, 1, *logits.shape[2:]))[:, 0]
    return binary_cross_entropy_with_logits(found, targets)


def detect(logits: Tensor, deltas: Tensor, proposals: Tensor, owners: Tensor, sizes: Tensor) -> Found:
    """The detections of a batch, image by image and by falling score.

    Args:
        logits, deltas: of all proposals, (R, C) and (R, 4 * C).
        proposals: (R, 4), image by image.
        owners: the image of each, (R,).
        sizes: heights and widths, (N, 2).
    """
    scores = logits.float().softmax(1)[:, 1:]
    region, label = (scores > SCORE).nonzero(as_tuple=True)
    image = owners[region]
    chosen = deltas.float().view(len(deltas), deltas.shape[1] // 4, 4)[region, label + 1]
    boxes = clip(decode(chosen, proposals[region], WEIGHTS)[:, None], sizes[image])[:, 0]
    return best_of_images(Found(image, boxes, scores[region, label], label + 1), len(sizes), NMS_IOU, KEPT)
