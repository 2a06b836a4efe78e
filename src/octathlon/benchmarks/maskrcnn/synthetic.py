"""Made-up data in the prepared format of COCO, to rehearse on."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from octathlon.benchmarks.maskrcnn.backbone import Body
from octathlon.benchmarks.maskrcnn.settings import Settings
from octathlon.datasets.coco import synthetic
from octathlon.datasets.coco.settings import Settings as DatasetSettings

NAMES = [
    (r"downsample\.weight", "downsample.0.weight"),
    (r"downsample\.scale", "downsample.1.weight"),
    (r"downsample\.shift", "downsample.1.bias"),
    (r"conv(\d)\.scale", r"bn\1.weight"),
    (r"conv(\d)\.shift", r"bn\1.bias"),
]
"""Our names of a backbone's tensors -> torchvision's."""


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Photos with objects, and a backbone that has learnt nothing."""
    synthetic.write(folder, data, "maskrcnn")
    save_file(_backbone(settings), folder / "resnet50.safetensors")
    return settings


def _backbone(settings: Settings) -> dict[str, Tensor]:
    """Blocks add little to what goes past them: nothing else keeps the numbers in bounds, as norms are folded."""
    weights = {}
    for name, value in Body(settings.blocks, settings.width).state_dict().items():
        for ours, published in NAMES:
            name = re.sub(ours, published, name)  # noqa: PLW2901
        weights[name] = value * 0.1 if "bn3.weight" in name else value
    return weights
