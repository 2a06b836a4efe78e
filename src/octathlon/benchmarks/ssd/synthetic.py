"""Made-up data in the prepared format of COCO, to rehearse on."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from octathlon.benchmarks.ssd.model import Backbone
from octathlon.benchmarks.ssd.settings import Settings
from octathlon.datasets.coco import synthetic
from octathlon.datasets.coco.settings import Settings as DatasetSettings


def write(folder: Path, settings: Settings, data: DatasetSettings, _share: float) -> Settings:
    """Photos with objects, and a backbone that has learnt nothing."""
    synthetic.write(folder, data, "ssd")
    save_file(Backbone(settings.blocks, settings.width).state_dict(), folder / "resnet34.safetensors")
    return settings
