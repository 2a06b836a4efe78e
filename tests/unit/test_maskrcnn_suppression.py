"""Suppression in many groups at once against torchvision's, which takes one at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou as theirs
from torchvision.ops import nms

from octathlon.benchmarks.maskrcnn.suppression import suppress, suppress_together
from octathlon.nn.boxes import box_iou


def crowded(seed: int, groups: int, boxes: int, side: float) -> torch.Tensor:
    """Boxes around a few places, so that many overlap."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(groups, 5, 2, generator=generator)[:, torch.arange(boxes) % 5] * 50
    corner = centre + torch.randn(groups, boxes, 2, generator=generator) * side
    return torch.cat([corner, corner + 1 + torch.rand(groups, boxes, 2, generator=generator) * 20], 2)


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), side=st.sampled_from([0.1, 1, 10]), limit=st.sampled_from([0.3, 0.7]))
def test_all_groups_at_once_are_as_each_by_itself(seed: int, side: float, limit: float) -> None:
    levels = [crowded(seed, 3, 60, side), crowded(seed + 1, 3, 17, side)]
    expected = []
    for groups in levels:
        expected.append(torch.zeros(groups.shape[:2], dtype=torch.bool))
        for kept, boxes in zip(expected[-1], groups, strict=True):
            kept[nms(boxes, -torch.arange(len(boxes)).float(), limit)] = True
    for found in (suppress(levels, limit), suppress_together(levels, limit)):
        assert all(one.equal(other) for one, other in zip(found, expected, strict=True))


def test_a_long_chain_is_followed_to_its_end() -> None:
    """Each box overlaps the next one alone: every second one remains."""
    left = torch.arange(100) * 3.0
    chain = torch.stack([left, torch.zeros(100), left + 10, torch.ones(100)], 1)[None]
    assert suppress_together([chain], 0.5)[0][0].tolist() == [True, False] * 50


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_torchvisions_to_the_digit(seed: int) -> None:
    first, second = crowded(seed, 2, 30, 10), crowded(seed + 9, 2, 40, 10)
    expected = torch.stack([theirs(*each) for each in zip(first, second, strict=True)])
    assert box_iou(first, second).equal(expected)
