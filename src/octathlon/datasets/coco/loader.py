"""Prepared COCO -> images and their annotations, by number, for any number of workers and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from octathlon.datasets.coco.tables import Tables, read_array, read_tables
from octathlon.datasets.shards import Shards
from octathlon.errors import OctathlonError


class Split:
    """One split. Tables are read at their first use."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], split: str) -> None:
        self._folder, self._split = folder, split
        self._names = manifest["splits"][split]
        self._shards = Shards([folder / f"{name}.jpegs" for name in self._names])

    @cached_property
    def tables(self) -> Tables:
        """Sizes and annotations."""
        return read_tables(self._folder, self._split)

    def training_images(self, detector: str) -> np.ndarray:
        """The numbers of the images that `detector` trains on."""
        return read_array(self._folder, f"{self._split}-{detector}")

    def image(self, number: int) -> Tensor:
        """An image, uint8 of shape (3, height, width), RGB.

        Raises:
            OctathlonError: if the shard is missing, cut short or damaged.
        """
        shard = int(np.searchsorted(self._ends, number, side="right"))
        offsets = self._offsets[shard]
        place = number - (self._ends[shard] - len(offsets) + 1)
        start, end = offsets[place : place + 2].tolist()
        try:
            jpeg = torch.empty(end - start, dtype=torch.uint8)
            self._shards.fill(shard, start, jpeg.numpy())
            return decode_jpeg(jpeg, mode=ImageReadMode.RGB)
        except (OSError, RuntimeError) as error:
            raise OctathlonError(
                f"{self._shards.paths[shard]}: cannot read image {number} of {self._split} ({error}); "
                "prepare coco again"
            ) from error

    @cached_property
    def _offsets(self) -> list[np.ndarray]:
        return [read_array(self._folder, shard) for shard in self._names]

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(offsets) - 1 for offsets in self._offsets])


def backbone(folder: Path, name: str) -> dict[str, Tensor]:
    """The weights of a published backbone, under torchvision's names.

    Raises:
        OctathlonError: if the file is missing or damaged.
    """
    from safetensors.torch import load_file

    path = folder / f"{name}.safetensors"
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type, and OSErrors
        raise OctathlonError(f"{path}: cannot be read ({error}); prepare coco again") from error
