"""The exact area under the ROC curve, over any number of ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from octathlon.nn.world import all_gather

BYTES = 64
"""Memory that `roc_auc` needs on each rank for a sample of all ranks."""


def roc_auc(scores: Tensor, labels: Tensor) -> float:
    """The chance that a positive scores above a negative, ties counting half: all pairs, in whole numbers.

    It is the trapezoid over the distinct scores, scikit-learn's roc_auc_score. Sums of 32-bit floats would
    lose counts above 2^24.

    Args:
        scores: this rank's, of shape (N,); N may differ from rank to rank.
        labels: 1 (or True) for positives, 0 for negatives.

    Returns:
        The same on every rank; 0 if a score is NaN (a diverged model) or fewer than two classes are there.
    """
    scores, labels = all_gather(scores), all_gather(labels).long()
    if not len(scores) or scores.isnan().any():
        return 0.0
    scores, order = scores.sort()
    positives = labels[order].cumsum(0)
    last = torch.ones_like(scores, dtype=torch.bool)  # of a run of equal scores
    last[:-1] = scores[1:] != scores[:-1]
    ends = last.nonzero().squeeze(1)
    positives_up_to = positives[ends]
    negatives_up_to = ends + 1 - positives_up_to
    here = positives_up_to.diff(prepend=positives_up_to.new_zeros(1))
    negatives_below = torch.cat([negatives_up_to.new_zeros(1), negatives_up_to[:-1]])
    twice_won = (here * (negatives_below + negatives_up_to)).sum()
    pairs = int(positives_up_to[-1]) * int(negatives_up_to[-1])
    return int(twice_won) / (2 * pairs) if pairs else 0.0
