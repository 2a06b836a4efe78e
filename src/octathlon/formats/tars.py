"""Read tar archives, plain or gzipped, without unpacking them, and without trusting them.

A tar is indexed by hopping from header to header: names, offsets and sizes, no data. Members are then read in
place, also those of a tar inside a tar; a tar.gz is read in a stream. Nothing is ever written under a name that an
archive gives; names that would leave a folder, links, devices, duplicates and truncated archives are refused with
one sentence.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from octathlon.formats.errors import REMEDY, FormatError, unreadable
from octathlon.formats.gzips import open_gzip

ENTRIES = 200_000
"""Files and folders of a tar; LibriSpeech's largest part has some 160,000. Each takes Python up to 40 microseconds."""
HEADERS, HEADERS_EACH = 1 << 20, 1 << 11
"""Bytes of headers that a tar may have, and as many more for each entry that was read: one with a name of more than 100
bytes takes 2 kB. A name of a megabyte, or a chain of them, is an attack on memory."""
RATIO, FREE = 20, 1 << 24
"""A tar.gz unpacks to so many times its bytes at most, or to so many bytes if that is more. What lies in them is
compressed already (recordings, games) or small (the development kit, 9 times); zeros would give a thousand times."""
CHUNK = 1 << 20


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
        FormatError: if it is truncated or damaged, or a member is not a plain file with a plain, new name.
    """
    try:
        with path.open("rb") as file:
            return list(_walk(_Window(file, offset, size), str(path)))
    except OSError as error:
        raise unreadable(path, error) from error


def read_targz(path: Path, limit: int) -> dict[str, bytes]:
    """The files in a small tar.gz, by name, all in memory.

    Raises:
        FormatError: if it unpacks to more than `limit` bytes, or as for `index_tar`.
    """
    with _open_targz(path, limit) as stream:
        content = stream.read()
    members = _walk(_Window(io.BytesIO(content)), str(path))
    return {member.name: content[member.offset : member.offset + member.size] for member in members}


def stream_targz(path: Path, limit: int, member_limit: int) -> Iterator[tuple[str, bytes]]:
    """The files in a tar.gz of any size, in its order: name and content, one of them in memory at a time.

    Raises:
        FormatError: if it unpacks to more than `limit` bytes, a file in it has more than `member_limit`, or as for
            `index_tar`.
    """
    with _open_targz(path, limit) as file:
        stream = _Stream(file, 0, limit)
        for member in _walk(stream, str(path)):
            if member.size > member_limit:
                raise FormatError(f"{path}: member {member.name!r} has {member.size:,} bytes; {REMEDY}")
            content = stream.content(member)
            if len(content) < member.size:
                raise FormatError(f"{path}: truncated within {member.name!r}; fetch it again")
            yield member.name, content
        while file.read(CHUNK):  # to the end, where gzip has its checksum
            pass


def _open_targz(path: Path, limit: int) -> BinaryIO:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    return open_gzip(path, min(limit, max(FREE, RATIO * size)))


class _Window:
    """A tar inside a file, as `tarfile` sees it: bounded, and only so much of it may be headers.

    The bound keeps a damaged inner tar from running on into its neighbour. `tarfile` reads nothing but headers here.
    """

    def __init__(self, file: BinaryIO, offset: int = 0, size: int | None = None) -> None:
        self.offset = offset
        self.size = file.seek(0, io.SEEK_END) - offset if size is None else size
        self._file, self._position = file, 0
        self.headers_left = HEADERS
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
        if not 0 <= count <= self.headers_left:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        self.headers_left -= count
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
            if not self._take(min(position - self._position, CHUNK)):
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
            for info in _headers(tar, window):
                if not info.isdir():
                    name = _safe_name(info, label)
                    if name in names:
                        raise FormatError(f"{label}: member {name!r} is there twice; {REMEDY}")
                    names.add(name)
                    yield Member(name, window.offset + info.offset_data, info.size)
            if window.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"{label}: truncated or damaged tar ({error}); fetch it again") from error


def _headers(tar: tarfile.TarFile, window: _Window) -> Iterator[tarfile.TarInfo]:
    """One after the other, as many as there may be."""
    for _ in range(ENTRIES):
        if (info := tar.next()) is None:
            return
        tar.members = []  # it keeps all headers otherwise
        window.headers_left += HEADERS_EACH
        yield info
    raise tarfile.ReadError(f"more than {ENTRIES:,} files and folders")


def _safe_name(info: tarfile.TarInfo, label: str) -> str:
    """The member's name without leading "./"; an FormatError unless it is a plain file in the folder."""
    path = PurePosixPath(info.name)
    if not info.isreg() or info.issparse() or info.size < 0:
        raise FormatError(f"{label}: member {info.name!r} is not a plain file; {REMEDY}")
    if not path.parts or path.is_absolute() or ".." in path.parts or set(info.name) & {"\0", "\\"}:
        raise FormatError(f"{label}: member {info.name!r} has a name that leaves its folder; {REMEDY}")
    return str(path)
