"""Whole batches through PyTorch's worker processes: each item of the data set is a batch, nothing is collated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

from octathlon.errors import OctathlonError

Key = TypeVar("Key")
Batch = TypeVar("Batch")


def load(
    batches: Dataset[Batch], keys: Iterable[Key], *, workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """`batches[key]` in the order of `keys`, made by `workers` processes, or here if there are none.

    Args:
        keys: may be an iterator without end; a collection makes a loader that can be iterated again.
    """
    return _Loader(
        batches,
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=1 if workers else None,  # batches are large: one per worker in flight is enough
        pin_memory=pin_memory,
    )


class _Loader(DataLoader[Batch]):
    """Reports a worker's error as the sentence that it is: PyTorch puts it into a text with the traceback."""

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from super().__iter__()
        except OctathlonError as error:
            raise OctathlonError(str(error).rpartition(f"{OctathlonError.__name__}: ")[2].strip()) from None
