"""Suppression in many groups and images at once against torchvision's, which takes one at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou as theirs
from torchvision.ops import nms

from octathlon.nn import suppression
from octathlon.nn.boxes import box_iou
from octathlon.nn.suppression import Found, best_of_images, rows_of_images, suppress, suppress_together


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


def objects(seed: int, images: int, count: int) -> Found:
    """Of three labels, many with another one's score; the last image has none."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(images - 1, (count,), generator=generator).sort().values
    labels = torch.randint(1, 4, (count,), generator=generator)
    scores = torch.randint(1 + count // 2, (count,), generator=generator) / 100
    return Found(image, crowded(seed, 1, count, 5)[0], scores, labels)


def one_by_one(found: Found, images: int, limit: float, most: int) -> Found:
    """A label of an image at a time."""
    best = []
    for image in range(images):
        kept = []
        for label in range(1, 4):
            own = ((found.images == image) & (found.labels == label)).nonzero().flatten()
            own = own[found.scores[own].argsort(descending=True, stable=True)]
            kept += own[nms(found.boxes[own], -torch.arange(len(own)).float(), limit)].tolist()
        best += sorted(sorted(kept), key=lambda at: -found.scores[at])[:most]
    return Found(*(each[best] for each in found))


@pytest.mark.parametrize("way", [suppress, suppress_together])
@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6), count=st.sampled_from([0, 1, 40, 150]), most=st.sampled_from([1, 12, 1000])
)
def test_the_best_of_a_batch_are_those_of_each_image_and_label(way, seed: int, count: int, most: int) -> None:
    found = objects(seed, 4, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppression, "suppress", way)  # the way for a GPU, too
        best = best_of_images(found, 4, 0.5, most)
    for one, other in zip(best, one_by_one(found, 4, 0.5, most), strict=True):
        assert one.equal(other)


def test_rows_come_image_by_image_with_what_goes_along() -> None:
    found = Found(
        torch.tensor([0, 2, 2]),
        torch.arange(12.0).view(3, 4),
        torch.tensor([0.5, 0.75, 0.25]),
        torch.tensor([7, 80, 1]),
    )
    first, second, third, fourth = rows_of_images(found, 4, torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
    assert first.tolist() == [[0, 1, 2, 3, 0.5, 7, 1, 2]]
    assert third.tolist() == [[4, 5, 6, 7, 0.75, 80, 3, 4], [8, 9, 10, 11, 0.25, 1, 5, 6]]
    assert second.shape == fourth.shape == (0, 8)


@pytest.mark.parametrize("seed", range(3))
def test_overlaps_are_torchvisions_to_the_digit(seed: int) -> None:
    first, second = crowded(seed, 2, 30, 10), crowded(seed + 9, 2, 40, 10)
    expected = torch.stack([theirs(*each) for each in zip(first, second, strict=True)])
    assert box_iou(first, second).equal(expected)
