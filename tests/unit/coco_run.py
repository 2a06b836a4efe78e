"""What the tests of both detectors share: a small prepared data set, and their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from preparing import run_steps

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Benchmark, Run
from octathlon.datasets.coco.backbones import R50, RESNET34
from octathlon.miniatures import coco
from octathlon.receipts import read_json

SIZES = {"train_images": 40, "val_images": 24}
PICTURES = [coco.TRAIN, coco.VAL, coco.ANNOTATIONS]


def draw(folder: Path, **sizes: int) -> Path:
    """Miniature archives in `folder`; the backbones barely trained."""
    folder.mkdir(parents=True, exist_ok=True)
    crops = coco.labelled_crops
    coco.labelled_crops = lambda seed, _scenes, size, margin: crops(seed, 20, size, margin)
    try:
        for archive in (*PICTURES, RESNET34, R50):
            coco.draw(archive, folder, seed=1, **(SIZES | sizes))
    finally:
        coco.labelled_crops = crops
    return folder


def prepare_all(archives: Path, out: Path, **overrides: Any) -> Path:
    """Run every step."""
    return run_steps("coco", archives, out, resolve("datasets", "coco", "mini", overrides))


def benchmark(
    name: str, data: Path, seed: int = 1, rank: int = 0, world: int = 1, **overrides: Any
) -> Benchmark:
    """A benchmark at mini scale on prepared data."""
    settings = resolve("benchmarks", name, "mini", overrides)
    manifest = read_json(data / "manifest.json")
    run = Run(seed=seed, device=torch.device("cpu"), rank=rank, world=world, data=data, manifest=manifest)
    return registry.benchmark_class(name)(settings, run)
