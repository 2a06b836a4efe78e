"""Greedy suppression of overlapping boxes in many groups, each by itself, and what is then found in each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import nms

from octathlon.nn.boxes import box_iou

ROUNDS = 12
"""Between two looks at whether anything still changes, each of which waits for the device. At full size, maskrcnn's
proposals took up to ten rounds."""


class Found(NamedTuple):
    """K objects in a batch of images."""

    images: Tensor
    """the place of each one's image in the batch, int64 (K,)"""
    boxes: Tensor
    """(K, 4)"""
    scores: Tensor
    """(K,)"""
    labels: Tensor
    """int64 (K,)"""


def suppress(levels: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Which boxes remain when each, by falling score, removes those after it in its group whose IoU exceeds `limit`.

    torchvision's function takes a group at a time. On a GPU each of these calls waits for the device, and there walks
    through the group's boxes one by one: all groups of a batch together are as quick as one.

    Args:
        levels: groups of boxes by falling score, of shape (groups, boxes, 4); groups of as many boxes are together.

    Returns:
        bool of shape (groups, boxes) for each.
    """
    if levels[0].device.type == "cuda":
        return suppress_together(levels, limit)
    return [_suppress_one_by_one(groups, limit) for groups in levels]


def _suppress_one_by_one(groups: Tensor, limit: float) -> Tensor:
    kept = torch.zeros(groups.shape[:2], dtype=torch.bool)
    scores = torch.arange(groups.shape[1], 0, -1, dtype=groups.dtype)
    for row, boxes in zip(kept, groups, strict=True):
        row[nms(boxes, scores, limit)] = True
    return kept


def suppress_together(levels: Sequence[Tensor], limit: float) -> list[Tensor]:
    """As `suppress`, by rounds over all boxes: one is kept if no kept one before it overlaps it.

    Each round is right about at least one box more of each group, and what no longer changes is the result.
    """
    overlaps = [(box_iou(groups, groups) > limit).triu_(1).to(torch.bfloat16) for groups in levels]
    kept = [groups.new_ones(groups.shape[:2], dtype=torch.bool) for groups in levels]
    changing = True
    while changing:
        for _ in range(ROUNDS):
            before, kept = kept, [_round(each, over) for each, over in zip(kept, overlaps, strict=True)]
        changes = [(old != new).any() for old, new in zip(before, kept, strict=True)]
        changing = bool(torch.stack(changes).any())
    return kept


def _round(kept: Tensor, overlaps: Tensor) -> Tensor:
    return (kept.to(overlaps.dtype)[:, None] @ overlaps)[:, 0] == 0


def best_of_images(found: Found, count: int, limit: float, most: int) -> Found:
    """What remains of each image's objects when those of a label suppress each other, image by image and by falling
    score; of equal scores in the order in which they come.

    Args:
        count: images of the batch.
        limit: see `suppress`.
        most: objects of an image.
    """
    order = found.scores.argsort(descending=True, stable=True)
    images, boxes, _, labels = found = Found(*(each[order] for each in found))
    kept = _suppress_within(boxes, images + count * labels, limit)
    of_image = kept & (images == torch.arange(count, device=images.device)[:, None])
    _, best = (of_image & (of_image.cumsum(1) <= most)).nonzero(as_tuple=True)
    return Found(*(each[best] for each in found))


def _suppress_within(boxes: Tensor, groups: Tensor, limit: float) -> Tensor:
    """As `suppress`, of boxes by falling score (K, 4), each with the number of its group (K,): bool of shape (K,)."""
    if not len(boxes):
        return torch.zeros_like(groups, dtype=torch.bool)
    order = groups.argsort(stable=True)
    ordered, place = groups[order], torch.arange(len(groups), device=groups.device)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    group, rank = first.cumsum(0) - 1, place - place.where(first, 0).cummax(0).values
    sizes = torch.stack([group[-1], rank.amax()]).add_(1).tolist()
    filled = boxes.new_zeros(*sizes, 4)  # what fills up comes last, so it suppresses nothing
    filled[group, rank] = boxes[order]
    (kept,) = suppress([filled], limit)
    return torch.empty_like(first).scatter_(0, order, kept[group, rank])


def rows_of_images(found: Found, count: int, *more: Tensor) -> Sequence[Tensor]:
    """What was found in each image of a batch, on the host: left, top, right, bottom, score, label and `more`.

    All in one copy. Labels are small enough for float32.

    Args:
        found: image by image.
        count: images of the batch.
        more: of shape (K, columns).
    """
    images, scores, labels = (each[:, None] for each in (found.images, found.scores, found.labels))
    rows = torch.cat([images, found.boxes, scores, labels, *more], 1).cpu()
    counts = rows[:, 0].long().bincount(minlength=count)
    return rows[:, 1:].split(counts.tolist())
