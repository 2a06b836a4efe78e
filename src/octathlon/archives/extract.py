"""Read tar and gzip archives without unpacking them, and without trusting them.

A tar is indexed by hopping from header to header: names, offsets and sizes, no data. Members are then read in
place, also those of a tar inside a tar; a tar.gz is read in a stream. Nothing is ever written under a name that an
archive gives; names that would leave a folder, links, devices, duplicates and truncated archives are refused with
one sentence.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from octathlon.errors import OctathlonError

HEADER_LIMIT = 1 << 20
"""No header block, not even a long name, is larger; a larger one is an attack on memory."""


REMEDY = "use the archive as it is published"


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its data are `size` bytes of the outermost file, from byte `offset` on."""

    name: str
    offset: int
    size: int


def index_tar(path: Path, offset: int = 0, size: int | None = None) -> list[Member]:
    """The files in an uncompressed tar, in its order; directories are left out.

    Args:
        offset, size: where the tar lies in `path`, if it is itself a member of a tar.

    Raises:
        OctathlonError: if it is truncated or damaged, or a member is not a plain file with a plain, new name.
    """
    try:
        with path.open("rb") as file:
            return list(_walk(_Window(file, offset, size), str(path)))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_targz(path: Path, limit: int) -> dict[str, bytes]:
    """The files in a small tar.gz, by name, all in memory.

    Raises:
        OctathlonError: if it unpacks to more than `limit` bytes, or as for `index_tar`.
    """
    with open_gzip(path, limit) as stream:
        content = stream.read()
    members = _walk(_Window(io.BytesIO(content)), str(path))
    return {member.name: content[member.offset : member.offset + member.size] for member in members}


def stream_targz(path: Path, limit: int, member_limit: int) -> Iterator[tuple[str, bytes]]:
    """The files in a tar.gz of any size, in its order: name and content, one of them in memory at a time.

    Raises:
        OctathlonError: if it unpacks to more than `limit` bytes, a file in it has more than `member_limit`, or as for
            `index_tar`.
    """
    with open_gzip(path, limit) as file:
        stream = _Stream(file, 0, limit)
        for member in _walk(stream, str(path)):
            if member.size > member_limit:
                raise OctathlonError(f"{path}: member {member.name!r} has {member.size:,} bytes; {REMEDY}")
            content = stream.content(member)
            if len(content) < member.size:
                raise OctathlonError(f"{path}: truncated within {member.name!r}; fetch it again")
            yield member.name, content
        while file.read(1 << 20):  # to the end, where gzip has its checksum
            pass


def open_gzip(path: Path, limit: int) -> BinaryIO:
    """A stream of what a gzip file unpacks to. Close it, or use it as a context.

    Its reads raise an OctathlonError if it is truncated or damaged, or unpacks to more than `limit` bytes.
    """
    try:
        if not path.stat().st_size:
            raise OctathlonError(f"{path}: empty; fetch it again")
        return io.BufferedReader(_Gunzip(path, limit), 1 << 20)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> OctathlonError:
    remedy = f"delete its receipt {path.name}.json, then rerun to fetch it again"
    return OctathlonError(f"{path}: cannot read it ({error.strerror}); {remedy}")


class _Gunzip(io.RawIOBase):
    """`gzip`'s reader with a limit, and errors that name the file."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path, self._limit, self._left = path, limit, limit
        self._file = gzip.open(path, "rb")  # noqa: SIM115 - closed by close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:
        try:
            count = self._file.readinto(buffer)
        except (EOFError, zlib.error, OSError) as error:
            raise OctathlonError(f"{self._path}: truncated or damaged ({error}); fetch it again") from error
        self._left -= count
        if self._left < 0:
            raise OctathlonError(
                f"{self._path}: unpacks to more than {self._limit:,} bytes; it is not that archive"
            )
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Window:
    """A tar inside a file, as `tarfile` sees it: bounded, and read in small pieces only.

    The bound keeps a damaged inner tar from running on into its neighbour; the limit keeps a header from
    asking for gigabytes.
    """

    def __init__(self, file: BinaryIO, offset: int = 0, size: int | None = None) -> None:
        self.offset = offset
        self.size = file.seek(0, io.SEEK_END) - offset if size is None else size
        self._file, self._position = file, 0
        self.last = b""
        """What was read last: at the end of the tar, its end mark."""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if position < 0:
            raise tarfile.ReadError("a header points before the archive")
        self._position = position
        return position

    def read(self, count: int) -> bytes:
        if not 0 <= count <= HEADER_LIMIT:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        self.last = self._take(max(min(count, self.size - self._position), 0))
        return self.last

    def _take(self, count: int) -> bytes:
        self._file.seek(self.offset + self._position)
        content = self._file.read(count)
        self._position += len(content)
        return content


class _Stream(_Window):
    """The same for a tar that can only be read forwards."""

    def seek(self, position: int) -> int:
        while self._position < position:
            if not self._take(min(position - self._position, HEADER_LIMIT)):
                raise tarfile.ReadError("unexpected end of data")
        return self._position

    def content(self, member: Member) -> bytes:
        """The data of the member whose header was read last."""
        return self._take(member.size)

    def _take(self, count: int) -> bytes:
        content = self._file.read(count)
        self._position += len(content)
        return content


def _walk(window: _Window, label: str) -> Iterator[Member]:
    """The files in a tar, as soon as their headers are read."""
    names: set[str] = set()
    try:
        with tarfile.open(fileobj=window, mode="r:") as tar:  # type: ignore[arg-type]
            while (info := tar.next()) is not None:
                tar.members = []  # it keeps all headers otherwise
                if not info.isdir():
                    name = _safe_name(info, label)
                    if name in names:
                        raise OctathlonError(f"{label}: member {name!r} is there twice; {REMEDY}")
                    names.add(name)
                    yield Member(name, window.offset + info.offset_data, info.size)
            if window.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise OctathlonError(f"{label}: truncated or damaged tar ({error}); fetch it again") from error


def _safe_name(info: tarfile.TarInfo, label: str) -> str:
    """The member's name without leading "./"; an OctathlonError unless it is a plain file in the folder."""
    path = PurePosixPath(info.name)
    if not info.isreg() or info.issparse() or info.size < 0:
        raise OctathlonError(f"{label}: member {info.name!r} is not a plain file; {REMEDY}")
    if not path.parts or path.is_absolute() or ".." in path.parts or set(info.name) & {"\0", "\\"}:
        raise OctathlonError(f"{label}: member {info.name!r} has a name that leaves its folder; {REMEDY}")
    return str(path)
