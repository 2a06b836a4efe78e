"""The prepared format: a HDF5 file for a group of cases, in it an image and a label for each.

Each is one plain array in its file, so that it can be mapped into memory: a crop is then a view, and only the pages
that it touches are read. Nothing is compressed: unpacking would cost more than reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

if TYPE_CHECKING:  # a plan of the workflow needs no h5py
    import h5py

ALIGNMENT = {"alignment_threshold": 1, "alignment_interval": 64}
"""Volumes begin where a processor reads them best."""

Case = tuple[np.ndarray, np.ndarray]
"""Image, float32, and label, uint8, both of shape (D, H, W)."""


def shard_file(name: str) -> str:
    """The name of a shard's file."""
    return f"{name}.h5"


def write_shard(folder: Path, name: str, cases: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Write (name, image, label) of each case as they come, one in memory at a time."""
    import h5py

    with publish(folder / shard_file(name)) as temporary, _Disk(temporary, "w+") as disk:
        with h5py.File(disk, "w", **ALIGNMENT) as file:
            for case, *volumes in cases:
                for kind, volume in zip(("image", "label"), volumes, strict=True):
                    file.create_dataset(f"{case}/{kind}", data=volume)
                if disk.fault:
                    break
        if disk.fault:
            raise disk.fault


class _Disk(FileIO):
    """A file for HDF5, which crashes if it is told that a disk is full: the first fault is kept for its owner."""

    fault: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of it; after a fault, nothing."""
        view = memoryview(content).cast("B")
        done = 0
        with self._kept():
            while not self.fault and done < len(view):
                done += super().write(view[done:])
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, if there was no fault."""
        with self._kept():
            return self.tell() if self.fault else super().truncate(size)
        return self.tell()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            self.fault = fault


def map_shard(folder: Path, name: str) -> dict[str, Case]:
    """A shard's cases by name. Volumes are read when they are used, and can't be written to.

    Raises:
        OctathlonError: if the file is missing or damaged.
    """
    import h5py

    path = folder / shard_file(name)
    try:
        # nobody writes it: publish renames, and some file systems can't lock
        with h5py.File(path, locking=False) as file:
            return {
                case: (_mapped(path, group["image"]), _mapped(path, group["label"]))
                for case, group in file.items()
            }
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise OctathlonError(f"{path}: cannot open it ({error}); prepare kits19 again") from error


def _mapped(path: Path, volume: h5py.Dataset) -> np.ndarray:
    if (offset := volume.id.get_offset()) is None:
        raise ValueError(f"{volume.name} is not one array")
    return np.asarray(np.memmap(path, volume.dtype, "r", offset, volume.shape))
