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
        if os.preadv(self._file(shard).fileno(), [buffer], offset) < buffer.nbytes:
            raise OSError("the file is too short")

    def _file(self, shard: int) -> BinaryIO:
        """Of threads that open a file at the same time, all use that of the first: none is closed while one reads."""
        if shard not in self._files:
            opened = self.paths[shard].open("rb", buffering=0)
            if self._files.setdefault(shard, opened) is not opened:
                opened.close()
        return self._files[shard]
