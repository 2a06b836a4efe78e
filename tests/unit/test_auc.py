"""The exact AUC against hand-made cases and scikit-learn, alone and over ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from test_world import on_ranks

from octathlon.nn.auc import roc_auc


@pytest.mark.parametrize(
    ("labels", "scores", "auc"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([0, 1, 1, 0], [0.5, 0.5, 0.8, 0.2], 0.875),
        ([0, 1], [0.5, 0.5], 0.5),
        ([1, 0], [0.1, 0.9], 0.0),
        ([0, 1, 1], [0.1, float("nan"), 0.9], 0.0),
        ([1, 1], [0.1, 0.9], 0.0),
        ([], [], 0.0),
    ],
)
def test_cases(labels: list[int], scores: list[float], auc: float) -> None:
    assert roc_auc(torch.tensor(scores), torch.tensor(labels)) == auc


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60))
def test_equals_scikit_learn_with_ties(rows: list[tuple[int, int]]) -> None:
    labels, scores = np.array(rows).T
    if 0 < labels.sum() < len(labels):
        expected = roc_auc_score(labels, scores / 8)
        assert roc_auc(torch.tensor(scores / 8).float(), torch.tensor(labels)) == pytest.approx(
            expected, abs=1e-12
        )


def _scores(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.rand(count, generator=generator) < 0.03
    return (torch.randn(count, generator=generator) + labels).sigmoid(), labels


def test_counts_beyond_32_bit_floats() -> None:
    """More negatives than 2^24, where a float32 stops counting."""
    negatives, positives = 2**24 + 4, 2
    scores = torch.cat([torch.zeros(negatives), torch.tensor([1.0, -1.0])])
    labels = torch.cat([torch.zeros(negatives), torch.ones(positives)])
    assert roc_auc(scores, labels) == 0.5


def _on_a_share(rank: int) -> float:
    scores, labels = _scores(1001)
    part = slice(0, 700) if rank == 0 else slice(700, None)
    return roc_auc(scores[part], labels[part])


def test_two_ranks_are_as_one(tmp_path: Path) -> None:
    assert on_ranks(2, tmp_path, _on_a_share) == [roc_auc(*_scores(1001))] * 2
