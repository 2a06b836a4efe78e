"""Miniature benchmarks on made-up data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Run
from octathlon.receipts import read_json


def made_up(
    name: str, folder: Path, over: Mapping[str, Any], sizes: Mapping[str, int] | None = None
) -> tuple[Any, Run]:
    """A benchmark's settings with `over`, and a run on data of these sizes that are written to `folder`."""
    data = resolve("datasets", registry.dataset_of(name), "mini", {"synthetic": dict(sizes or {})})
    settings = registry.synthetic(name).write(
        folder, resolve("benchmarks", name, "mini", dict(over)), data, 1
    )
    manifest = read_json(folder / "manifest.json")
    return settings, Run(seed=1, device=torch.device("cpu"), data=folder, manifest=manifest)
