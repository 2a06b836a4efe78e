"""Masks between outlines, squares of 28 pixels and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as rle
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torchvision.models.detection.roi_heads import expand_boxes

Polygons = list[np.ndarray]
"""The outline of one object, in one or more parts, each of shape (corners, 2)."""
SIDE = 28
FINE = 5
"""Steps of a pixel's side in which COCO draws an outline."""


@dataclass
class Outlines:
    """The outlines of a batch's objects as the edges of closed polygons, object after object."""

    edges: Tensor
    """x and y of where each begins and of where it ends, float64 (E, 4), in pixels of the resized image"""
    parts: Tensor
    """which part of its object each edge belongs to, int64 (E,)"""
    edge_counts: Tensor
    """edges of each object, int64 (O,)"""
    part_counts: Tensor
    """parts of each object, int64 (O,)"""

    @classmethod
    def of(cls, objects: Sequence[Polygons]) -> Outlines:
        """Of polygons; an object may have none."""
        parts = [(number, part) for polygons in objects for number, part in enumerate(polygons)]
        edges = [np.concatenate([part, np.roll(part, -1, 0)], 1) for _, part in parts]
        return cls(
            torch.from_numpy(np.concatenate([np.empty((0, 4)), *edges])),
            torch.tensor([number for number, part in parts for _ in part], dtype=torch.int64),
            torch.tensor([sum(map(len, polygons)) for polygons in objects], dtype=torch.int64),
            torch.tensor([len(polygons) for polygons in objects], dtype=torch.int64),
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Outlines:
        """With all tensors changed."""
        return Outlines(*map(change, (self.edges, self.parts, self.edge_counts, self.part_counts)))


def mask_targets(boxes: Tensor, objects: Tensor, outlines: Outlines, edges: int, parts: int) -> Tensor:
    """The part of each object within a box, stretched to a square and filled as COCO fills polygons.

    COCO notes where, going down the columns one after the other, an outline is crossed: there the pixels change between
    outside and inside. The parts of an object are united.

    Args:
        boxes: first to last pixel, float32 (R, 4).
        objects: the object of each, int64 (R,).
        edges, parts: how many the objects of all boxes have, so that nothing here waits for the device.

    Returns:
        float32 of shape (R, 28, 28), 0 or 1.
    """
    places = SIDE * SIDE
    edge_counts, part_counts = outlines.edge_counts[objects], outlines.part_counts[objects]
    first_edge = outlines.edge_counts.cumsum(0)[objects] - edge_counts
    first_part = part_counts.cumsum(0) - part_counts
    numbers = torch.arange(len(boxes), device=boxes.device)
    box = numbers.repeat_interleave(edge_counts, output_size=edges)
    within = torch.arange(edges, device=boxes.device) - (edge_counts.cumsum(0) - edge_counts)[box]
    edge = first_edge[box] + within
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(1)
    scale = torch.full_like(sides, SIDE) / sides  # a number over a tensor would be rounded twice
    moved = (outlines.edges[edge] - boxes[:, :2].repeat(1, 2)[box]) * scale.repeat(1, 2)[box]
    row, crossed = _crossings(moved)

    part = first_part[box] + outlines.parts[edge]
    place = part[:, None] * (places + 1) + torch.arange(SIDE, device=boxes.device) * SIDE + row
    changes = torch.zeros(parts * (places + 1), dtype=torch.int32, device=boxes.device)
    changes.scatter_add_(0, place.flatten(), crossed.flatten().int())
    inside = changes.view(parts, -1).cumsum(1)[:, :-1] % 2
    owner = numbers.repeat_interleave(part_counts, output_size=parts)
    united = boxes.new_zeros(len(boxes), places).index_add_(0, owner, inside.to(boxes)).clamp_(max=1)
    return united.view(-1, SIDE, SIDE).transpose(1, 2)


def _crossings(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Where edges (P, 4) cross the middles of a square's columns, digit for digit as COCO's maskApi.c (rleFrPoly).

    It draws each edge on a grid five times as fine, a point for each step along the edge's longer side, and a column's
    middle lies between the grid's third and fourth column in it.

    Returns:
        The first row below the crossing, int64 (P, 28), and whether there is one, bool (P, 28).
    """
    left, top, right, bottom = (edges * FINE + 0.5).trunc().unbind(1)
    wide = (right - left).abs() >= (bottom - top).abs()
    long = torch.stack([torch.where(wide, left, top), torch.where(wide, right, bottom)])
    short = torch.stack([torch.where(wide, top, left), torch.where(wide, bottom, right)])
    backwards = long[0] > long[1]
    start, end = torch.where(backwards, long.flip(0), long)[..., None]
    low, high = torch.where(backwards, short.flip(0), short)[..., None]
    wide, length = wide[:, None], end - start
    slope = (high - low) / length

    def drawn(step: Tensor) -> Tensor:
        return low + slope * step + 0.5

    def before(step: Tensor) -> Tensor:
        return torch.where(slope > 0, drawn(step) < column + 1, drawn(step) >= column + 1)

    column = FINE * torch.arange(SIDE, dtype=edges.dtype, device=edges.device) + FINE // 2
    guess = ((column + 0.5 - low) / slope).ceil()  # of a steep edge's first step beyond, one too many at most
    step = torch.where(
        wide, column - start, guess - 2 + before(guess - 1).to(edges) + before(guess).to(edges)
    )
    crossed = torch.where(
        wide, (step >= 0) & (step < length), before(torch.zeros_like(length)) & ~before(length)
    )
    fine_row = torch.where(wide, torch.minimum(drawn(step).trunc(), drawn(step + 1).trunc()), step + start)
    row = ((fine_row + 0.5) / FINE - 0.5).clamp(0, SIDE).ceil()
    return row.where(crossed, 0).long(), crossed


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Probabilities within boxes -> masks of the whole picture, in COCO's run lengths.

    As in the reference each mask gets a frame of zeros, is stretched to its box and cut at one half. Only the box is
    looked at: a picture of zeros around it would take most of the time.

    Args:
        masks: of shape (K, 28, 28), on the host like the boxes.
        boxes: first to last pixel, (K, 4).
        size: height and width of the picture.
    """
    if not len(masks):
        return []
    framed = pad(masks, (1, 1, 1, 1))
    corners = (
        expand_boxes(boxes, (SIDE + 2) / SIDE).long().tolist()
    )  # rounded as in the reference: towards zero
    counts = [_run_lengths(mask, box, size) for mask, box in zip(framed, corners, strict=True)]
    return rle.frPyObjects([{"size": list(size), "counts": each} for each in counts], *size)


def _run_lengths(mask: Tensor, box: Sequence[int], size: tuple[int, int]) -> list[int]:
    """COCO's uncompressed run lengths, column by column, of one mask in the picture."""
    (left, top, right, bottom), (height, width) = box, size
    sides = max(bottom - top + 1, 1), max(right - left + 1, 1)
    stretched = interpolate(mask[None, None], sides, mode="bilinear", align_corners=False)[0, 0] > 0.5
    inside = stretched[max(-top, 0) : height - top, max(-left, 0) : width - left].numpy()
    rows, columns = inside.shape
    strips = np.zeros((columns, rows + 1), bool)  # one pixel more, so that every run ends within its column
    strips[:, :-1] = inside.T
    column, row = np.divmod(np.flatnonzero(np.diff(strips.ravel(), prepend=False)), rows + 1)
    changes = (column + max(left, 0)) * height + row + max(top, 0)
    joined = np.flatnonzero(
        changes[1:] == changes[:-1]
    )  # a run down to the last row, the next from the first one on
    changes = np.delete(changes, np.concatenate([joined, joined + 1]))
    inner = changes[changes < height * width]  # the last run ends with the picture
    return np.diff(inner, prepend=0, append=height * width).tolist()
