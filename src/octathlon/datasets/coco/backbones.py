"""The published backbones -> safetensors with torchvision's names, without running what their pickles say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.formats.blobs import read_blobs
from octathlon.formats.state_dicts import read_state_dict
from octathlon.receipts import publish

RESNET34, R50 = "resnet34-333f7ec4.pth", "R-50.pkl"


def convert(path: Path, out: Path) -> dict[str, list[int]]:
    """Write the weights of a published file as safetensors; returns each tensor's shape.

    Raises:
        OctathlonError: if the file is damaged, names anything but arrays and tensors, or weights are no numbers.
    """
    from safetensors.numpy import save

    weights = _read(path)
    with publish(out) as temporary:
        temporary.write_bytes(save(weights))
    return {name: list(array.shape) for name, array in sorted(weights.items())}


def _read(path: Path) -> dict[str, np.ndarray]:
    weights = read_state_dict(path) if path.name == RESNET34 else torchvision_names(read_blobs(path))
    if not weights:
        raise OctathlonError(f"{path}: not the published weights (no weights in it); fetch the archive again")
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise OctathlonError(
                f"{path}: {name[:100]} has values that are no numbers; fetch the archive again"
            )
    return weights


def torchvision_names(blobs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The convolutions and folded batch norms of a Caffe2 ResNet under torchvision's names; the rest is left out.

    A folded norm is a scale and a shift: it becomes a weight and a bias, and has no statistics.
    """
    renamed = {}
    for name, blob in blobs.items():
        found = re.fullmatch(r"(?:(res_)?conv1|res(\d)_(\d)_branch(1|2[abc]))_(w|bn_s|bn_b)", name)
        if not found:
            continue
        _, stage, block, branch, kind = found.groups()
        leaf = {"w": "weight", "bn_s": "weight", "bn_b": "bias"}[kind]
        if stage is None:
            target = f"{'conv1' if kind == 'w' else 'bn1'}.{leaf}"
        else:
            where = f"layer{int(stage) - 1}.{block}"
            if branch == "1":
                target = f"{where}.downsample.{0 if kind == 'w' else 1}.{leaf}"
            else:
                target = f"{where}.{'conv' if kind == 'w' else 'bn'}{'abc'.index(branch[1]) + 1}.{leaf}"
        renamed[target] = blob
    return renamed
