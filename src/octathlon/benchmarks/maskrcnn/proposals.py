"""The region proposal network: anchors, what they should predict, and the boxes that they propose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from octathlon.benchmarks.maskrcnn.boxes import clip, decode, encode, sample
from octathlon.benchmarks.maskrcnn.data import Objects
from octathlon.nn.boxes import box_iou, take
from octathlon.nn.suppression import suppress

STRIDES = (4, 8, 16, 32, 64)
RATIOS = (0.5, 1.0, 2.0)
"""Heights over widths."""
POSITIVE_IOU, NEGATIVE_IOU, NMS_IOU = 0.7, 0.3, 0.7
POSITIVE_SHARE = 0.5
BETA = 1 / 9
WEIGHTS = (1.0, 1.0)
"""Of centres and of sizes, in what is predicted."""


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


def grid_anchors(cell: Tensor, stride: int, shape: tuple[int, int]) -> Tensor:
    """A level's anchors by row, column and ratio, of shape (rows * columns * 3, 4).

    Args:
        cell: those of the first cell, as `cell_anchors` makes them.
    """
    rows, columns = (torch.arange(count, device=cell.device) * stride for count in shape)
    top, left = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([left, top, left, top], -1).view(-1, 1, 4)
    return (shifts + cell).view(-1, 4)


def label_anchors(anchors: Tensor, truth: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """What each anchor should predict in an image of height and width `size` (2,) with the boxes `truth` (G, 4).

    Returns:
        label (1: object, 0: none, -1: not to be asked) and index of the box, both of shape (A,).
    """
    overlap = box_iou(truth, anchors)
    best, index = overlap.max(0)
    labels = torch.where(best < NEGATIVE_IOU, 0, -1)
    closest = (overlap == overlap.amax(1, keepdim=True)).any(0)  # no box goes without an anchor
    labels = labels.masked_fill((best >= POSITIVE_IOU) | closest, 1)
    inside = (anchors[:, :2] >= 0).all(1) & (anchors[:, 2:] <= size.flip(0)).all(1)
    return labels.masked_fill(~inside, -1), index


def proposal_losses(
    logits: Tensor, deltas: Tensor, anchors: Tensor, sizes: Tensor, objects: Objects, samples: int
) -> dict[str, Tensor]:
    """Objectness and boxes, over `samples` anchors of each image.

    Args:
        logits, deltas: of all levels, of shapes (N, A) and (N, A, 4).
        anchors: of shape (A, 4).
        sizes: heights and widths, (N, 2).
    """
    labelled = [label_anchors(anchors, *each) for each in zip(objects.of_images(), sizes, strict=True)]
    labels, index = (torch.stack(each) for each in zip(*labelled, strict=True))
    drawn, label = sample(labels, samples, POSITIVE_SHARE)
    count = (label >= 0).sum()
    objectness = binary_cross_entropy_with_logits(
        logits.gather(1, drawn), label.clamp(min=0).float(), reduction="none"
    )
    targets = encode(take(objects.boxes, index.gather(1, drawn)), anchors[drawn], WEIGHTS)
    distance = smooth_l1_loss(take(deltas, drawn), targets, beta=BETA, reduction="none").sum(2)
    return {
        "objectness": objectness.where(label >= 0, 0).sum() / count,
        "proposal_boxes": distance.where(label > 0, 0).sum() / count,
    }


@torch.no_grad()
def propose(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes: Tensor,
    before_nms: int,
    candidates: int,
    together: bool,
) -> tuple[Tensor, Tensor]:
    """The proposals of each image.

    Args:
        logits, deltas, anchors: of each level, of shapes (N, A), (N, A, 4) and (A, 4).
        sizes: heights and widths, (N, 2).
        before_nms: the best anchors of each level that are looked at.
        candidates: how many proposals are left after NMS: of all images together, or of each.
        together: which of the two. Training takes the best of the whole batch.

    Returns:
        the boxes that were looked at, (N, K, 4), level after level and by falling score, and their scores, (N, K): -1
        for those that are no proposals.
    """
    boxes, scores = [], []
    for objectness, delta, anchor in zip(logits, deltas, anchors, strict=True):
        score, place = objectness.sigmoid().topk(min(before_nms, objectness.shape[1]))
        boxes.append(clip(decode(take(delta, place), anchor[place], WEIGHTS), sizes))
        scores.append(score)
    score = torch.cat(scores, 1).where(torch.cat(suppress(boxes, NMS_IOU), 1), -1)
    pools = score.view(1, -1) if together else score
    best = pools.topk(min(candidates, pools.shape[1]))
    proposed = torch.full_like(pools, -1).scatter_(1, best.indices, best.values)
    return torch.cat(boxes, 1), proposed.view_as(score)
