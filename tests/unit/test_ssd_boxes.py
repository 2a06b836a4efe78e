"""Default boxes, matching, loss and detections against numbers that the reference's own functions gave."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from octathlon.benchmarks.ssd.boxes import corners, decode, default_boxes, detect, encode, match
from octathlon.benchmarks.ssd.loss import detection_loss
from octathlon.config import resolve
from octathlon.harness.synchronisations import count_synchronisations
from octathlon.nn.suppression import rows_of_images

FULL = resolve("benchmarks", "ssd", "full", {})
DEFAULTS = default_boxes(FULL)
TRUTH = torch.tensor([[[0.1, 0.1, 0.5, 0.6], [0.55, 0.2, 0.6, 0.9], [0.30, 0.30, 0.32, 0.33], [0, 0, 1, 1]]])
LABELS = torch.tensor([[1, 17, 44, 80]])


def wave(*shape: int, amplitude: float, frequency: float) -> torch.Tensor:
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (amplitude * torch.sin(frequency * values)).view(shape).float()


def test_default_boxes_are_the_references() -> None:
    assert DEFAULTS.shape == (8732, 4)
    sums = DEFAULTS.double().sum(0).tolist()
    assert sums == pytest.approx([4443.146675, 4443.146675, 1171.967678, 1171.967678], rel=1e-6)
    expected = {
        0: (0.01333333, 0.01333333, 0.07, 0.07),
        1: (0.04, 0.01333333, 0.07, 0.07),
        37: (1.0, 0.01333333, 0.07, 0.07),
        1443: (1.0, 1.0, 0.07, 0.07),
        8728: (0.5, 0.5, 0.87, 0.87),
        8729: (0.5, 0.5, 0.95577192, 0.95577192),
        8730: (0.5, 0.5, 1, 0.61518288),
        8731: (0.5, 0.5, 0.61518288, 1),
    }
    for index, box in expected.items():
        assert DEFAULTS[index].tolist() == pytest.approx(box, rel=1e-5)
    sides = {
        1444: (0.10246951,) * 2,
        2888: (0.09899495, 0.04949747),
        4332: (0.04949747, 0.09899495),
        5776: (0.15,) * 2,
    }
    for index, side in sides.items():
        assert DEFAULTS[index, 2:].tolist() == pytest.approx(side, rel=1e-5)
    first = corners(DEFAULTS)[0].tolist()
    assert first == pytest.approx([-0.02166667, -0.02166667, 0.04833333, 0.04833333], rel=1e-5)


def test_torchvisions_default_boxes_are_the_same_but_for_the_clamped_centres() -> None:
    scales = [scale / 300 for scale in FULL.scales]
    generator = DefaultBoxGenerator(
        [list(ratios) for ratios in FULL.aspect_ratios], scales=scales, steps=list(FULL.steps), clip=True
    )
    maps = [torch.zeros(1, 1, cells, cells) for cells in FULL.feature_sizes]
    theirs = generator(ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)]), maps)[0] / 300
    ours = corners(DEFAULTS)
    distance = torch.cdist(ours.double(), theirs.double()).min(1).values
    moved = (distance > 1e-5).nonzero().flatten()
    assert len(moved) == 6 * 19  # last row and column of the 10 x 10 map
    assert ((moved >= 7942) & (moved < 8542)).all()
    assert distance.max().item() == pytest.approx(0.01333333 * 2, rel=0.5)


def test_the_best_boxes_are_matched_and_the_rest_is_background() -> None:
    index, labels = match(TRUTH, LABELS, DEFAULTS)
    positive = labels[0].nonzero().flatten()
    groups = {label: positive[labels[0, positive] == label].tolist() for label in (1, 17, 44, 80)}
    assert len(positive) == 19
    assert len(groups[1]) == 12 and groups[1][0] == 7964 and sum(groups[1]) == 99_137
    assert groups[17] == [7705] and groups[44] == [429]  # far below one half: forced
    assert groups[80] == [8705, 8728, 8729, 8730, 8731]
    offsets = encode(TRUTH[0, index[0]], DEFAULTS)
    expected = {
        7964: (1.010101, 2.525253, 0.961859, 2.077577),
        7705: (1.732056, 7.826304, -2.746529, 4.955695),
        429: (0.47619, 1.190475, -6.26382, -4.236489),
        8705: (0, 0, 1.275815, 1.275815),
    }
    for box, values in expected.items():
        assert offsets[box].tolist() == pytest.approx(values, abs=2e-5)
    # the reference adds the rounding errors of all boxes that match nothing
    assert offsets[positive].abs().sum().item() == pytest.approx(91.276599, abs=0.03)
    torch.testing.assert_close(
        decode(offsets[positive], DEFAULTS[positive]), TRUTH[0, index[0, positive]], atol=1e-6, rtol=0
    )


def test_the_last_of_two_boxes_takes_the_default_box_that_is_best_for_both() -> None:
    truth = torch.tensor([[[0.30, 0.30, 0.32, 0.33], [0.301, 0.301, 0.321, 0.331]]])
    index, labels = match(truth, torch.tensor([[5, 6]]), DEFAULTS)
    assert labels[0, 429] == 6 and index[0, 429] == 1 and (labels > 0).sum() == 1
    index, labels = match(truth.flip(1), torch.tensor([[6, 5]]), DEFAULTS)
    assert labels[0, 429] == 5


def test_padding_boxes_match_nothing() -> None:
    padded = torch.cat([TRUTH, torch.zeros(1, 3, 4)], 1)
    found = match(padded, torch.cat([LABELS, torch.zeros(1, 3, dtype=torch.int64)], 1), DEFAULTS)
    torch.testing.assert_close(found[1], match(TRUTH, LABELS, DEFAULTS)[1])


def batch_of_two() -> tuple[torch.Tensor, torch.Tensor]:
    """Offsets and labels of the example above and of an image with one box."""
    truth = torch.cat([TRUTH, torch.zeros(1, 4, 4)])
    truth[1, 0] = torch.tensor([0.2, 0.3, 0.8, 0.7])
    index, labels = match(truth, torch.cat([LABELS, torch.tensor([[3, 0, 0, 0]])]), DEFAULTS)
    assert (labels[1] > 0).sum() == 10
    boxes = truth.gather(1, index[..., None].expand(-1, -1, 4))
    return encode(boxes, DEFAULTS).transpose(1, 2), labels


def test_the_loss_is_the_references() -> None:
    offsets, labels = batch_of_two()
    locations = wave(2, 4, 8732, amplitude=0.5, frequency=0.01).requires_grad_()
    logits = wave(2, 81, 8732, amplitude=2, frequency=0.001).requires_grad_()
    loss = detection_loss(locations, logits, offsets, labels)
    assert loss.item() == pytest.approx(30.279495, rel=1e-5)
    loss.backward()
    assert locations.grad.abs().sum().item() == pytest.approx(2.950469, rel=1e-5)
    assert logits.grad.abs().sum().item() == pytest.approx(7.976380, rel=1e-5)
    labels[1] = 0  # counts as 0, but it counts
    assert detection_loss(locations, logits, offsets, labels).item() == pytest.approx(15.972398, rel=1e-5)


def test_a_box_without_height_leaves_loss_and_gradients_finite() -> None:
    truth = torch.tensor([[[0.3, 0.5, 0.5, 0.5]]])
    index, labels = match(truth, torch.tensor([[1]]), DEFAULTS)
    assert (labels > 0).sum() == 1
    offsets = encode(truth[0, index], DEFAULTS).transpose(1, 2)
    locations = torch.zeros(1, 4, 8732, requires_grad=True)
    loss = detection_loss(locations, torch.zeros(1, 3, 8732), offsets, labels)
    loss.backward()
    assert loss.isfinite() and locations.grad.abs().max() <= 1


def test_detections_are_the_references() -> None:
    locations, logits = torch.zeros(2, 4, 8732), torch.zeros(2, 81, 8732)
    locations[1, :, 100] = torch.tensor([1, -1, 0.5, -0.5])
    logits[:, 0] = 6
    for (label, box), value in {
        (1, 0): 9,
        (1, 1): 8.5,
        (2, 8731): 10,
        (2, 8728): 9.5,
        (5, 100): 7,
        (3, 5776): 6.5,
        (3, 5777): 6.4,
    }.items():
        logits[1, label, box] = value
    images, boxes, scores, labels = detect(locations, logits, DEFAULTS)
    expected = [
        (2, 0.978567, (0.192409, 0, 0.807591, 1)),
        (1, 0.943809, (-0.021667, -0.021667, 0.048333, 0.048333)),
        (1, 0.910615, (0.005, -0.021667, 0.075, 0.048333)),
        (5, 0.694484, (0.621652, 0.027997, 0.699014, 0.091336)),
        (3, 0.579608, (-0.048333, -0.048333, 0.101667, 0.101667)),
        (3, 0.555067, (0.005, -0.048333, 0.155, 0.101667)),
    ]
    assert images.tolist() == [1] * 6  # there is nothing in the first one
    assert labels.tolist() == [label for label, _, _ in expected]  # box 8728 is suppressed by 8731
    assert scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-5)
    for box, (_, _, corner) in zip(boxes, expected, strict=True):
        assert box.tolist() == pytest.approx(corner, abs=1e-5)


def test_images_without_detections_have_none() -> None:
    logits = torch.zeros(3, 81, 8732)
    logits[:, 0] = 20
    rows = rows_of_images(detect(torch.zeros(3, 4, 8732), logits, DEFAULTS), 3)
    assert [row.shape for row in rows] == [(0, 6)] * 3


@pytest.mark.parametrize("images", [1, 5])
def test_the_device_is_asked_as_often_for_one_image_as_for_many(images: int) -> None:
    """For the candidates, the number and size of the groups to suppress, and the best; then one copy, which is counted
    by image on the host."""
    torch.manual_seed(images)
    locations, logits = torch.randn(images, 4, 8732), 3 * torch.randn(images, 81, 8732)
    found = []

    def work() -> None:
        found.extend(rows_of_images(detect(locations, logits, DEFAULTS), images))

    seen = count_synchronisations(locations.device, work)
    on_host = {"aten.bincount.default": 1, "tolist": 1}
    assert seen - Counter(on_host) == {"aten.nonzero.default": 2, "tolist": 1, "cpu": 1}
    assert [len(rows) for rows in found] == [200] * images
