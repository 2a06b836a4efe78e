"""Files of tensors that say what they are of: safetensors, so numbers and words alone, nothing that could run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from octathlon.receipts import publish

About = Mapping[str, Any]
"""What a file says of itself, as JSON has it."""

UNREADABLE = (OSError, SafetensorError, LookupError, TypeError, ValueError, RecursionError)
"""What reading another's file may raise."""


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the host: a file holds no views of a common matrix, and each under its own name."""
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def write(path: Path, tensors: Mapping[str, Tensor], about: About) -> None:
    """Write contiguous tensors on the host; all of the file appears, or nothing.

    Raises:
        OctathlonError, SafetensorError, OSError: if it can't be written.
    """
    with publish(path) as temporary:
        temporary.touch()
        rights = temporary.stat().st_mode  # the usual ones, of which safetensors leaves few
        save_file(dict(tensors), temporary, {"octathlon": json.dumps(about)})
        temporary.chmod(rights)


def said_by(path: Path) -> dict[str, Any]:
    """What a file says of itself, whoever wrote it. One that was cut short raises here, too.

    Raises:
        UNREADABLE: if it is no such file.
    """
    with safe_open(path, "pt") as file:
        content = json.loads((file.metadata() or {})["octathlon"])
    if not isinstance(content, dict):
        raise TypeError("not an object")
    return content


def of_rank(path: Path, rank: int) -> Path:
    """The file of a rank, where each has its own."""
    return path.with_suffix(f".rank_{rank}.safetensors") if rank else path
