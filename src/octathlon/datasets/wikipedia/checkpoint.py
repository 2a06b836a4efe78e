"""BERT's TensorFlow checkpoint -> safetensors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.formats.tensor_bundles import mapped, read_index, read_tensors
from octathlon.receipts import publish

SLOTS = re.compile(r".*/(LAMB|LAMB_1|adam_m|adam_v)|beta[12]_power|global_step|_CHECKPOINTABLE_OBJECT_GRAPH")
"""What belongs to the optimizer, which starts anew."""


def convert(index: Path, data: Path, out: Path) -> dict[str, list[int]]:
    """Write the checkpoint's weights, under their names there, as `out`; returns their shapes.

    Raises:
        OctathlonError: if the files are damaged, or don't belong together.
    """
    from safetensors.numpy import save_file

    listed = read_index(mapped(index), index)
    weights = {name: entry for name, entry in listed.items() if not SLOTS.fullmatch(name)}
    for name, entry in weights.items():
        if entry.dtype != np.float32:
            raise OctathlonError(f"{index}: {name} is not an array of 32-bit numbers; fetch it again")
    tensors = read_tensors(weights, mapped(data), data)
    with publish(out) as temporary:
        save_file(tensors, temporary)
    return {name: list(tensor.shape) for name, tensor in tensors.items()}
