"""The network against torchvision's Mask R-CNN and the published counts; rates; names; a step at full size."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.ops import FrozenBatchNorm2d

from octathlon.benchmarks.maskrcnn.data import Images, Objects, Truth
from octathlon.benchmarks.maskrcnn.model import MaskRCNN, reference_names
from octathlon.benchmarks.maskrcnn.schedule import WarmupAndDrops, optimizer_of
from octathlon.config import resolve
from octathlon.contracts import Progress
from octathlon.harness.synchronisations import count_synchronisations
from octathlon.scoring.compliance import expand, layers

FULL = resolve("benchmarks", "maskrcnn", "full", {})


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    torch.manual_seed(1)
    return MaskRCNN(FULL, 81)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_counted_as_in_the_reference(model: MaskRCNN) -> None:
    parts = (model.body, model.pyramid, model.proposals, model.box_head, model.mask_head)
    assert [count(part) for part in parts] == [23_454_912, 3_344_384, 593_935, 14_310_805, 2_643_537]
    assert count(model) == 44_347_573
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == 44_125_173 and len(trained) == 84
    assert len(list(model.parameters())) - len(trained) == 11


def twin() -> nn.Module:
    """torchvision's model, its norms constant and its strides as in the MSRA networks, with random norms."""
    torch.manual_seed(2)
    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=81, trainable_backbone_layers=3
    )
    body = theirs.backbone.body
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            norm = FrozenBatchNorm2d(module.num_features, eps=0.0)
            norm.weight.uniform_(0.5, 1)
            norm.bias.normal_(0, 0.1)
            parent, _, leaf = name.rpartition(".")
            setattr(body.get_submodule(parent), leaf, norm)
    for layer in (body.layer2, body.layer3, body.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return theirs.eval()


@torch.no_grad()
def test_with_equal_weights_torchvisions_parts_compute_the_same(model: MaskRCNN) -> None:
    theirs, ours = twin(), model.eval()
    norms = ("running_mean", "running_var")
    ours.body.load({n: v for n, v in theirs.backbone.body.state_dict().items() if not n.endswith(norms)})
    ours.pyramid.load_state_dict(theirs.backbone.fpn.state_dict())
    ours.proposals.load_state_dict(theirs.rpn.head.state_dict())
    ours.box_head.layers.load_state_dict(theirs.roi_heads.box_head.state_dict())
    ours.box_head.predictor.load_state_dict(theirs.roi_heads.box_predictor.state_dict())
    ours.mask_head.layers.load_state_dict(theirs.roi_heads.mask_head.state_dict())
    ours.mask_head.predictor.load_state_dict(theirs.roi_heads.mask_predictor.state_dict())

    images = torch.randn(1, 3, 256, 320)
    expected = list(theirs.backbone(images).values())
    found = ours.pyramid(ours.body(images))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours.proposals(found), theirs.rpn.head(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    pooled = torch.randn(3, 256, 7, 7)
    for one, other in zip(
        ours.box_head(pooled), theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled)), strict=True
    ):
        torch.testing.assert_close(one, other)
    pooled = torch.randn(3, 256, 14, 14)
    expected = theirs.roi_heads.mask_predictor(theirs.roi_heads.mask_head(pooled))
    torch.testing.assert_close(ours.mask_head(pooled), expected)


def test_stem_and_first_stage_do_not_learn_and_norms_are_no_parameters(model: MaskRCNN) -> None:
    fixed = {name for name, parameter in model.body.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in fixed} == {"conv1", "layer1"}
    assert not any("scale" in name or "shift" in name for name, _ in model.named_parameters())
    assert len([name for name, _ in model.body.named_buffers()]) == 2 * 53


def test_a_backbone_that_lacks_a_tensor_is_refused(model: MaskRCNN) -> None:
    weights = {n: v for n, v in twin().backbone.body.state_dict().items() if "running" not in n}
    del weights["layer2.1.bn1.bias"]
    with pytest.raises(RuntimeError, match=r"layer2.1.conv1.shift"):
        model.body.load(weights)


def test_heads_start_as_in_the_reference() -> None:
    fresh = MaskRCNN(FULL, 81)
    assert all(not p.any() for n, p in fresh.named_parameters() if n.endswith("bias"))
    assert fresh.proposals.cls_logits.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert fresh.box_head.predictor.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert fresh.box_head.predictor.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
    fc6 = fresh.box_head.layers.fc6.weight  # uniform with a = 1: +- sqrt(3 / fan in)
    assert fc6.abs().max().item() == pytest.approx((3 / fc6.shape[1]) ** 0.5, rel=1e-3)


def test_tensors_have_the_names_that_the_round_demands() -> None:
    rules = layers("v1.1")["closed_maskrcnn"]["weights_initialization"]
    demanded = [name for pattern in rules["tensors"] for name in expand(pattern)]
    assert len(demanded) == 21
    assert sorted(reference_names()) == sorted(demanded)


def test_biases_learn_twice_as_fast_and_do_not_decay(model: MaskRCNN) -> None:
    optimizer = optimizer_of(model, FULL)
    weights, biases = optimizer.param_groups
    assert weights["weight_decay"] == FULL.weight_decay and biases["weight_decay"] == 0
    assert len(biases["params"]) == 21 and sum(p.numel() for p in biases["params"]) == 6_133
    assert len(weights["params"]) == 63
    schedule = WarmupAndDrops(optimizer, FULL)
    expected = {1: (0.000192, 0.120192), 250: (0.048, 0.168), 625: (0.12, 0.24), 11_999: (0.12, 0.24)}
    expected |= {12_000: (0.012, 0.024), 16_000: (0.0012, 0.0024)}
    for step, rates in expected.items():
        schedule.set(Progress(train_samples=1, steps=step - 1))
        assert (weights["lr"], biases["lr"]) == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize("images", [1, 6])
@torch.no_grad()
def test_the_device_is_asked_as_often_for_one_image_as_for_many(images: int) -> None:
    """For proposals and candidates, the groups to suppress, the best and twice the boxes of each level; then one copy,
    which is counted by image on the host."""
    torch.manual_seed(4)
    small = MaskRCNN(resolve("benchmarks", "maskrcnn", "mini", {}), 6).eval()
    small.box_head.predictor.cls_score.weight *= 30
    batch = Images(
        torch.randn(images, 3, 96, 128) * 50, torch.tensor([[96, 128 - image] for image in range(images)])
    )
    found = []
    seen = count_synchronisations(batch.pixels.device, lambda: found.extend(small(batch)))
    on_host = {"aten.bincount.default": 1, "tolist": 1}
    assert seen - Counter(on_host) == {"aten.nonzero.default": 3, "tolist": 3, "cpu": 1}
    assert len(found) == images and all(len(each.scores) for each in found)
    assert all(each.masks.shape == (len(each.labels), 28, 28) for each in found)


@pytest.mark.big
@pytest.mark.slow
def test_a_full_size_step_on_one_core(model: MaskRCNN) -> None:
    """Forward, five losses, backward and update of one image of the largest shape."""
    torch.manual_seed(3)
    model.train()
    images = Images(torch.randn(1, 3, 800, 1344) * 50, torch.tensor([[800, 1333]]))
    box = torch.tensor([[200, 100, 901, 701], [1000, 300, 1101, 500.0]])
    corners = [[each[[0, 1, 2, 1, 2, 3, 0, 3]].view(4, 2).numpy()] for each in box]
    losses = model(images, Objects.of([Truth(box, torch.tensor([3, 80]), corners)]))
    assert set(losses) == {"objectness", "proposal_boxes", "classes", "boxes", "masks"}
    assert losses["objectness"].item() == pytest.approx(0.7, abs=0.5)
    assert losses["masks"].item() == pytest.approx(0.7, abs=0.5)
    optimizer = optimizer_of(model, FULL)
    before = model.body.layer4[2].conv3.weight.detach().clone()
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all()
    optimizer.step()
    assert not torch.equal(model.body.layer4[2].conv3.weight, before)
