"""Prepared models and games, for training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from octathlon.datasets.minigo_models.rows import row_type
from octathlon.errors import OctathlonError


def load_weights(folder: Path, manifest: Mapping[str, Any], model: str) -> dict[str, Tensor]:
    """The state of a model, `checkpoint` or `target`.

    Raises:
        OctathlonError: if the file is not what was prepared.
    """
    return _load(folder / manifest["models"][model])


def load_momentum(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """The optimizer's momentum at the checkpoint, by the names of the parameters; empty if it came without.

    Raises:
        OctathlonError: if the file is not what was prepared.
    """
    return _load(folder / manifest["momentum"]) if "momentum" in manifest else {}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise OctathlonError(f"{path}: cannot read it ({error}); prepare minigo_models again") from error


def load_games(folder: Path, manifest: Mapping[str, Any]) -> list[np.ndarray]:
    """The rows of each generation that the checkpoint comes with, oldest first; mapped, not read.

    Raises:
        OctathlonError: if a file is not what was prepared.
    """
    generations = []
    for generation in manifest["generations"]:
        path = folder / generation["file"]
        try:
            rows = np.memmap(path, row_type(manifest["board_size"]), mode="r")
        except (OSError, ValueError) as error:
            raise OctathlonError(f"{path}: cannot read it ({error}); prepare minigo_models again") from error
        if len(rows) != generation["positions"]:
            raise OctathlonError(f"{path}: not as it was prepared; prepare minigo_models again")
        generations.append(rows)
    return generations
