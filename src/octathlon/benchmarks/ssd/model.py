"""SSD on a ResNet that is cut off after its third stage (mlcommons/training, single_stage_detector/ssd)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from octathlon.benchmarks.ssd.settings import Settings


class SSD(nn.Module):
    """Images (N, 3, S, S) -> locations (N, 4, B) and logits (N, classes, B) of B default boxes."""

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        self._class_count = classes
        self.backbone = Backbone(settings.blocks, settings.width)
        self.extras = nn.ModuleList()
        channels = [settings.width * 4]
        for middle, outputs, stride in settings.extras:
            self.extras.append(_extra(channels[-1], middle, outputs, stride))
            channels.append(outputs)
        shapes = [2 + 2 * len(ratios) for ratios in settings.aspect_ratios]
        self.locations = nn.ModuleList(
            nn.Conv2d(inputs, 4 * count, 3, padding=1) for inputs, count in zip(channels, shapes, strict=True)
        )
        self.classes = nn.ModuleList(
            nn.Conv2d(inputs, classes * count, 3, padding=1)
            for inputs, count in zip(channels, shapes, strict=True)
        )
        for part in (self.extras, self.locations, self.classes):
            for name, parameter in part.named_parameters():
                if name.endswith("weight"):
                    nn.init.xavier_uniform_(parameter)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.backbone(images)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return _flatten(maps, self.locations, 4), _flatten(maps, self.classes, self._class_count)


class Backbone(nn.Sequential):
    """torchvision's ResNet, up to the third stage, whose stride is 1."""

    def __init__(self, blocks: Sequence[int], width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        for stage, (count, stride) in enumerate(zip(blocks, (1, 2, 1), strict=True)):
            outputs = width << stage
            self.add_module(f"layer{stage + 1}", _stage(width << max(stage - 1, 0), outputs, count, stride))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over a published ResNet's weights; its later stages are left out.

        Raises:
            RuntimeError: if they are of other shapes.
        """
        counters = {name: value for name, value in self.state_dict().items() if value.ndim == 0}
        given = counters | dict(
            weights
        )  # files of 2017 have no count of batches, on which nothing here depends
        self.load_state_dict({name: given[name] for name in self.state_dict() if name in given})


def _stage(inputs: int, outputs: int, count: int, stride: int) -> nn.Sequential:
    projection = None
    if inputs != outputs:
        projection = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = BasicBlock(inputs, outputs, stride, projection)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(count - 1)))


def _extra(inputs: int, middle: int, outputs: int, stride: int) -> nn.Sequential:
    """Halves the map with stride 2; shrinks it by two cells, being unpadded, with stride 1."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, kernel_size=3, stride=stride, padding=stride - 1),
        nn.ReLU(inplace=True),
    )


def _flatten(maps: Sequence[Tensor], heads: nn.ModuleList, values: int) -> Tensor:
    """All maps' predictions in the order of the default boxes: (N, values, boxes). A head's channels are ordered by
    value, then by shape."""
    found = [head(features) for head, features in zip(heads, maps, strict=True)]
    return torch.cat([each.reshape(len(each), values, -1) for each in found], 2)


def reference_names(blocks: Sequence[int], extras: int) -> list[str]:
    """The names of the initialised tensors in the round's logs: a map's two heads have one name together."""
    names = ["ssd0_resnetmlperf0_conv0_weight"]
    names += [f"ssd0_resnetmlperf0_batchnorm0_{kind}" for kind in ("gamma", "beta")]
    for stage, count in enumerate(blocks, start=1):
        for number in range(2 * count + (stage > 1)):  # the projection counts as a convolution
            prefix = f"ssd0_resnetmlperf0_stage{stage}"
            names.append(f"{prefix}_conv{number}_weight")
            names += [f"{prefix}_batchnorm{number}_{kind}" for kind in ("gamma", "beta")]
    for kind in ("weight", "bias"):
        for number in range(extras):
            names += [f"ssd0_expand_trans_conv{number}_{kind}", f"ssd0_expand_conv{number}_{kind}"]
        names += [f"ssd0_convpredictor{number}_conv0_{kind}" for number in range(extras + 1)]
    return names
