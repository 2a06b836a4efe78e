"""The bytes of an archive against what was declared of them, in one streaming pass."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from octathlon.errors import OctathlonError

CHUNK = 1 << 20


class WrongBytes(Exception):
    """The bytes are not those that were declared; the message says in what they differ."""


class Checker:
    """Counts bytes and digests them: with sha256 and with the algorithm of a declared checksum."""

    def __init__(self, checksum: str | None) -> None:
        self._algorithm, _, self._expected = (checksum or "sha256:").partition(":")
        self._digests = {
            name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", self._algorithm}
        }
        self.bytes = 0

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.bytes += len(chunk)
        for digest in self._digests.values():
            digest.update(chunk)

    @property
    def sha256(self) -> str:
        """The hexadecimal sha256 of all bytes so far."""
        return self._digests["sha256"].hexdigest()

    def verify(self, size: int | None) -> None:
        """Raise `WrongBytes` unless the bytes have the declared size and checksum, where there are such."""
        check_size(self.bytes, size)
        found = self._digests[self._algorithm].hexdigest()
        if self._expected and found != self._expected:
            raise WrongBytes(f"its {self._algorithm} is {found} instead of {self._expected}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when its content was read."""

    bytes: int
    mtime_ns: int
    sha256: str


def check_size(found: int, declared: int | None) -> None:
    """Raise `WrongBytes` if a size was declared and `found` is another."""
    if declared is not None and found != declared:
        raise WrongBytes(f"{found:,} bytes instead of {declared:,}")


def verified(path: Path, size: int | None = None, checksum: str | None = None) -> Seen:
    """Read a file and check it, its size first.

    Raises:
        WrongBytes: if it is not what was declared.
        OctathlonError: if it can't be read.
    """
    checker = Checker(checksum)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # before reading: a later change then shows in the time stamp
            check_size(status.st_size, size)
            while chunk := file.read(CHUNK):
                checker.update(chunk)
    except OSError as error:
        raise OctathlonError(
            f"{path}: cannot read it ({error.strerror}); fix the file, then rerun"
        ) from error
    checker.verify(size)
    return Seen(status.st_size, status.st_mtime_ns, checker.sha256)
