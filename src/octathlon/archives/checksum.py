"""The bytes of an archive against what was declared of them, in one streaming pass."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from octathlon.errors import unreadable

CHUNK = 1 << 20
TOLERANCE = 0.25
"""How far a size may be from an approximate one: a file that was cut to a tenth is told from one that was guessed."""


class WrongBytes(Exception):
    """The bytes are not those that were declared; the message says in what they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What is known of a file before its bytes are there; all of it binds."""

    size: int | None = None
    """Exact bytes."""
    about: int | None = None
    """Bytes, give or take `TOLERANCE`."""
    most: int | None = None
    """Bytes that it must not exceed."""
    checksum: str | None = None
    """`algorithm:hexadecimal digest`, or several with blanks between."""
    algorithm: str = "sha256"
    """What the file is known by afterwards."""

    def check_size(self, found: int) -> None:
        """Raise `WrongBytes` if a size was declared and `found` is another."""
        if self.size is not None and found != self.size:
            raise WrongBytes(f"{found:,} bytes instead of {self.size:,}")
        if self.about is not None and abs(found - self.about) > TOLERANCE * self.about:
            raise WrongBytes(f"{found:,} bytes instead of about {self.about:,}")
        if self.most is not None and found > self.most:
            raise WrongBytes(f"more than {self.most:,} bytes")

    def exceeded(self, found: int) -> bool:
        """Whether `found` bytes are too many, so that more need not be awaited."""
        about = None if self.about is None else int(self.about * (1 + TOLERANCE))
        return any(limit is not None and found > limit for limit in (self.size, about, self.most))


class Checker:
    """Counts bytes and digests them, with each algorithm once: a digest of a large archive takes minutes."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._expected = [each.partition(":")[::2] for each in (declared.checksum or "").split()]
        self._digests = {
            name: hashlib.new(name, usedforsecurity=False)
            for name in {declared.algorithm, *(algorithm for algorithm, _ in self._expected)}
        }
        self.bytes = 0

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self.bytes += len(chunk)
        for digest in self._digests.values():
            digest.update(chunk)

    @property
    def checksum(self) -> str:
        """`algorithm:hexadecimal digest` of all bytes so far."""
        algorithm = self._declared.algorithm
        return f"{algorithm}:{self._digests[algorithm].hexdigest()}"

    def verify(self) -> None:
        """Raise `WrongBytes` unless the bytes are as declared."""
        self._declared.check_size(self.bytes)
        for algorithm, expected in self._expected:
            if (found := self._digests[algorithm].hexdigest()) != expected:
                raise WrongBytes(f"its {algorithm} is {found} instead of {expected}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when its content was read."""

    bytes: int
    mtime_ns: int
    checksum: str


def verified(path: Path, declared: Declared) -> Seen:
    """Read a file and check it, its size first.

    Raises:
        WrongBytes: if it is not what was declared.
        OctathlonError: if it can't be read.
    """
    checker = Checker(declared)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # before reading: a later change then shows in the time stamp
            declared.check_size(status.st_size)
            while chunk := file.read(CHUNK):
                checker.update(chunk)
    except OSError as error:
        raise unreadable(path, error) from error
    checker.verify()
    return Seen(status.st_size, status.st_mtime_ns, checker.checksum)
