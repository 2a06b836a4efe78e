"""gzip -> bytes, by Intel's isal, three times as fast as zlib, with a limit to what it may unpack to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from isal import igzip, isal_zlib

from octathlon.formats.errors import FormatError, unreadable


def open_gzip(path: Path, limit: int) -> BinaryIO:
    """A stream of what a gzip file unpacks to. Close it, or use it as a context.

    Its reads raise a FormatError if it is truncated or damaged, or unpacks to more than `limit` bytes.
    """
    try:
        if not path.stat().st_size:
            raise FormatError(f"{path}: empty; fetch it again")
        return io.BufferedReader(_Gunzip(path, limit), 1 << 20)
    except OSError as error:
        raise unreadable(path, error) from error


class _Gunzip(io.RawIOBase):
    """isal's reader with a limit, and errors that name the file."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit, self._left = path, limit, limit
        self._file = igzip.open(path, "rb")  # noqa: SIM115 - closed by close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:
        try:
            count = self._file.readinto(buffer)
        except (EOFError, isal_zlib.error, OSError) as error:
            raise FormatError(f"{self._path}: truncated or damaged ({error}); fetch it again") from error
        self._left -= count
        if self._left < 0:
            raise FormatError(
                f"{self._path}: unpacks to more than {self._limit:,} bytes; it is not that archive"
            )
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
