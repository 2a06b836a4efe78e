"""Default boxes, what each of them should predict, and predictions back to boxes (Liu et al. 2015, arXiv:1512.02325).

Coordinates are fractions of the image's sides. Constants are those of mlcommons/training, single_stage_detector/ssd.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from octathlon.benchmarks.ssd.settings import Settings
from octathlon.nn.boxes import box_iou
from octathlon.nn.suppression import Found, best_of_images

VARIANCES = (0.1, 0.2)
"""Predicted offsets are in units of these: centres, logarithms of sizes."""
POSITIVE_IOU = 0.5
SCORE, NMS_IOU, CANDIDATES, KEPT = 0.05, 0.5, 200, 200
"""Detections: least score; greatest overlap; of each class before, of each image after the suppression."""
SMALLEST = 1e-6
"""A box without height (there are two) must not make the loss infinite."""


def default_boxes(settings: Settings) -> Tensor:
    """Centre x, centre y, width, height: float32 of shape (B, 4), by feature map, shape, row, column.

    All four are clamped to [0, 1]: that moves the centres of a last row that lies outside of the image.
    """
    size = settings.image_size
    boxes = []
    for level, (cells, step) in enumerate(zip(settings.feature_sizes, settings.steps, strict=True)):
        centres = [(index + 0.5) * step / size for index in range(cells)]
        for width, height in _shapes(settings, level):
            boxes += [(x, y, width / size, height / size) for y in centres for x in centres]
    return torch.tensor(boxes).clamp_(0, 1)


def _shapes(settings: Settings, level: int) -> Iterator[tuple[float, float]]:
    """Width and height in pixels of a level's boxes."""
    scale, following = list(pairwise(settings.scales))[level]
    yield scale, scale
    yield math.sqrt(scale * following), math.sqrt(scale * following)
    for ratio in settings.aspect_ratios[level]:
        yield scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        yield scale / math.sqrt(ratio), scale * math.sqrt(ratio)


def corners(boxes: Tensor) -> Tensor:
    """(..., centre x, centre y, width, height) -> (..., left, top, right, bottom)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def match(truth: Tensor, labels: Tensor, defaults: Tensor) -> tuple[Tensor, Tensor]:
    """What each default box is to find: the true box of the greatest IoU, if that is above one half, and in any case
    the box whose best default box it is (the last one, if it is so for several).

    Args:
        truth: left, top, right, bottom, of shape (N, G, 4), filled up with boxes of label 0.
        labels: of shape (N, G), from 1 on.
        defaults: of shape (B, 4), as `default_boxes` makes them.

    Returns:
        index of the box in `truth`, and label (0: background), both int64 of shape (N, B).
    """
    real = labels > 0
    overlap = box_iou(truth, corners(defaults)).masked_fill_(~real[..., None], -1)
    best, index = overlap.max(1)
    order = torch.arange(truth.shape[1], device=truth.device).expand_as(labels).masked_fill(~real, -1)
    forced = torch.full_like(index, -1).scatter_reduce_(1, overlap.argmax(2), order, "amax")
    index = torch.where(forced >= 0, forced, index)
    found = labels.gather(1, index).masked_fill((best <= POSITIVE_IOU) & (forced < 0), 0)
    return index, found


def encode(truth: Tensor, defaults: Tensor) -> Tensor:
    """True boxes (corners) as offsets from default boxes (centre and size), both of shape (..., 4)."""
    size = (truth[..., 2:] - truth[..., :2]).clamp(SMALLEST)
    centre = (truth[..., :2] + truth[..., 2:]) / 2
    return torch.cat(
        [
            (centre - defaults[..., :2]) / defaults[..., 2:] / VARIANCES[0],
            torch.log(size / defaults[..., 2:]) / VARIANCES[1],
        ],
        -1,
    )


def decode(offsets: Tensor, defaults: Tensor) -> Tensor:
    """Offsets -> boxes as corners, of shape (..., 4); the inverse of `encode`, unclipped."""
    centre = defaults[..., :2] + VARIANCES[0] * offsets[..., :2] * defaults[..., 2:]
    return corners(torch.cat([centre, defaults[..., 2:] * torch.exp(VARIANCES[1] * offsets[..., 2:])], -1))


def detect(locations: Tensor, logits: Tensor, defaults: Tensor) -> Found:
    """The detections of a batch, image by image and by falling score, with boxes as corners.

    Args:
        locations, logits: of shapes (N, 4, B) and (N, classes, B).
    """
    boxes = decode(locations.transpose(1, 2).float(), defaults)
    scores, places = logits.float().softmax(1)[:, 1:].topk(min(CANDIDATES, len(defaults)))
    image, label, rank = (scores > SCORE).nonzero(as_tuple=True)
    place = places[image, label, rank]
    found = Found(image, boxes[image, place], scores[image, label, rank], label + 1)
    return best_of_images(found, len(logits), NMS_IOU, KEPT)
