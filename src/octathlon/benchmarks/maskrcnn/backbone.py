"""ResNet with constant norms, and the feature pyramid on it (Lin et al. 2016, arXiv:1612.03144)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

EXPANSION = 4


class NormedConv(nn.Module):
    """A convolution followed by a batch norm that never changes: a scale and a shift of each channel.

    The scale is multiplied into the weights, which costs less than into the much larger result.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=1)
        self.register_buffer("scale", torch.ones(outputs))
        self.register_buffer("shift", torch.zeros(outputs))
        self._stride, self._padding = stride, kernel // 2

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight * self.scale.view(-1, 1, 1, 1)
        return conv2d(features, weight, self.shift, self._stride, self._padding)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 beside a shortcut; as in the MSRA networks, the first one strides."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = planes * EXPANSION
        self.conv1 = NormedConv(inputs, planes, 1, stride)
        self.conv2 = NormedConv(planes, planes, 3)
        self.conv3 = NormedConv(planes, outputs, 1)
        self.downsample = (
            NormedConv(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()
        )

    def forward(self, features: Tensor) -> Tensor:
        inner = self.conv2(self.conv1(features).relu_()).relu_()
        return self.conv3(inner).add_(self.downsample(features)).relu_()


class Body(nn.Module):
    """Images (N, 3, H, W) -> the maps of the four stages, of strides 4, 8, 16 and 32.

    The stem and the first stage don't learn.
    """

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1 = NormedConv(3, width, 7, 2)
        channels, self.channels = width, []
        for stage, count in enumerate(blocks):
            planes = width << stage
            layer = nn.Sequential()
            for block in range(count):
                layer.append(Bottleneck(channels, planes, 2 if stage and not block else 1))
                channels = planes * EXPANSION
            self.channels.append(channels)
            self.add_module(f"layer{stage + 1}", layer)
        for part in (self.conv1, self.layer1):
            part.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [max_pool2d(self.conv1(images).relu_(), 3, 2, 1)]
        for stage in range(1, 5):
            maps.append(self.get_submodule(f"layer{stage}")(maps[-1]))
        return maps[1:]

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a ResNet whose norms are folded, under torchvision's names.

        Raises:
            RuntimeError: if a tensor is missing or of another shape.
        """
        own = {}
        for name, value in weights.items():
            norm = (
                name.replace("downsample.0", "downsample")
                .replace("downsample.1", "downsample")
                .replace("bn", "conv")
            )
            if "bn" in name or "downsample.1" in name:
                norm = (
                    norm.removesuffix("weight") + "scale"
                    if norm.endswith("weight")
                    else norm.replace("bias", "shift")
                )
            own[norm] = value
        self.load_state_dict(own)


class Pyramid(FeaturePyramidNetwork):
    """torchvision's pyramid from lists to lists: five maps, of strides 4 to 64."""

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__(channels, outputs, LastLevelMaxPool())

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return list(super().forward({str(level): each for level, each in enumerate(maps)}).values())
