"""Miniatures drawn, and prepared in the workflow's order, for the tests of readers and loaders."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from octathlon import registry
from octathlon.settings import DatasetSettings


def draw_all(data: str, folder: Path, seed: int, **sizes: Any) -> Path:
    """All archives of a data set's miniature in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    miniature = registry.miniature(data)
    for name in miniature.archives(**sizes):
        miniature.draw(name, folder, seed=seed, **sizes)
    return folder


def run_steps(data: str, archives: Path, out: Path, settings: DatasetSettings) -> Path:
    """Every step of a data set's preparation, the manifest last."""
    preparer = registry.preparer(data)
    for step in (*chain.from_iterable(preparer.steps(settings).values()), "manifest"):
        preparer.prepare(step, archives, out, settings)
    return out
