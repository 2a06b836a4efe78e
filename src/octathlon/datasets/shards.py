"""A split's few large files, read at any place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np


class Shards:
    """Files by number. Each is opened at the first read, by the process that reads, so that workers inherit none."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._files: dict[int, BinaryIO] = {}

    def fill(self, shard: int, offset: int, buffer: np.ndarray) -> None:
        """Fill `buffer` with the bytes that begin at `offset` of a file.

        Raises:
            OSError: if the file is missing or too short.
        """
        if shard not in self._files:
            self._files[shard] = self.paths[shard].open("rb", buffering=0)
        if os.preadv(self._files[shard].fileno(), [buffer], offset) < buffer.nbytes:
            raise OSError("the file is too short")
