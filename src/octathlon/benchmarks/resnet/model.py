"""ResNet v1.5 with bottleneck blocks (He et al. 2015, arXiv:1512.03385; v1.5 strides in the 3x3 convolution).

With blocks (3, 4, 6, 3) and width 64 it is ResNet-50: torchvision's, parameter for parameter, but any
number of blocks and any width, and initialised as the MLPerf reference does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import Bottleneck

TRUNCATED_STD = 0.87962566
"""The standard deviation of a standard normal distribution that is cut off at -2 and 2."""


class ResNet(nn.Sequential):
    """Four stages of bottlenecks: images of shape (N, 3, H, W) -> logits of shape (N, classes).

    Args:
        blocks: bottlenecks of each stage.
        width: channels of the stem; the stages put out 4, 8, 16 and 32 times as many.
    """

    def __init__(self, blocks: Sequence[int], width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        channels = width
        for stage, count in enumerate(blocks):
            planes = width << stage
            self.add_module(f"layer{stage + 1}", _stage(channels, planes, count, stride=2 if stage else 1))
            channels = planes * Bottleneck.expansion
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, classes)
        self.apply(_initialise)


def _stage(inputs: int, planes: int, count: int, stride: int) -> nn.Sequential:
    """`count` bottlenecks; the first one strides, and its shortcut is a projection."""
    outputs = planes * Bottleneck.expansion
    projection = nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
    )
    first = Bottleneck(inputs, planes, stride, projection)
    return nn.Sequential(first, *(Bottleneck(outputs, planes) for _ in range(count - 1)))


def _initialise(module: nn.Module) -> None:
    """The reference's distributions; batch norms keep PyTorch's 1 and 0, the last one of a block included."""
    if isinstance(module, nn.Conv2d):
        fan_in = module.weight[0].numel()
        std = math.sqrt(2 / fan_in) / TRUNCATED_STD
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def reference_name(name: str) -> str:
    """A parameter's name in the round's logs, e.g. layer2.0.bn3.bias -> stage2_unit1_bn3_beta."""
    if name.startswith("fc."):
        return name.replace("fc.", "fc1_")
    name = name.replace("downsample.0", "conv1sc").replace("downsample.1", "bnsc")
    *path, layer, kind = name.split(".")
    if layer.startswith("bn"):
        kind = {"weight": "gamma", "bias": "beta"}[kind]
    if not path:  # the stem
        return f"{layer[:-1]}0_{kind}"
    stage, block = path
    return f"stage{stage.removeprefix('layer')}_unit{int(block) + 1}_{layer}_{kind}"
