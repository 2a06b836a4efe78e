"""The miniature backbones: small networks that tell single shapes apart, in the files that upstream publishes.

`resnet34-333f7ec4.pth` is a state_dict in PyTorch's old file format, `R-50.pkl` a pickle of NumPy arrays under
Caffe2's names with the batch norms folded. What the names hold is upstream's; the networks are smaller: one block
in each stage, and fewer channels.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

Crops = Callable[..., tuple[np.ndarray, np.ndarray]]
"""(seed, scenes, size, margin) -> pictures and labels"""

MEAN_RGB, STD_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEAN_BGR = (102.9801, 115.9465, 122.7717)
LABELS = 5


def write_resnet34(file: BinaryIO, seed: int, crops: Crops) -> None:
    """Basic blocks of 16, 32, 64 channels, trained on normalised RGB. The third stage keeps the resolution: the
    detector undoes its stride, so this is the network that it continues."""
    import torch

    images, labels = crops(seed, 800, 48, 1.6)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    inputs = (inputs - torch.tensor(MEAN_RGB).view(3, 1, 1)) / torch.tensor(STD_RGB).view(3, 1, 1)
    torch.manual_seed(seed)
    network = _network("BasicBlock", 16, [(16, 1), (32, 2), (64, 1)], pooled=1)
    _train(network, inputs, torch.from_numpy(labels), epochs=4)
    torch.save(network.state_dict(), file, _use_new_zipfile_serialization=False)


def write_r50(file: BinaryIO, seed: int, crops: Crops) -> None:
    """Bottlenecks of 8 to 64 (put out: 32 to 256) channels with the stride in the first convolution, trained on BGR
    from 0 to 255 minus the mean."""
    import torch

    images, labels = crops(seed, 800, 64, 1.6)
    inputs = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2) - torch.tensor(MEAN_BGR).view(
        3, 1, 1
    )
    torch.manual_seed(seed)
    network = _network("Bottleneck", 8, [(8, 1), (16, 2), (32, 2), (64, 2)], pooled=2)
    with torch.no_grad():
        network.conv1.weight /= 64  # its inputs are that much larger than normalised ones
    _train(network, inputs, torch.from_numpy(labels), epochs=6)
    blobs = {"fc1000_w": np.zeros((LABELS, 256), np.float32), "conv1_w_momentum": np.zeros(1, np.float32)}
    for name, blob in _folded(network):
        blobs[name] = blob
    pickle.dump({"blobs": blobs}, file, protocol=2)


WRITERS: dict[str, Callable[[BinaryIO, int, Crops], None]] = {
    "resnet34-333f7ec4.pth": write_resnet34,
    "R-50.pkl": write_r50,
}


def _network(block: str, stem: int, stages: list[tuple[int, int]], pooled: int) -> nn.Module:
    """A residual network with one block for each (planes, stride), named as torchvision names them.

    Args:
        pooled: the last so many stages' means are what the classifier sees.
    """
    from torch import nn
    from torchvision.models import resnet

    kind = getattr(resnet, block)
    parts = nn.Module()
    parts.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
    parts.bn1 = nn.BatchNorm2d(stem)
    channels, names, widths = stem, [], []
    for number, (planes, stride) in enumerate(stages, start=1):
        outputs = planes * kind.expansion
        shortcut = None
        if stride > 1 or channels != outputs:
            shortcut = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        layer = kind(channels, planes, stride, shortcut)
        if block == "Bottleneck":
            layer.conv1.stride, layer.conv2.stride = (stride, stride), (1, 1)
        parts.add_module(f"layer{number}", nn.Sequential(layer))
        names.append(f"layer{number}")
        widths.append(outputs)
        channels = outputs
    parts.fc = nn.Linear(sum(widths[-pooled:]), LABELS)

    def forward(images: Tensor) -> Tensor:
        import torch

        features = nn.functional.max_pool2d(parts.bn1(parts.conv1(images)).relu(), 3, 2, 1)
        means = []
        for name in names:
            features = parts.get_submodule(name)(features)
            means.append(features.mean((2, 3)))
        return parts.fc(torch.cat(means[-pooled:], 1))

    parts.forward = forward
    return parts


def _train(network: nn.Module, inputs: Tensor, labels: Tensor, epochs: int, batch: int = 32) -> None:
    import torch

    torch.set_num_threads(1)  # the same bytes on any number of cores
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps, cycle_momentum=False)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels))[: len(labels) // batch * batch].split(batch):
            loss = torch.nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _folded(network: nn.Module) -> list[tuple[str, np.ndarray]]:
    """The convolutions, and each batch norm as the scale and shift that it is after training, in Caffe2's names."""
    import torch

    modules = dict(network.named_modules())
    pairs = [("conv1", "bn1", "conv1", "res_conv1")]
    for stage in range(1, 5):
        block, name = f"layer{stage}.0", f"res{stage + 1}_0_branch"
        pairs += [
            (f"{block}.conv{n}", f"{block}.bn{n}", *[f"{name}2{letter}"] * 2)
            for n, letter in zip((1, 2, 3), "abc", strict=True)
        ]
        if f"{block}.downsample" in modules:
            pairs.append((f"{block}.downsample.0", f"{block}.downsample.1", *[f"{name}1"] * 2))
    blobs = []
    with torch.no_grad():
        for convolution, norm, weight_name, norm_name in pairs:
            bn = modules[norm]
            scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
            shift = bn.bias - bn.running_mean * scale
            blobs.append((f"{weight_name}_w", modules[convolution].weight.numpy()))
            blobs += [(f"{norm_name}_bn_s", scale.numpy()), (f"{norm_name}_bn_b", shift.numpy())]
    return blobs
