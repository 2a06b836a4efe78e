"""The checker's rules, read from the YAML files of `octathlon/rounds`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

import octathlon.rounds

ROUNDS = Path(octathlon.rounds.__path__[0])


@cache
def load(name: str) -> dict[str, Any]:
    """The content of `rounds/<name>.yaml`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((ROUNDS / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 (both are safe loaders)
