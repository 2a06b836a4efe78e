"""The loss: where the boxes are, and what is in them, with three negatives for each positive."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

NEGATIVES = 3
"""For each positive box the negatives that are hardest to tell count, this many."""


def detection_loss(locations: Tensor, logits: Tensor, offsets: Tensor, labels: Tensor) -> Tensor:
    """The mean over the images of (location + classification) / positives; an image without positives counts as 0.

    Args:
        locations, offsets: predicted and true, of shape (N, 4, B).
        logits: of shape (N, classes, B).
        labels: of shape (N, B), 0 for the background.
    """
    positive = labels > 0
    count = positive.sum(1)
    distance = smooth_l1_loss(locations, offsets, reduction="none").sum(1)
    location = torch.where(positive, distance, 0.0).sum(1)
    entropy = cross_entropy(logits, labels, reduction="none")
    hardest = entropy.masked_fill(positive, 0).sort(1, descending=True).values
    rank = torch.arange(labels.shape[1], device=labels.device)
    negatives = torch.where(rank < NEGATIVES * count[:, None], hardest, 0.0).sum(1)
    total = location + (entropy * positive).sum(1) + negatives
    return (total / count.clamp(1)).where(count > 0, 0.0).mean()
