"""Heads, masks and the coder of boxes against numbers that the reference's own functions gave."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as official
from test_maskrcnn_proposals import (
    IMAGE,
    MAPS,
    TRUTH,
    level_anchors,
    objects,
    take_the_first,
    training_proposals,
)
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import MultiScaleRoIAlign

from octathlon.benchmarks.maskrcnn.boxes import decode, encode, inclusive
from octathlon.benchmarks.maskrcnn.heads import (
    WEIGHTS,
    box_losses,
    detect,
    draw,
    mask_loss,
    pool,
    pyramid_level,
)
from octathlon.benchmarks.maskrcnn.masks import Outlines, Polygons, mask_targets, paste
from octathlon.benchmarks.maskrcnn.proposals import STRIDES
from octathlon.benchmarks.maskrcnn.proposals import WEIGHTS as PROPOSAL_WEIGHTS

LABELS = torch.tensor([1, 17, 80])
POLYGONS = [
    [np.array([[20, 30], [119, 30], [119, 159], [20, 159]])],
    [np.array([[200, 100], [299, 100], [250, 239]])],
    [np.array([[5, 5], [24, 5], [24, 30], [5, 30]])],
]


def exclusive(*boxes: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(boxes) + torch.tensor([0, 0, 1, 1.0])


def wave(*shape: int, amplitude: float, frequency: float) -> torch.Tensor:
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (amplitude * torch.sin(frequency * values)).view(shape).float()


def test_boxes_are_encoded_as_in_the_reference() -> None:
    truth = exclusive((10, 20, 109, 219)).expand(2, 4)
    deltas = encode(truth, exclusive((0, 10, 99, 209), (30, 40, 89, 119)), WEIGHTS)
    assert deltas[0].tolist() == pytest.approx([1, 0.5, 0, 0], abs=1e-5)
    assert deltas[1].tolist() == pytest.approx([0, 5, 2.554128, 4.581454], abs=1e-5)


def test_decoded_sides_are_capped() -> None:
    boxes = decode(torch.tensor([[0, 0, 50, 50.0]]), exclusive((30, 40, 89, 119)), PROPOSAL_WEIGHTS)
    assert inclusive(boxes)[0].tolist() == pytest.approx([-1815, -2420, 1934, 2579], rel=1e-5)


def test_larger_boxes_are_pooled_from_coarser_levels() -> None:
    boxes = torch.tensor([[0, 0, side + 1, side + 1] for side in (110, 111, 222, 223, 446, 447)]).float()
    assert pyramid_level(boxes, 224).tolist() == [0, 1, 1, 2, 2, 3]


def test_pooling_is_torchvisions() -> None:
    torch.manual_seed(1)
    maps = [torch.randn(2, 3, *shape) for shape in MAPS[:4]]
    corner = torch.rand(20, 2) * 150
    boxes = torch.cat([corner, corner + torch.rand(20, 2) * 150 + 4], 1)
    theirs = MultiScaleRoIAlign([str(level) for level in range(4)], 7, 2)
    levels = pyramid_level(boxes, 224)
    # its own mapper differs in where it adds 1e-6
    theirs.scales, theirs.map_levels = (
        [1 / stride for stride in STRIDES[:4]],
        lambda _boxes: torch.cat([levels[::2], levels[1::2]]),
    )
    expected = theirs(
        {str(level): each for level, each in enumerate(maps)},
        [inclusive(boxes[::2]), inclusive(boxes[1::2])],
        [IMAGE] * 2,
    )
    assert len(levels.unique()) > 1
    found = pool(maps, boxes, torch.arange(20) % 2, 7, 224)
    torch.testing.assert_close(torch.cat([found[::2], found[1::2]]), expected)


def test_in_half_precision_regions_stay_where_they_are() -> None:
    torch.manual_seed(1)
    maps = [torch.randn(1, 3, *shape).bfloat16() for shape in MAPS[:4]]
    boxes = torch.tensor([[101.3, 57.7, 190.1, 143.9], [33.3, 7.7, 303.1, 241.9]])
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(maps, boxes, torch.zeros(2), 7, 224)
    torch.testing.assert_close(
        found.float(), pool([each.float() for each in maps], boxes, torch.zeros(2), 7, 224)
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    take_the_first(monkeypatch)
    proposals = training_proposals(level_anchors(MAPS))
    return tuple(each[0] for each in draw(*proposals, objects(TRUTH, LABELS), 512))


def test_the_drawn_boxes_are_the_references(drawn) -> None:
    _, labels, _ = drawn
    counts = [(labels == label).sum().item() for label in (0, 1, 17, 80)]
    assert counts == [485, 10, 14, 3]


def test_the_losses_are_the_references(drawn) -> None:
    boxes, labels, index = drawn
    logits, deltas = (
        wave(512, 81, amplitude=1, frequency=0.01),
        wave(512, 324, amplitude=0.2, frequency=0.003),
    )
    losses = box_losses(logits, deltas, boxes, labels, TRUTH[index])
    assert losses["classes"].item() == pytest.approx(4.407429, rel=1e-4)
    assert losses["boxes"].item() == pytest.approx(0.110421, rel=1e-4)
    found = labels > 0
    masks = wave(27, 81, 28, 28, amplitude=1, frequency=0.001)
    targets = targets_of(inclusive(boxes[found]), [POLYGONS[i] for i in index[found]])
    loss = mask_loss(masks, labels[found], targets)
    assert loss.item() == pytest.approx(0.797388, rel=1e-4)


def targets_of(boxes: torch.Tensor, polygons: list[Polygons]) -> torch.Tensor:
    """Of one object for each box, the last ones first among the outlines."""
    outlines = Outlines.of(polygons[::-1])
    objects = torch.arange(len(boxes)).flip(0)
    edges, parts = (int(each.sum()) for each in (outlines.edge_counts, outlines.part_counts))
    return mask_targets(boxes, objects, outlines, edges, parts)


def test_mask_targets_are_filled_as_coco_fills_polygons() -> None:
    boxes = torch.tensor([[20, 30, 119, 159], [200, 100, 299, 239], [190, 90, 280, 200]]).float()
    targets = targets_of(boxes, [POLYGONS[0], POLYGONS[1], POLYGONS[1]]).numpy()
    assert targets.sum((1, 2)).tolist() == [784, 392, 448]
    assert targets[1, 0].all()
    assert targets[1, 14].nonzero()[0].tolist() == list(range(7, 21))
    assert targets[2, 5].nonzero()[0][0] == 5


def test_the_parts_of_an_object_are_united() -> None:
    halves = [
        np.array([[0, 0], [10, 0], [10, 27], [0, 27.0]]),
        np.array([[20, 0], [27, 0], [27, 27], [20, 27.0]]),
    ]
    target = targets_of(torch.tensor([[0, 0, 27, 27.0]]), [halves])[0]
    assert target[:, 5].all() and target[:, 24].all() and not target[:, 15].any()


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), whole=st.booleans(), spread=st.sampled_from([1, 30, 200]))
def test_mask_targets_are_cocos_pixel_for_pixel(seed: int, whole: bool, spread: int) -> None:
    """Outlines of one to three parts, within boxes, through them and beyond, that cross themselves and each other."""
    rng = np.random.default_rng(seed)
    polygons = [
        [rng.normal(100, spread, (rng.integers(3, 20), 2)) for _ in range(rng.integers(1, 4))]
        for _ in range(8)
    ]
    corner = rng.uniform(0, 150, (8, 2))
    boxes = np.concatenate([corner, corner + rng.exponential(50, (8, 2))], 1).astype(np.float32)
    if whole:
        boxes, polygons = boxes.round(), [[part.round() for part in parts] for parts in polygons]
    expected = []
    for box, parts in zip(boxes, polygons, strict=True):
        scale = 28 / (box[2:] - box[:2]).clip(1)
        moved = [((part - box[:2]) * scale).ravel().tolist() for part in parts]
        expected.append(official.decode(official.merge(official.frPyObjects(moved, 28, 28))))
    assert (targets_of(torch.from_numpy(boxes), polygons).numpy() == np.stack(expected)).all()


def test_detections_are_the_references() -> None:
    boxes = exclusive((10, 10, 59, 59), (12, 12, 61, 61), (100, 80, 199, 199), (250, 200, 309, 249))
    logits, deltas = torch.zeros(4, 81), torch.zeros(4, 81, 4)
    for (region, label), value in {
        (0, 1): 5,
        (1, 1): 4.5,
        (2, 3): 6,
        (2, 4): 5.5,
        (3, 80): 4,
        (3, 0): 4,
    }.items():
        logits[region, label] = value
    deltas[2, 3] = torch.tensor([1, -1, 0.5, -0.5])
    deltas[3, 80] = torch.tensor([5, 5, 1, 1])
    owners, sizes = torch.ones(4, dtype=torch.int64), torch.tensor([[20, 20], IMAGE])
    images, found, scores, labels = detect(logits, deltas.flatten(1), boxes, owners, sizes)
    expected = [
        (1, 0.649757, (10, 10, 59, 59)),
        (3, 0.554831, (104.7415, 73.7098, 214.2585, 181.2903)),
        (4, 0.336522, (100, 80, 199, 199)),
        (80, 0.290113, (273.3579, 219.4649, 309, 249)),
    ]
    assert images.tolist() == [1] * 4
    assert labels.tolist() == [label for label, _, _ in expected]
    assert scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-5)
    for box, (_, _, corner) in zip(inclusive(found), expected, strict=True):
        assert box.tolist() == pytest.approx(corner, abs=1e-3)


def test_masks_are_pasted_as_in_the_reference() -> None:
    ramp = (torch.arange(784) / 783).view(1, 28, 28)
    pixels = official.decode(paste(ramp, torch.tensor([[10, 10, 59, 59.0]]), IMAGE)[0])
    rows, columns = pixels.nonzero()
    assert pixels.shape == IMAGE and len(rows) == 1195
    assert (rows[0], columns[0]) == (34, 35) and (rows[-1], columns[-1]) == (58, 58)
    full = official.decode(paste(torch.ones(1, 28, 28), torch.tensor([[10.3, 10.7, 59.2, 59.9]]), IMAGE)[0])
    rows, columns = full.nonzero()
    assert len(rows) == 2450 and (rows.min(), rows.max(), columns.min()) == (10, 59, 10)


@settings(max_examples=100)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    places=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_run_lengths_are_those_of_whole_pictures(
    size: tuple[int, int], places: list[tuple[float, ...]], seed: int
) -> None:
    """Against torchvision's pictures and pycocotools' encoder, with boxes of all sizes at all edges; a third of the
    masks is full, so that runs go on from column to column."""
    height, width = size
    corners = torch.tensor(places).view(-1, 2, 2).sort(1).values
    boxes = (corners * torch.tensor([width - 1, height - 1])).view(-1, 4)
    masks = torch.rand(len(boxes), 28, 28, generator=torch.Generator().manual_seed(seed))
    masks[seed % 3 :: 3] = 1
    pictures = paste_masks_in_image(masks[:, None], boxes, size)[:, 0] > 0.5
    expected = official.encode(np.asfortranarray(pictures.permute(1, 2, 0).byte().numpy()))
    assert paste(masks, boxes, size) == expected


def test_nothing_found_pastes_nothing() -> None:
    assert paste(torch.zeros(0, 28, 28), torch.zeros(0, 4), IMAGE) == []
