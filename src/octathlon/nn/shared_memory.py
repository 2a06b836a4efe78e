"""Whether there is room where processes hand over batches, before one of them fails for want of it."""

from __future__ import annotations

import io
import math
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from octathlon.errors import OctathlonError

FOLDER = Path("/dev/shm")  # noqa: S108 - Linux has no other
REMEDY = f"give it more (containers: --shm-size; else: mount -o remount,size=... {FOLDER})"


def empty(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor to fill, for a batch. A loader's worker gets it in shared memory, where it would be copied later.

    Raises:
        OctathlonError: if there is no room for it.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    require(size, "the loader's batches")
    # PyTorch's own collate does it so, for want of a public way
    return torch.empty(0, dtype=dtype).set_(torch.UntypedStorage._new_shared(size)).view(shape)


def tensor_bytes(batch: Any) -> int:
    """The bytes of all tensors in `batch`, whatever holds them, that shared memory does not hold yet but will."""
    measure = _Measure(io.BytesIO())
    measure.dump(batch)
    return sum(measure.storages.values())


class _Measure(pickle.Pickler):
    """Meets the tensors of an object as multiprocessing does when it sends them."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[int, int] = {}

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return NotImplemented
        storage = value.untyped_storage()
        if not storage.is_shared():
            self.storages[storage.data_ptr()] = storage.nbytes()
        return int, ()


def require(needed: int, purpose: str) -> None:
    """See that so many bytes are free.

    Raises:
        OctathlonError: saying what to set, if they aren't, or if there is no such folder.
    """
    if not os.access(FOLDER, os.W_OK):
        raise OctathlonError(
            f"{FOLDER}: not there, or read-only, but {purpose} need it: mount it (mount -t tmpfs tmpfs {FOLDER}), "
            "or set loader_workers and selfplay_processes to 0"
        )
    space = os.statvfs(FOLDER)
    free = space.f_bavail * space.f_frsize
    if free < needed:
        raise OctathlonError(
            f"{FOLDER}: {free >> 20} MiB are free, but {purpose} need {-(-needed >> 20)} MiB: {REMEDY}, or set fewer "
            "loader_workers"
        )
