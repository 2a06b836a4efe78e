"""Anchors, their targets, losses and proposals against numbers that the reference's own functions gave.

Expected boxes are written as there, by their first and last pixels.
"""

from __future__ import annotations

import pytest
import torch

from octathlon.benchmarks.maskrcnn.boxes import clip, inclusive
from octathlon.benchmarks.maskrcnn.proposals import (
    STRIDES,
    cell_anchors,
    grid_anchors,
    label_anchors,
    proposal_losses,
    propose,
)

SIZES = (32, 64, 128, 256, 512)
CPU = torch.device("cpu")
IMAGE = (250, 310)
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
    levels = [grid_anchors(*each, CPU) for each in zip(STRIDES, SIZES, maps, strict=True)]
    assert [len(level) for level in levels] == [201_600, 50_400, 12_600, 3_150, 819]
    sums = [inclusive(level).double().sum().item() for level in levels]
    assert sums == [431_827_200, 107_956_800, 26_989_200, 6_747_300, 1_780_506]
    first = inclusive(levels[0])[[0, 3, -1]].int().tolist()
    assert first == [[-22, -10, 25, 13], [-18, -10, 29, 13], [1330, 774, 1353, 821]]
    assert inclusive(levels[4])[-1].int().tolist() == [1132, 440, 1491, 1159]
    inside = [(label_anchors(level, TRUTH, (800, 1333))[0] >= -1).sum() for level in levels]
    assert [int(each) for each in inside] == [len(level) for level in levels]
    within = [
        int(((level[:, :2] >= 0).all(1) & (level[:, 2] <= 1333) & (level[:, 3] <= 800)).sum())
        for level in levels
    ]
    assert within == [186_150, 43_460, 9_438, 1_616, 143]


@pytest.fixture(scope="module")
def anchors() -> list[torch.Tensor]:
    return [grid_anchors(*each, CPU) for each in zip(STRIDES, SIZES, MAPS, strict=True)]


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
    monkeypatch.setattr(torch, "randperm", lambda count, **_options: torch.arange(count))


def test_labels_are_the_references(anchors: list[torch.Tensor]) -> None:
    labels, index = label_anchors(torch.cat(anchors), TRUTH, IMAGE)
    assert len(labels) == 20_460
    assert (labels > 0).nonzero().flatten().tolist() == [973, 19_513, 19_787]
    assert [(labels == value).sum().item() for value in (0, -1)] == [13_250, 7_207]
    outside = label_anchors(torch.cat(anchors), TRUTH, (10_000, 10_000))[0]
    assert (outside >= 0).sum() > (labels >= 0).sum()  # a larger image has more anchors inside


def test_losses_are_the_references(anchors: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_first(monkeypatch)
    logits, deltas = torch.cat(predictions(1, 0.1, 1), 1), torch.cat(predictions(0.1, 0.05, 4), 1)
    losses = proposal_losses(logits, deltas, torch.cat(anchors), [IMAGE], [TRUTH], 256)
    assert losses["objectness"].item() == pytest.approx(0.749242, rel=1e-4)
    assert losses["proposal_boxes"].item() == pytest.approx(0.004444, rel=2e-4)


def training_proposals(anchors: list[torch.Tensor]) -> torch.Tensor:
    found = propose(
        predictions(1, 0.1, 1), predictions(0.1, 0.05, 4), anchors, [IMAGE], 2000, 2000, together=True
    )
    return torch.cat([found[0], TRUTH])


def test_training_proposals_are_the_references(anchors: list[torch.Tensor]) -> None:
    boxes = inclusive(training_proposals(anchors))
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
    found = propose(
        predictions(1, 0.1, 1), predictions(0.1, 0.05, 4), anchors, [IMAGE], 1000, 1000, together=False
    )
    boxes = inclusive(found[0])
    assert len(boxes) == 1000
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
    first, second = propose(logits, deltas, anchors, [IMAGE] * 2, 300, 400, together=True)
    assert len(first) + len(second) == 400 and len(second) == 0
    separate = propose(logits, deltas, anchors, [IMAGE] * 2, 300, 400, together=False)
    assert [len(each) for each in separate] == [400, 400]


def test_clipping_leaves_at_least_a_pixel() -> None:
    boxes = torch.tensor([[-5, -5, 400, 300], [400, 300, 500, 400], [-50, 10, -20, 20.0]])
    clipped = inclusive(clip(boxes, IMAGE)).tolist()
    assert clipped == [[0, 0, 309, 249], [309, 249, 309, 249], [0, 10, 0, 19]]
