"""Read zip archives without unpacking them, and without trusting them: what `tars` is for tars.

Nothing is written under a name that an archive gives. Links, encrypted members, duplicates, names that would leave
a folder and truncated or lying archives are refused with one sentence.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from octathlon.formats.errors import REMEDY, FormatError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CHUNK = 1 << 20
DIRECTORY_LIMIT = 1 << 24
"""Bytes of the list of members: for each of COCO's 118,287 training images 46, a name of 26, and extra fields."""
RATIO, FREE = 32, 1 << 20
"""A member unpacks to so many times its bytes, or to so many bytes, if that is more. COCO's annotations unpack to four
times theirs; zeros would give a thousand times."""
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError),
    *(NotImplementedError, RuntimeError),
)
"""What `zipfile` raises at versions, offsets, names and sizes that can't be, beside what it means to."""


class ZipReader:
    """The files in a zip, by name, directories left out. A context that closes the file.

    Raises:
        FormatError: if it is truncated or damaged, or a member is not a plain file with a plain, new name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._file = _File(path)
        except OSError as error:
            raise self._damaged("archive", error) from error
        try:
            self._open()
        except DAMAGE as error:
            self._file.close()
            raise self._damaged("archive", error) from error
        except FormatError:
            self._file.close()
            raise

    def _open(self) -> None:
        self._archive = zipfile.ZipFile(self._file)
        self._file.limit = None
        for info in self._archive.infolist():
            if not info.is_dir():
                self._admit(info)

    def __enter__(self) -> ZipReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    @property
    def names(self) -> list[str]:
        """The files' names, in the archive's order."""
        return list(self._members)

    def read(self, name: str, limit: int) -> bytes:
        """A file's content, its CRC-32 checked; `limit` bounds what it may unpack to.

        Raises:
            FormatError: if it isn't there, is larger than `limit` bytes or than its packed bytes can hold, truncated or
                damaged.
        """
        if name not in self._members:
            raise FormatError(f"{self.path}: no member {name}; {REMEDY}")
        info = self._members[name]
        most = min(limit, max(FREE, RATIO * info.compress_size))
        if info.file_size > most:
            raise FormatError(
                f"{self.path}: member {name} unpacks to {info.file_size:,} bytes, more than {most:,}; {REMEDY}"
            )
        try:
            with self._archive.open(info) as file:
                return self._whole(file, info)
        except DAMAGE as error:
            raise self._damaged(f"member {name}", error) from error

    @staticmethod
    def _whole(file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
        content = io.BytesIO()  # gives away what it holds: a large file is never in memory twice
        while chunk := file.read(CHUNK):
            content.write(chunk)
            if content.tell() > info.file_size:  # never more than announced, whatever the stream holds
                break
        if content.tell() != info.file_size:
            raise zipfile.BadZipFile(f"{content.tell():,} bytes instead of {info.file_size:,}")
        return content.getvalue()

    def _admit(self, info: zipfile.ZipInfo) -> None:
        name, path = info.filename, PurePosixPath(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 1 or info.compress_type not in METHODS or kind not in (0, stat.S_IFREG):
            raise FormatError(f"{self.path}: member {name!r} is not a plain file; {REMEDY}")
        # zipfile cuts a name at a NUL and turns backslashes over on some systems: the original tells
        unsafe = path.is_absolute() or ".." in path.parts or set(info.orig_filename) & {"\0", "\\"}
        if unsafe or not path.parts:
            raise FormatError(f"{self.path}: member {name!r} has a name that leaves its folder; {REMEDY}")
        if name in self._members:
            raise FormatError(f"{self.path}: member {name!r} is there twice; {REMEDY}")
        packed, stored = info.compress_size, info.compress_type == zipfile.ZIP_STORED
        if packed > self._file.size or (stored and packed != info.file_size):
            raise zipfile.BadZipFile(f"{packed:,} bytes of {info.file_size:,} for {name!r}")
        self._members[name] = info

    def _damaged(self, what: str, error: Exception) -> FormatError:
        return FormatError(f"{self.path}: {what} is truncated or damaged ({error}); fetch it again")


class _File(io.FileIO):
    """A file that, while `limit` is set, gives no piece of more bytes than that."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.size = path.stat().st_size
        self.limit: int | None = DIRECTORY_LIMIT

    def read(self, size: int | None = -1) -> bytes:
        rest = max(self.size - self.tell(), 0)
        count = rest if size is None or size < 0 else min(size, rest)
        if self.limit is not None and count > self.limit:
            raise zipfile.BadZipFile(f"a list of {count:,} bytes")
        return super().read(count)
