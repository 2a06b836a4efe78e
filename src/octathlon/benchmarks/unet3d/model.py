"""3D U-Net (Çiçek et al. 2016, arXiv:1606.06650) as the MLPerf reference has it: instance norm, strided convolutions.

Source: model/ of mlcommons/training (image_segmentation/pytorch). Weights start as PyTorch's defaults, like there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class UNet3D(nn.Module):
    """Volumes of shape (N, 1, D, H, W) -> logits of shape (N, classes, D, H, W).

    D, H and W must divide by 2 ** len(filters), and the deepest level must have more than one voxel.

    Args:
        filters: channels of each level, from the finest one on.
        bottleneck: channels of the deepest level.
    """

    def __init__(self, filters: Sequence[int], bottleneck: int, classes: int) -> None:
        super().__init__()
        widths = [*filters, bottleneck]
        self.input = _stage(1, widths[0])
        self.down = nn.ModuleList(
            _stage(inputs, outputs, stride=2) for inputs, outputs in zip(widths, widths[1:], strict=False)
        )
        widths.reverse()
        self.up = nn.ModuleList(
            _Up(inputs, outputs) for inputs, outputs in zip(widths, widths[1:], strict=False)
        )
        self.output_conv = nn.Conv3d(widths[-1], classes, kernel_size=1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits; softmax is the loss's business."""
        features = self.input(volumes)
        skipped = []
        for stage in self.down:
            skipped.append(features)
            features = stage(features)
        for stage in self.up:
            features = stage(features, skipped.pop())
        return self.output_conv(features)


class _Up(nn.Module):
    """Twice the resolution, joined with what the way down had there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose3d(inputs, outputs, kernel_size=2, stride=2)
        self.stage = _stage(2 * outputs, outputs)

    def forward(self, features: Tensor, skipped: Tensor) -> Tensor:
        return self.stage(torch.cat([self.deconv(features), skipped], dim=1))


def _stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(block_0=_block(inputs, outputs, stride), block_1=_block(outputs, outputs, stride=1))
    )


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv3d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            instancenorm=nn.InstanceNorm3d(outputs, affine=True),
            relu=_ReLU(),
        )
    )


class _ReLU(nn.ReLU):
    """In place, but not in training: the norm gives a view, which autograd would copy there and back."""

    def train(self, mode: bool = True) -> _ReLU:
        self.inplace = not mode
        return super().train(mode)


def reference_names(model: UNet3D) -> Iterable[str]:
    """The names of the model's layers in the round's logs, e.g. up.0.stage.block_1.conv -> up0_block_1_conv."""
    layers = dict.fromkeys(name.rpartition(".")[0] for name, _ in model.named_parameters())
    for layer in layers:
        yield layer.replace("down.", "down").replace("up.", "up").replace("stage.", "").replace(".", "_")
