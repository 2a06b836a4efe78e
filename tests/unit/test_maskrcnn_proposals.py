"""Anchors, their targets, losses and proposals against numbers that the reference's own functions gave.

Expected boxes are written as there, by their first and last pixels.
"""

from __future__ import annotations

import pytest
import torch

from octathlon.benchmarks.maskrcnn.boxes import clip, inclusive, sample
from octathlon.benchmarks.maskrcnn.data import Objects, Truth
from octathlon.benchmarks.maskrcnn.proposals import (
    STRIDES,
    cell_anchors,
    grid_anchors,
    label_anchors,
    proposal_losses,
    propose,
)

SIZES = (32, 64, 128, 256, 512)
IMAGE = (250, 310)
HEIGHT_WIDTH = torch.tensor([IMAGE])
MAPS = [(64, 80), (32, 40), (16, 20), (8, 10), (4, 5)]
TRUTH = torch.tensor([[20, 30, 120, 160], [200, 100, 300, 240], [5, 5, 25, 31.0]])


def test_cell_anchors_are_detectrons() -> None:
    expected = {
        4: [(-22, -10, 25, 13), (-14, -14, 17, 17), (-10, -22, 13, 25)],
        8: [(-40, -20, 47, 27), (-28, -28, 35, 35), (-20, -44, 27, 51)],
        16: [(-84, -40, 99, 55), (-56, -56, 71, 71), (-36, -80, 51, 95)],
        32: [(-164, -72, 195, 103), (-112, -112, 143, 143), (-76, -168, 107, 199)],
        64: [(-332, -152, 395, 215), (-224, -224, 287, 287), (-148, -328, 211, 391)],
    }
    for stride, size in zip(STRIDES, SIZES, strict=True):
        assert inclusive(cell_anchors(stride, size)).int().tolist() == [list(box) for box in expected[stride]]


def test_a_large_images_anchors_are_counted_as_in_the_reference() -> None:
    maps = [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]
    levels = level_anchors(maps)
    assert [len(level) for level in levels] == [201_600, 50_400, 12_600, 3_150, 819]
    sums = [inclusive(level).double().sum().item() for level in levels]
    assert sums == [431_827_200, 107_956_800, 26_989_200, 6_747_300, 1_780_506]
    first = inclusive(levels[0])[[0, 3, -1]].int().tolist()
    assert first == [[-22, -10, 25, 13], [-18, -10, 29, 13], [1330, 774, 1353, 821]]
    assert inclusive(levels[4])[-1].int().tolist() == [1132, 440, 1491, 1159]
    inside = [(label_anchors(level, TRUTH, torch.tensor([800, 1333]))[0] >= -1).sum() for level in levels]
    assert [int(each) for each in inside] == [len(level) for level in levels]
    within = [
        int(((level[:, :2] >= 0).all(1) & (level[:, 2] <= 1333) & (level[:, 3] <= 800)).sum())
        for level in levels
    ]
    assert within == [186_150, 43_460, 9_438, 1_616, 143]


@pytest.fixture(scope="module")
def anchors() -> list[torch.Tensor]:
    return level_anchors(MAPS)


def predictions(amplitude: float, frequency: float, values: int) -> list[torch.Tensor]:
    """Of each level: a wave along the reference's layout (1, 3 * values, h, w), then by row, column and ratio."""
    levels = []
    for height, width in MAPS:
        count = 3 * values * height * width
        wave = amplitude * torch.sin(frequency * torch.arange(count, dtype=torch.float64))
        by_cell = wave.view(3 * values, height, width).permute(1, 2, 0).float()
        levels.append(
            by_cell.reshape(1, -1, values).squeeze(2) if values == 1 else by_cell.reshape(1, -1, values)
        )
    return levels


def take_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws fall with the index, and the highest win."""
    monkeypatch.setattr(
        torch, "rand", lambda shape, **_: (1 - torch.arange(shape[1]) / shape[1]).expand(shape)
    )


def level_anchors(maps: list[tuple[int, int]]) -> list[torch.Tensor]:
    return [
        grid_anchors(cell_anchors(stride, size), stride, shape)
        for stride, size, shape in zip(STRIDES, SIZES, maps, strict=True)
    ]


def objects(truth: torch.Tensor, labels: torch.Tensor | None = None) -> Objects:
    labels = torch.ones(len(truth), dtype=torch.int64) if labels is None else labels
    return Objects.of([Truth(truth, labels, [[] for _ in truth])])


def test_labels_are_the_references(anchors: list[torch.Tensor]) -> None:
    labels, index = label_anchors(torch.cat(anchors), TRUTH, HEIGHT_WIDTH[0])
    assert len(labels) == 20_460
    assert (labels > 0).nonzero().flatten().tolist() == [973, 19_513, 19_787]
    assert [(labels == value).sum().item() for value in (0, -1)] == [13_250, 7_207]
    outside = label_anchors(torch.cat(anchors), TRUTH, torch.tensor([10_000, 10_000]))[0]
    assert (outside >= 0).sum() > (labels >= 0).sum()  # a larger image has more anchors inside


def test_losses_are_the_references(anchors: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_first(monkeypatch)
    logits, deltas = torch.cat(predictions(1, 0.1, 1), 1), torch.cat(predictions(0.1, 0.05, 4), 1)
    losses = proposal_losses(logits, deltas, torch.cat(anchors), HEIGHT_WIDTH, objects(TRUTH), 256)
    assert losses["objectness"].item() == pytest.approx(0.749242, rel=1e-4)
    assert losses["proposal_boxes"].item() == pytest.approx(0.004444, rel=2e-4)


def training_proposals(anchors: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return propose(
        predictions(1, 0.1, 1), predictions(0.1, 0.05, 4), anchors, HEIGHT_WIDTH, 2000, 2000, together=True
    )


def test_training_proposals_are_the_references(anchors: list[torch.Tensor]) -> None:
    boxes, scores = training_proposals(anchors)
    boxes = inclusive(torch.cat([boxes[scores >= 0], TRUTH]))
    assert len(boxes) == 2003
    expected = [
        (42.901, 75.255, 86.887, 100.218),
        (282.094, 167.271, 309, 199.978),
        (54.093, 151.273, 87.873, 183.979),
    ]
    for box, corner in zip(boxes, expected, strict=False):
        assert box.tolist() == pytest.approx(corner, abs=2e-3)
    assert boxes.double().sum().item() == pytest.approx(1_141_531.80, rel=2e-4)


def test_evaluation_proposals_are_the_references(anchors: list[torch.Tensor]) -> None:
    boxes, scores = propose(
        predictions(1, 0.1, 1), predictions(0.1, 0.05, 4), anchors, HEIGHT_WIDTH, 1000, 1000, together=False
    )
    assert (scores >= 0).sum() == 1000
    boxes = inclusive(boxes[0, scores[0].topk(1000).indices])
    best = sorted(boxes[:3].tolist())  # their scores are equal to six digits
    expected = [
        (42.901, 75.255, 86.887, 100.218),
        (85.069, 59.939, 150.257, 129.657),
        (282.094, 167.271, 309, 199.978),
    ]
    for box, corner in zip(best, expected, strict=True):
        assert box == pytest.approx(corner, abs=2e-3)


def test_in_training_the_best_of_the_whole_batch_are_kept(anchors: list[torch.Tensor]) -> None:
    """An image whose boxes score less gets fewer; in evaluation each gets its own."""
    logits = [torch.cat([each, each - 3]) for each in predictions(1, 0.1, 1)]
    deltas = [each.repeat(2, 1, 1) for each in predictions(0.1, 0.05, 4)]
    sizes = HEIGHT_WIDTH.repeat(2, 1)
    _, scores = propose(logits, deltas, anchors, sizes, 300, 400, together=True)
    assert (scores >= 0).sum(1).tolist() == [400, 0]
    _, scores = propose(logits, deltas, anchors, sizes, 300, 400, together=False)
    assert (scores >= 0).sum(1).tolist() == [400, 400]


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [(3, 100, (3, 13)), (50, 100, (4, 12)), (50, 5, (4, 5)), (0, 100, (0, 16)), (2, 0, (2, 0))],
)
def test_at_most_a_quarter_is_positive_and_negatives_fill_up(
    positives: int, negatives: int, expected: tuple[int, int]
) -> None:
    labels = torch.cat([torch.full((positives,), 7), torch.zeros(negatives), torch.full((20,), -1)]).long()
    labels = labels[torch.randperm(len(labels))].expand(2, -1)
    index, label = sample(labels, 16, 0.25)
    assert [tuple(((each > 0).sum().item(), (each == 0).sum().item())) for each in label] == [expected] * 2
    for drawn, found, all_labels in zip(index, label, labels, strict=True):
        chosen = drawn[found >= 0]
        assert all_labels[chosen].equal(found[found >= 0])
        assert (chosen.diff() > 0).all()  # none twice


def test_each_box_is_drawn_as_often_as_any_other() -> None:
    """4 of 8 positives and 12 of 24 negatives in each of 4,000 draws: one half, give or take 0.008."""
    torch.manual_seed(1)
    labels = torch.tensor([1] * 8 + [0] * 24).expand(4000, -1)
    index, _ = sample(labels, 16, 0.25)
    often = index.flatten().bincount() / len(labels)
    assert (often - 0.5).abs().max() < 0.032


def test_clipping_leaves_at_least_a_pixel() -> None:
    boxes = torch.tensor([[-5, -5, 400, 300], [400, 300, 500, 400], [-50, 10, -20, 20.0]])
    clipped = inclusive(clip(boxes[None], HEIGHT_WIDTH)[0]).tolist()
    assert clipped == [[0, 0, 309, 249], [309, 249, 309, 249], [0, 10, 0, 19]]
