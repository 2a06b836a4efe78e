"""What is in a proposed box, where exactly, and which of its pixels: the heads of Mask R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms, box_iou, roi_align

from octathlon.benchmarks.maskrcnn.boxes import clip, inclusive, sample
from octathlon.benchmarks.maskrcnn.masks import Polygons, mask_targets
from octathlon.benchmarks.maskrcnn.proposals import STRIDES
from octathlon.benchmarks.maskrcnn.settings import Settings

FOREGROUND_IOU = 0.5
FOREGROUND_SHARE = 0.25
BOX_POOL, MASK_POOL = 7, 14
SAMPLING_RATIO = 2
SCORE, NMS_IOU, KEPT = 0.05, 0.5, 100
"""Detections: least score, greatest overlap within a class, most in an image."""
CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))


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


def pool(maps: Sequence[Tensor], boxes: Sequence[Tensor], side: int, canonical_size: int) -> Tensor:
    """Features of boxes, each from the level that its size asks for: (R, channels, side, side).

    Args:
        maps: of strides 4 to 32.
        boxes: of each image.
    """
    box = torch.cat(list(boxes))
    owner = torch.cat([each.new_full((len(each), 1), image) for image, each in enumerate(boxes)])
    level = pyramid_level(box, canonical_size) - 2
    regions = torch.cat([owner, inclusive(box)], 1)
    pooled, order = [], []
    for number, (features, stride) in enumerate(zip(maps, STRIDES, strict=False)):
        chosen = (level == number).nonzero().flatten()
        # in fp32 also where the maps are not: bf16 would move the regions by pixels
        pooled.append(roi_align(features.float(), regions[chosen], side, 1 / stride, SAMPLING_RATIO))
        order.append(chosen)
    return torch.cat(pooled)[torch.cat(order).argsort()]


def pyramid_level(boxes: Tensor, canonical_size: int) -> Tensor:
    """2 (stride 4) to 5 (stride 32): a box of the canonical size is pooled from level 4."""
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    return torch.floor(4 + torch.log2(side / canonical_size + 1e-6)).clamp(2, 5).long()


@torch.no_grad()
def draw(proposals: Tensor, truth: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of an image's proposals the heads learn from.

    Returns:
        boxes (K, 4), labels (K,; 0 for the background) and, of each, the index of the closest true box (K,).
    """
    best, index = box_iou(truth, proposals).max(0)
    label = labels[index].masked_fill(best < FOREGROUND_IOU, 0)
    drawn = sample(label, count, FOREGROUND_SHARE)
    return proposals[drawn], label[drawn], index[drawn]


def box_losses(
    logits: Tensor, deltas: Tensor, boxes: Tensor, labels: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """Of all drawn boxes (R, 4), with their labels (R,) and true boxes (R, 4)."""
    foreground = labels.nonzero().flatten()
    found = deltas.view(len(deltas), -1, 4)[foreground, labels[foreground]]
    targets = CODER.encode_single(truth[foreground], boxes[foreground])
    distance = smooth_l1_loss(found, targets, beta=1.0, reduction="sum")
    return {"classes": cross_entropy(logits, labels), "boxes": distance / len(labels)}


def mask_loss(logits: Tensor, boxes: Tensor, labels: Tensor, polygons: Sequence[Polygons]) -> Tensor:
    """Of foreground boxes (R, 4) with their labels and the outlines of what is in them. There always is one, as the
    true boxes are among the proposals."""
    targets = torch.from_numpy(mask_targets(inclusive(boxes).cpu().numpy(), polygons)).to(logits)
    found = logits[torch.arange(len(labels), device=labels.device), labels]
    return binary_cross_entropy_with_logits(found, targets)


def detect(
    logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """One image's detections: boxes (K, 4), scores (K,) and labels (K,), by falling score."""
    scores = logits.float().softmax(1)[:, 1:]
    region, label = (scores > SCORE).nonzero(as_tuple=True)
    chosen = deltas.float().view(len(deltas), -1, 4)[region, label + 1]
    boxes = clip(CODER.decode_single(chosen, proposals[region]), size)
    scores = scores[region, label]
    kept = batched_nms(boxes, scores, label, NMS_IOU)[:KEPT]
    return boxes[kept], scores[kept], label[kept] + 1
