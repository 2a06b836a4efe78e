"""Network, loss, score and sliding window against numbers that the reference's own functions gave."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from octathlon.benchmarks.unet3d.loss import dice_ce_loss, dice_score
from octathlon.benchmarks.unet3d.model import UNet3D, reference_names
from octathlon.benchmarks.unet3d.windows import fit, gaussian, sliding_window, window_count

FULL = ([32, 64, 128, 256, 320], 320, 3)


def sine(count: int, factor: float, shape: tuple[int, ...], shift: float = 0.0) -> Tensor:
    """sin(factor * i + shift) over the flat index i, float32."""
    return torch.sin(factor * torch.arange(count, dtype=torch.float64) + shift).float().view(shape)


# Network ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_full_network_computes_what_the_references_does() -> None:
    model = UNet3D(*FULL)
    parameters = list(model.named_parameters())
    assert (sum(each.numel() for _, each in parameters), len(parameters)) == (31_190_243, 78)
    for number, (name, parameter) in enumerate(parameters):  # in the order of the data's flow
        values = sine(parameter.numel(), 0.7, parameter.shape, number)
        if parameter.ndim > 1:
            values /= math.sqrt(parameter.shape[1] * parameter[0, 0].numel())
        else:
            values = values * 0.1 + name.endswith("instancenorm.weight")
        parameter.copy_(values)
    with torch.inference_mode():
        logits = model(sine(64**3, 0.011, (1, 1, 64, 64, 64)))
    assert logits.shape == (1, 3, 64, 64, 64)
    assert (logits.mean().item(), logits.std().item()) == pytest.approx((0.075735, 0.180832), abs=1e-4)
    assert logits[0, :, 32, 32, 32].tolist() == pytest.approx([0.18782, 0.05804, -0.04381], abs=1e-3)
    assert logits[0, :, 0, 0, 0].tolist() == pytest.approx([0.24479, 0.11730, -0.20953], abs=1e-3)


def test_layers_bear_the_rounds_names() -> None:
    blocks = [f"{part}_block_{n}" for part in ["input", *(f"down{k}" for k in range(5))] for n in range(2)]
    blocks += [f"up{k}_block_{n}" for k in range(5) for n in range(2)]
    expected = [f"{block}_{layer}" for block in blocks for layer in ("conv", "instancenorm")]
    expected += [*(f"up{k}_deconv" for k in range(5)), "output_conv"]
    names = list(reference_names(UNet3D(*FULL)))
    assert sorted(names) == sorted(expected) and len(names) == 50


def test_weights_start_uniform_within_the_references_bounds() -> None:
    """1 / sqrt(fan in), where a transposed convolution's fan in counts its outputs."""
    torch.manual_seed(0)
    model = UNet3D(*FULL)
    for weight, fan_in in (
        (model.down[2].block_0.conv.weight, 128 * 27),
        (model.up[1].deconv.weight, 256 * 8),
        (model.output_conv.weight, 32),
    ):
        assert weight.abs().max().item() <= fan_in**-0.5
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.15)


def test_activations_are_where_their_norms_were_in_evaluation_alone() -> None:
    """In training autograd would copy what is changed in a view: its graph names that CopySlices."""
    model, volumes, in_place = UNet3D([4, 8], 8, 3), sine(16**3, 0.011, (1, 1, 16, 16, 16)), []
    for name, module in model.named_modules():
        if name.endswith("relu"):
            module.register_forward_hook(
                lambda _, inputs, output: in_place.append(inputs[0].data_ptr() == output.data_ptr())
            )
    trained = model.train()(volumes)
    nodes, names = [trained.grad_fn], set()
    while nodes:
        node = nodes.pop()
        names.add(node.name())
        nodes += [each for each, _ in node.next_functions if each]
    assert "ConvolutionBackward0" in names and "CopySlices" not in names
    assert len(in_place) == 10 and not any(in_place)
    in_place.clear()
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(volumes), trained.detach(), rtol=0, atol=0)
    assert len(in_place) == 10 and all(in_place)


# Loss and score --------------------------------------------------------------------------------------

LOGITS = 3 * sine(720, 0.37, (2, 3, 4, 5, 6))
LABELS = ((torch.arange(240) % 7) % 3).view(2, 4, 5, 6).to(torch.uint8)


def test_loss_and_score_are_the_references() -> None:
    assert dice_ce_loss(LOGITS, LABELS).item() == pytest.approx(1.016741, abs=1e-5)
    assert dice_score(LOGITS, LABELS).mean(0).tolist() == pytest.approx([0.118548, 0.353602], abs=1e-5)


def test_the_loss_halves_cross_entropy_and_soft_dice() -> None:
    soft = torch.tensor([[0.276577, 0.317934], [0.283555, 0.319429]])
    assert (1.332856 + (1 - soft).mean().item()) / 2 == pytest.approx(1.016741, abs=1e-5)
    alone = [dice_ce_loss(LOGITS[n : n + 1], LABELS[n : n + 1]).item() for n in range(2)]
    assert sum(alone) / 2 == pytest.approx(
        dice_ce_loss(LOGITS, LABELS).item(), abs=1e-6
    )  # per sample, not pooled


def test_nothing_there_and_nothing_found_is_perfect() -> None:
    logits = torch.zeros(1, 3, 2, 2, 2)
    logits[:, 0] = 10
    labels = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    assert dice_score(logits, labels).tolist() == [[1, 1]]
    labels[0, 0, 0, 0] = 2
    assert dice_score(logits, labels)[0].tolist() == pytest.approx([1, 0], abs=1e-5)


def test_kidney_is_class_one_alone() -> None:
    """Unlike in the challenge's own metric, a tumour taken for kidney costs both."""
    labels = torch.tensor([1, 1, 2, 0]).view(1, 4, 1, 1)
    logits = torch.nn.functional.one_hot(torch.tensor([1, 1, 1, 0]), 3).T.reshape(1, 3, 4, 1, 1).float()
    assert dice_score(logits, labels)[0].tolist() == pytest.approx([4 / 5, 0], abs=1e-5)


# Sliding window --------------------------------------------------------------------------------------

WINDOWS = [  # patch; size; the reference's shape, windows, sums of absolute values, two voxels, label sum
    (128, (150, 170, 200), (128, 170, 192), 4, (2659718.88, 1406827.33, 2209880.60))
    + ((-0.905869, 1.053876, -1.163386), (0.994360, 0.053270, 0.053572), 4_177_920),
    (128, (190, 392, 392), (190, 384, 384), 50, (17835942.71, 6856067.67, 10769494.65))
    + ((0.999878, -1.234101, -1.234252), (-0.579281, 0.018577, -0.032070), 28_016_634),
    (32, (40, 50, 70), (40, 48, 64), 12, (78224.97, 26773.86, 42057.49))
    + ((0.812833, -0.806278, -0.991935), (0.868829, -0.019258, -0.022165), 122_880),
    (32, (33, 47, 64), (32, 47, 64), 6, (61264.06, 33572.42, 52755.99))
    + ((0, 0, -1.25), (-0.571794, -0.015805, 0.027641), 96_255),
]


def stand_in(patch: int):
    """A network that knows where in the patch it is."""
    line = torch.linspace(-1, 1, patch)
    ramp = line[:, None, None] + 0.5 * line[:, None] - 0.25 * line
    return lambda patches: torch.cat([patches, patches * ramp, ramp.expand_as(patches)], 1)


@pytest.mark.parametrize(
    ("patch", "size", "shape", "windows", "sums", "first", "inner", "label_sum"), WINDOWS
)
def test_windows_are_placed_and_blended_as_in_the_reference(
    patch, size, shape, windows, sums, first, inner, label_sum
) -> None:
    image = sine(math.prod(size), 0.013, (1, 1, *size))
    label = ((torch.arange(math.prod(size)) // 5) % 3).view(size)
    part = tuple(fit(length, patch // 2) for length in size)
    assert window_count(size, patch, patch // 2) == windows
    assert label[part].sum().item() == label_sum
    result = sliding_window(stand_in(patch), image[(..., *part)], patch, patch // 2, batch=3)
    assert result.shape == (1, 3, *shape)
    assert result.double().abs().sum((0, 2, 3, 4)).tolist() == pytest.approx(sums, rel=1e-6)
    depth, height, width = shape
    assert result[0, :, 0, 0, 0].tolist() == pytest.approx(first, abs=2e-5)
    assert result[0, :, depth // 2, height // 3, width // 4].tolist() == pytest.approx(inner, abs=2e-5)


def test_the_batch_of_windows_changes_nothing() -> None:
    image = sine(48 * 40 * 33, 0.013, (1, 1, 48, 40, 33))
    one, many = (sliding_window(stand_in(16), image, 16, 8, batch) for batch in (1, 7))
    torch.testing.assert_close(one, many, rtol=0, atol=1e-6)


def test_missing_voxels_are_as_dark_as_the_references() -> None:
    seen = []
    sliding_window(lambda patches: seen.append(patches) or patches, torch.zeros(1, 1, 13, 16, 16), 16, 8, 4)
    assert seen[0][0, 0, :, 0, 0].tolist() == pytest.approx([-2.2] + [0.0] * 13 + [-2.2] * 2)


def test_a_patch_weighs_most_in_its_middle() -> None:
    weight = gaussian(128)
    found = [weight[place].item() for place in ((0, 0, 0), (0, 63, 63), (10, 20, 30))]
    assert found == pytest.approx([3.8013e-4, 0.0724398, 0.0218071], rel=1e-4)
    assert weight.double().sum().item() == pytest.approx(314_764.462, abs=0.05)
    assert weight.max() == 1
