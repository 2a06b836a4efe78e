"""Miniature models and games of minigo, drawn and prepared for tests."""

from __future__ import annotations

from pathlib import Path

from octathlon import config
from octathlon.datasets.minigo_models import prepare
from octathlon.miniatures import minigo_models as miniature


def draw_archives(folder: Path, scale: str = "mini", seed: int = 1, **sizes: int) -> Path:
    """All archives of a scale's miniature, with some sizes changed."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = config.resolve("datasets", "minigo_models", scale, {"miniature": sizes}).miniature
    for name in miniature.archives():
        miniature.draw(name, folder, seed=seed, **drawn)
    return folder


def prepare_all(archives: Path, out: Path, scale: str = "mini") -> Path:
    """Every step of the preparation."""
    settings = config.resolve("datasets", "minigo_models", scale, {})
    for step in ("checkpoint", "target", "manifest"):
        prepare.prepare(step, archives, out, settings)
    return out
