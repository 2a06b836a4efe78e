"""Reading ahead: a DataLoader whose items are whole batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader, Dataset


def load(batches: Dataset[Any], keys: Iterable[Any], *, workers: int, pin_memory: bool) -> DataLoader[Any]:
    """`batches[key]` for each of `keys` in their order, read ahead by `workers` processes, or here if there are none."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None,
        pin_memory=pin_memory,
    )
