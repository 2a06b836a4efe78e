"""The training loss and the quality: Dice, once soft and once hard.

Source: model/losses.py of mlcommons/training (image_segmentation/pytorch). Both leave the background out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

SMOOTH = 1e-6
"""Makes the Dice of a class that is neither there nor predicted 1."""


def dice_ce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean of cross-entropy and soft Dice loss; a scalar.

    Args:
        logits: float32 of shape (N, classes, D, H, W).
        labels: integers of shape (N, D, H, W).
    """
    log_probabilities = log_softmax(logits, dim=1)
    cross_entropy = nll_loss(log_probabilities, labels.long())
    dice = _dice(log_probabilities[:, 1:].exp(), _foreground(labels, logits.shape[1]).to(logits.dtype))
    return (cross_entropy + (1 - dice).mean()) / 2


def dice_score(logits: Tensor, labels: Tensor) -> Tensor:
    """The Dice of each volume and foreground class, of the most likely classes; float32 of shape (N, classes - 1).

    Args: as for `dice_ce_loss`.
    """
    classes = logits.shape[1]
    predicted = _foreground(logits.argmax(1), classes)
    truth = _foreground(labels, classes)
    return _dice(predicted.float(), truth.float())


def _foreground(labels: Tensor, classes: int) -> Tensor:
    """One mask for each class but the background: bool of shape (N, classes - 1, D, H, W)."""
    numbers = torch.arange(1, classes, device=labels.device, dtype=labels.dtype).view(-1, 1, 1, 1)
    return labels.unsqueeze(1) == numbers


def _dice(predicted: Tensor, truth: Tensor) -> Tensor:
    """Of each volume and class."""
    space = (2, 3, 4)
    overlap = (predicted * truth).sum(space)
    return (2 * overlap + SMOOTH) / (predicted.sum(space) + truth.sum(space) + SMOOTH)
