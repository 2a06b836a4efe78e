"""The state that training starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from octathlon.benchmarks.bert.model import from_reference, reference_name
from octathlon.errors import OctathlonError


@torch.no_grad()
def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Copy the converted reference checkpoint into `model`, one tensor at a time.

    Raises:
        OctathlonError: if the file is missing or damaged, or is of a model of another shape.
    """
    from safetensors import SafetensorError, safe_open

    parameters = {reference_name(name): parameter for name, parameter in model.named_parameters()}
    try:
        with safe_open(path, framework="pt") as file:
            if different := set(parameters) ^ set(file.keys()):
                raise OctathlonError(
                    f"{path}: {min(different)} is not in both model and checkpoint; {REMEDY}"
                )
            for name, parameter in parameters.items():
                value = from_reference(name, file.get_tensor(name))
                if value.shape != parameter.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                    raise OctathlonError(f"{path}: {name} has the shape {shapes}; {REMEDY}")
                parameter.copy_(value)
    except (OSError, SafetensorError) as error:
        raise OctathlonError(
            f"{path}: cannot read the checkpoint ({error}); prepare wikipedia again"
        ) from error


REMEDY = "prepare a checkpoint of the model's sizes, or set start to random"
