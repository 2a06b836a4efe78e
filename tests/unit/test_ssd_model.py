"""The network against the published counts, shapes and names, and its backbone against torchvision's."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from octathlon.benchmarks.ssd.model import SSD, reference_names
from octathlon.benchmarks.ssd.schedule import WarmupAndDrops
from octathlon.config import resolve
from octathlon.scoring.compliance import expand, layers

FULL = resolve("benchmarks", "ssd", "full", {})


@pytest.fixture(scope="module")
def ssd() -> SSD:
    torch.manual_seed(1)
    return SSD(FULL, 81)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_counted_as_in_the_reference(ssd: SSD) -> None:
    parts = [count(part) for part in (ssd.backbone, ssd.extras, ssd.locations, ssd.classes)]
    assert parts == [8_170_304, 3_574_400, 387_192, 7_840_638]
    assert count(ssd) == 19_972_534
    assert len(list(ssd.parameters())) == 131
    assert sum(isinstance(module, nn.BatchNorm2d) for module in ssd.modules()) == 29
    assert all(parameter.requires_grad for parameter in ssd.parameters())


@torch.no_grad()
def test_shapes_are_the_references(ssd: SSD) -> None:
    image = torch.zeros(1, 3, 300, 300)
    features = ssd.eval().backbone(image)
    assert features.shape == (1, 256, 38, 38)
    sides = [features.shape[2]]
    for extra in ssd.extras:
        features = extra(features)
        sides.append(features.shape[2])
    assert sides == list(FULL.feature_sizes)
    locations, logits = ssd(image)
    assert locations.shape == (1, 4, 8732) and logits.shape == (1, 81, 8732)


@torch.no_grad()
def test_the_backbone_is_torchvisions_but_for_the_stride_of_the_third_stage(ssd: SSD) -> None:
    torch.manual_seed(2)
    theirs = torchvision.models.resnet34()
    for module in (theirs.layer3[0].conv1, theirs.layer3[0].downsample[0]):
        module.stride = (1, 1)
    weights = {name: value for name, value in theirs.state_dict().items() if not name.endswith("tracked")}
    ssd.backbone.load(weights)
    images = torch.randn(2, 3, 96, 64)
    expected = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    expected = theirs.layer3(theirs.layer2(theirs.layer1(expected)))
    torch.testing.assert_close(ssd.backbone.train()(images), expected)


def test_a_backbone_that_lacks_a_tensor_is_refused(ssd: SSD) -> None:
    weights = torchvision.models.resnet34().state_dict()
    del weights["layer2.1.bn1.bias"]
    with pytest.raises(RuntimeError, match="layer2.1.bn1.bias"):
        ssd.backbone.load(weights)


@torch.no_grad()
def test_predictions_are_in_the_order_of_the_default_boxes() -> None:
    """Values before shapes before cells: a channel of a head shows up where its default box stands."""
    mini = resolve("benchmarks", "ssd", "mini", {})
    model = SSD(mini, 6).eval()
    for head in (*model.locations, *model.classes):
        head.weight.zero_()
        head.bias.copy_(torch.arange(len(head.bias)))
    locations, logits = model(torch.zeros(1, 3, mini.image_size, mini.image_size))
    start = 0
    for cells, ratios in zip(mini.feature_sizes, mini.aspect_ratios, strict=True):
        shapes = 2 + 2 * len(ratios)
        for shape in range(shapes):
            stop = start + cells**2
            for found in (locations, logits):
                for value in range(found.shape[1]):
                    assert (found[0, value, start:stop] == value * shapes + shape).all()
            start = stop
    assert start == locations.shape[2] == logits.shape[2]


def test_heads_start_with_xavier_weights_and_pytorchs_biases(ssd: SSD) -> None:
    fresh = SSD(FULL, 81)
    for part in (fresh.extras, fresh.locations, fresh.classes):
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                outputs, inputs, *kernel = module.weight.shape
                limit = (6 / ((inputs + outputs) * torch.Size(kernel).numel())) ** 0.5
                assert 0.98 * limit < module.weight.abs().max() <= limit
                assert 0 < module.bias.abs().max() <= (inputs * torch.Size(kernel).numel()) ** -0.5


def test_tensors_have_the_names_that_the_round_demands() -> None:
    rules = layers("v1.1")["closed_ssd"]["weights_initialization"]
    demanded = [name for pattern in rules["tensors"] for name in expand(pattern)]
    assert len(demanded) == 119
    assert sorted(reference_names(FULL.blocks, len(FULL.extras))) == sorted(demanded)


def test_the_learning_rate_is_the_references() -> None:
    """Global batch 1,024, 2.5e-3 for each 32 images, 300 steps of warm-up."""
    over = {"global_batch_size": 1024, "learning_rate_per_32": 2.5e-3, "decay_epochs": [40, 50]}
    settings = resolve("benchmarks", "ssd", "full", over)
    schedule = WarmupAndDrops(torch.optim.SGD([nn.Parameter(torch.zeros(1))]), settings, 300)
    rates = [schedule.rate(step, 0) for step in (0, 1, 150, 299, 300, 4000)]
    assert rates == pytest.approx([0, 2.66667e-4, 0.04, 0.0797333, 0.08, 0.08], rel=1e-5)
    epochs = [schedule.rate(5000, epoch) for epoch in (39, 40, 49, 50)]
    assert epochs == pytest.approx([0.08, 0.008, 0.008, 0.0008])


def test_a_warm_up_factor_starts_it_higher() -> None:
    settings = resolve("benchmarks", "ssd", "full", {"warmup_factor": 2})
    schedule = WarmupAndDrops(torch.optim.SGD([nn.Parameter(torch.zeros(1))]), settings, 300)
    assert schedule.rate(0, 0) == pytest.approx(0.75 * settings.base_learning_rate)


@pytest.mark.big
@pytest.mark.slow
def test_a_full_size_step_learns_on_one_core(ssd: SSD) -> None:
    """Forward, loss, backward and update at full shapes: the loss of the same batch falls."""
    from octathlon.benchmarks.ssd.boxes import default_boxes, encode, match
    from octathlon.benchmarks.ssd.loss import detection_loss

    torch.manual_seed(3)
    model, defaults = SSD(FULL, 81).train(), default_boxes(FULL)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, FULL.momentum, weight_decay=FULL.weight_decay)
    truth, labels = torch.tensor([[[0.1, 0.1, 0.5, 0.6]], [[0.4, 0.3, 0.9, 0.9]]]), torch.tensor([[3], [80]])
    index, found = match(truth, labels, defaults)
    offsets = encode(truth.gather(1, index[..., None].expand(-1, -1, 4)), defaults).transpose(1, 2)
    images, losses = torch.randn(2, 3, 300, 300), []
    for _ in range(3):
        loss = detection_loss(*model(images), offsets, found)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0]
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
