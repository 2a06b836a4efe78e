"""The unfinished part of a download: bytes that survive a killed process, digested as they arrive.

The bytes are in `<name>.part` beside the destination. `<name>.part.json` says which version of which URL they
belong to, so that a later process can tell whether the server still has that version.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from octathlon.archives.checksum import CHUNK, Checker, Declared, WrongBytes
from octathlon.errors import OctathlonError, unwritable
from octathlon.receipts import read_json, write_json


class Part:
    """`destination`, as far as it is there. A context that one process at a time may enter."""

    def __init__(self, destination: Path, declared: Declared) -> None:
        self.destination = destination
        self.path = destination.with_name(f"{destination.name}.part")
        self.record = destination.with_name(f"{destination.name}.part.json")
        self.declared = declared
        self._checker = Checker(declared)

    @property
    def position(self) -> int:
        """How many bytes are there."""
        return self._checker.bytes

    def __enter__(self) -> Part:
        with self._disk():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._lock()
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._checker.update(chunk)
        return self

    def __exit__(self, *_: object) -> None:
        with self._disk():
            self._file.close()
            if not self.position:
                self.path.unlink(missing_ok=True)
                self.record.unlink(missing_ok=True)

    def origin(self) -> dict[str, Any]:
        """The file that the bytes belong to: its `url`, its `validator` (ETag or Last-Modified) and, where it was
        announced, its size in `bytes`; empty if unknown."""
        return read_json(self.record) if self.record.exists() else {}

    def restart(self, url: str = "", validator: str | None = None, size: int | None = None) -> None:
        """Discard all bytes; those to come belong to the version `validator` of `url`, with `size` bytes in all."""
        with self._disk():
            self._file.truncate(0)
        self._checker = Checker(self.declared)
        write_json(self.record, {"url": url, "validator": validator, "bytes": size})

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        with self._disk():
            self._file.write(chunk)
            self._file.flush()
        self._checker.update(chunk)

    def check_room(self, size: int) -> None:
        """Raise an OctathlonError unless what is missing of `size` bytes fits on the disk."""
        needed, free = size - self.position, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise OctathlonError(
                f"{self.destination}: needs {needed:,} more bytes, {free:,} are free; make room, then rerun"
            )

    def verify(self) -> None:
        """Raise `WrongBytes`, and discard the bytes, unless they are as declared."""
        try:
            self._checker.verify()
        except WrongBytes:
            self.restart()
            raise

    def publish(self) -> str:
        """Give the file its name; return its checksum."""
        with self._disk():
            os.fsync(self._file.fileno())
            self.path.replace(self.destination)
            self.record.unlink(missing_ok=True)
        return self._checker.checksum

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OctathlonError(
                f"{self.path}: another process is downloading it; wait or end that"
            ) from None

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turn an error of the disk into a sentence. What was written so far stays for the next attempt."""
        try:
            yield
        except OSError as error:
            raise unwritable(self.path, error) or error from error
