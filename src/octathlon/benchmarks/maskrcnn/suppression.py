"""Greedy suppression of overlapping boxes in many groups, each by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms

from octathlon.nn.boxes import box_iou

ROUNDS = 8
"""Between two looks at whether anything still changes, each of which waits for the device."""


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
    return [torch.stack([_suppress_one(group, limit) for group in groups]) for groups in levels]


def _suppress_one(boxes: Tensor, limit: float) -> Tensor:
    scores = torch.arange(len(boxes), 0, -1, dtype=boxes.dtype)
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    kept[nms(boxes, scores, limit)] = True
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
