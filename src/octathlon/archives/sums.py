"""Lists of checksums as people write them: `md5sum`, `shasum`, `openssl dgst`, BSD's `md5`, one digest per file.

    D41D8C…  day_0.gz                   the digest's length tells the algorithm
    d41d8c… *./day_0.gz                 "binary mode"
    d41d8c…  /data/criteo/day_0.gz
    \\d41d8c…  odd\\\\name/day_0.gz      GNU's escapes
    SHA256 (day_0.gz) = d41d8c…         BSD, and almost so OpenSSL: MD5(day_0.gz)= d41d8c…
    d41d8c…                             alone, in day_0.gz.md5: of the file that the list is called after

A line names an archive by its path from the list's folder or, where none does so exactly, by a longer path that ends
so: lists travel. Lists are untrusted: their size is bounded, and nothing in them becomes a path on this machine.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from octathlon.archives.download import download
from octathlon.errors import OctathlonError, unreadable

MOST = 16 << 20
"""Bytes of a list, or of another small text: a line of a list has about 60."""

LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
ALGORITHMS = {length: name for name, length in LENGTHS.items()}
GNU = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-f]{32,128})[ \t]+[*?^]?(?P<path>.+)", re.I)
BSD = re.compile(r"(?P<escaped>\\?)(?P<algorithm>[\w-]+) ?\((?P<path>.+)\) ?= ?(?P<digest>[0-9a-f]+)", re.I)
COMMENT = re.compile(r"[#;]|-----")
SEPARATOR = re.compile(r"[/\\]")

IS_LIST = re.compile(r"(.*[._-])?((md5|sha[-_]?\d+)(sums?)?|shasums?|checksums?)([._-]?(txt|asc))?", re.I)
"""Names of lists: MD5SUMS, md5sum.txt, CHECKSUM.MD5, day_0.gz.sha256sum, text_md5.txt …"""
FOR_ALL = tuple(
    f"{name}{ending}"
    for ending in ("", ".txt")
    for name in ("SHA256SUMS", "MD5SUMS", "sha256sums", "md5sums", "sha256sum", "md5sum")
)
FOR_ONE = (".sha256", ".sha256sum", ".md5", ".md5sum")
"""The names that are tried where a folder can't be listed."""


@dataclass(frozen=True, slots=True)
class Sum:
    """One line: a path as it stands there, and `algorithm:digest`."""

    path: str
    checksum: str

    @property
    def parts(self) -> list[str]:
        """The path's folders and name. Case is no difference: where some lists are written it is none."""
        return [part.lower() for part in SEPARATOR.split(self.path) if part not in ("", ".")]


class SumList:
    """A list of checksums: `where` it is, its `sums`, and its lines that are none."""

    def __init__(self, where: str, sums: Iterable[Sum], unread: Iterable[str]) -> None:
        self.where = where
        self.unread = list(unread)
        self._by_file: dict[str, list[Sum]] = defaultdict(list)
        for each in sums:
            self._by_file["".join(each.parts[-1:])].append(each)

    def of(self, name: str) -> list[Sum]:
        """What it says of a file: of that very path or, failing that, of all paths that end so."""
        wanted = name.lower().split("/")
        found = [each for each in self._by_file.get(wanted[-1], ()) if each.parts[-len(wanted) :] == wanted]
        return [each for each in found if each.parts == wanted] or found

    def checksum(self, name: str) -> str | None:
        """The checksum of a file; None if the list does not name it.

        Raises:
            OctathlonError: if it names the file but the checksum can't be told.
        """
        word = re.compile(rf"(?<![\w.-]){re.escape(name.rpartition('/')[2])}(?![\w-]|\.\w)", re.I)
        if line := next(filter(word.search, self.unread), None):
            raise OctathlonError(
                f"{self.where}: no checksum in the line of {name}: {line[:100]!r}; write it as `md5sum` does"
            )
        found = {each.checksum for each in self.of(name)}
        if len(found) > 1:
            raise OctathlonError(
                f"{self.where}: {len(found)} different checksums for {name}; leave only the right one there"
            )
        return found.pop() if found else None

    def remark(self, names: Iterable[str]) -> str | None:
        """A sentence, if it names none of these archives."""
        if any(self.of(name) for name in names):
            return None
        return f"{self.where}: names none of the archives, so none is checked against it; correct its names"


def parse(where: str, content: bytes) -> SumList:
    """Read a list; `where` is its path or URL."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not COMMENT.match(line.strip())]
    if len(lines) == 1 and len(lines[0]) in ALGORITHMS and re.fullmatch("[0-9a-f]+", lines[0], re.I):
        lines = [f"{lines[0]}  {PurePosixPath(where).stem}"]
    read = [_sum(line) for line in lines]
    unread = (line for line, found in zip(lines, read, strict=True) if not found)
    return SumList(where, filter(None, read), unread)


def in_folder(folder: Path) -> list[SumList]:
    """The lists that lie in a folder.

    Raises:
        OctathlonError: if one can't be read or is too large.
    """
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.iterdir() if IS_LIST.fullmatch(path.name) and path.is_file())
    return [parse(str(path), _content(path)) for path in paths]


def small_file(url: str) -> bytes:
    """The content of a small file behind a URL.

    Raises:
        NotGiven, OctathlonError: as `download` does.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PurePosixPath(url).name)
        download([url], path, most=MOST)
        return path.read_bytes()


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST:
            raise OctathlonError(f"{path}: more than {MOST:,} bytes are no list of checksums; move it away")
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _sum(line: str) -> Sum | None:
    found = GNU.fullmatch(line) or BSD.fullmatch(line)
    if not found:
        return None
    digest, path = found["digest"].lower(), found["path"]
    algorithm = found.groupdict().get("algorithm") or ALGORITHMS.get(len(digest), "")
    algorithm = algorithm.lower().replace("-", "")
    if LENGTHS.get(algorithm) != len(digest):
        return None
    if found["escaped"]:
        path = path.replace("\\\\", "\\")
    return Sum(path, f"{algorithm}:{digest}")
