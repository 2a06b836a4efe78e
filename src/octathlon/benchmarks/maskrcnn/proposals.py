"""The region proposal network: anchors, what they should predict, and the boxes that they propose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_iou

from octathlon.benchmarks.maskrcnn.boxes import clip, sample

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)
"""Heights over widths."""
POSITIVE_IOU, NEGATIVE_IOU, NMS_IOU = 0.7, 0.3, 0.7
POSITIVE_SHARE = 0.5
BETA = 1 / 9
CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))


def cell_anchors(stride: int, size: int) -> Tensor:
    """The anchors of the first cell, float32 of shape (3, 4). Sides are rounded at the scale of the stride, as
    Detectron does it, so their ratios are not exact."""
    boxes = []
    for ratio in RATIOS:
        width = round(math.sqrt(stride**2 / ratio))
        height = round(width * ratio)
        half = width * size / stride / 2, height * size / stride / 2
        boxes.append([stride / 2 - half[0], stride / 2 - half[1], stride / 2 + half[0], stride / 2 + half[1]])
    return torch.tensor(boxes)


def grid_anchors(stride: int, size: int, shape: tuple[int, int], device: torch.device) -> Tensor:
    """A level's anchors by row, column and ratio, of shape (rows * columns * 3, 4)."""
    rows, columns = (torch.arange(count, device=device) * stride for count in shape)
    top, left = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([left, top, left, top], -1).view(-1, 1, 4)
    return (shifts + cell_anchors(stride, size).to(device)).view(-1, 4)


def label_anchors(anchors: Tensor, truth: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """What each anchor should predict in an image of (height, width) with the boxes `truth` (G, 4).

    Returns:
        label (1: object, 0: none, -1: not to be asked) and index of the box, both of shape (A,).
    """
    overlap = box_iou(truth, anchors)
    best, index = overlap.max(0)
    labels = torch.full_like(index, -1)
    labels[best < NEGATIVE_IOU] = 0
    labels[best >= POSITIVE_IOU] = 1
    labels[(overlap == overlap.max(1, keepdim=True).values).any(0)] = 1  # no box goes without an anchor
    height, width = size
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= width) & (anchors[:, 3] <= height)
    return labels.masked_fill(~inside, -1), index


def proposal_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    sizes: Sequence[tuple[int, int]],
    truths: Sequence[Tensor],
    samples: int,
) -> dict[str, Tensor]:
    """Objectness and boxes, over `samples` anchors of each image.

    Args:
        logits, deltas: of all levels, of shapes (N, A) and (N, A, 4).
        anchors: of shape (A, 4).
    """
    chosen, labels, found, targets = [], [], [], []
    for image, (truth, size) in enumerate(zip(truths, sizes, strict=True)):
        label, index = label_anchors(anchors, truth, size)
        drawn = sample(label, samples, POSITIVE_SHARE)
        positive = drawn[label[drawn] > 0]
        chosen.append(logits[image, drawn])
        labels.append(label[drawn])
        found.append(deltas[image, positive])
        targets.append(CODER.encode_single(truth[index[positive]], anchors[positive]))
    label = torch.cat(labels)
    distance = smooth_l1_loss(torch.cat(found), torch.cat(targets), beta=BETA, reduction="sum")
    return {
        "objectness": binary_cross_entropy_with_logits(torch.cat(chosen), label.float()),
        "proposal_boxes": distance / len(label),
    }


@torch.no_grad()
def propose(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    before_nms: int,
    candidates: int,
    together: bool,
) -> list[Tensor]:
    """The proposals of each image, (K, 4) each.

    Args:
        logits, deltas, anchors: of each level, of shapes (N, A), (N, A, 4) and (A, 4).
        before_nms: the best anchors of each level that are looked at.
        candidates: how many proposals are left after NMS: of all images together, or of each.
        together: which of the two. Training takes the best of the whole batch, and keeps them in the order of levels.
    """
    images, levels = len(sizes), len(anchors)
    boxes, scores, groups = [], [], []
    for level, (objectness, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
        score, place = objectness.sigmoid().topk(min(before_nms, objectness.shape[1]))
        chosen = delta.gather(1, place[..., None].expand(-1, -1, 4))
        decoded = CODER.decode_single(chosen.reshape(-1, 4), anchor[place].reshape(-1, 4)).view(images, -1, 4)
        boxes += [clip(each, size) for each, size in zip(decoded, sizes, strict=True)]
        scores.append(score.flatten())
        groups += [boxes[0].new_full((score.shape[1],), image * levels + level) for image in range(images)]
    box, score, group = torch.cat(boxes), torch.cat(scores), torch.cat(groups)
    kept = batched_nms(box, score, group, NMS_IOU)  # by falling score
    if together:
        kept = kept[:candidates].sort().values
    owner = group[kept].div(levels, rounding_mode="floor")
    return [box[kept[owner == image][: None if together else candidates]] for image in range(images)]
