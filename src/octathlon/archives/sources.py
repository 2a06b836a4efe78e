"""Where an archive comes from: the declared upstream files of a data set, and a site's choice of source.

Each data set declares its upstream archives once, in `datasets/<name>/sources.yaml`:

    title: ImageNet LSVRC 2012              # required, as are licence, homepage and login
    licence: non-commercial research and education
    homepage: https://image-net.org/challenges/LSVRC/2012/
    login: null                             # or where to get an account and the files, in a few words
    known: null                             # what users of its mirrors should know when a download fails
    archives:
      - name: ILSVRC2012_img_train.tar      # required: a file name, or a path from the source's folder
        size: 147897477120                  # exact bytes; left out where nobody published them
        about: 147000000000                 # approximate bytes, where the size is unknown; a quarter off is wrong
        checksum: "md5:1d675b47…"           # md5:… or sha256:…; left out where unknown
        urls: []                            # mirrors in order (http, https, file)
        uri: https://…/metadata/NAME.uri    # a text that says where the files lie, see `published`

An archive with neither urls nor uri is behind a login.

A data set's configured source, or that of one of its archives (`archive_sources`), is one of

    miniature       drawn by the project's own writers
    upstream        the declared archives: from `downloads/` beside the archives' folder, where a user puts
                    files that need a login, else from the mirrors. Declared size and checksum are demanded.
    https://…/path  (http, https, file) a prefix under which the archives lie, such as a site's mirror; with a login
                    (https://user:password@host/path), which is told to that host alone and neither shown nor written
    /a/folder       a folder that holds them; they are linked, not copied

A prefix or folder may hold other data in the upstream format (own data, samples), so what sources.yaml
declares does not bind it, not even to the archives' names and number. Its own lists of checksums do (`sums`): an
archive listed there must match. Put the published sums beside a mirror's archives to have them checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from octathlon.errors import OctathlonError
from octathlon.names import without_login

CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}")
URL = re.compile(r"(https?|file)://")
URI = re.compile(r"https?://[^\s?#]+/[\w.-]+\.uri")
NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One declared upstream archive."""

    name: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    about: int | None = None
    checksum: str | None = None
    uri: str | None = None
    login: str | None = None
    known: str | None = None

    @property
    def bytes(self) -> int | None:
        """Its size as far as known: exact, else approximate."""
        return self.size or self.about

    @property
    def algorithm(self) -> str:
        """Of the digest that it is known by, wherever it comes from: its checksum's, so that there is one."""
        return self.checksum.partition(":")[0] if self.checksum else "sha256"

    @property
    def by_itself(self) -> bool:
        """Whether it can be downloaded without a login, as far as its publisher says."""
        return bool(self.urls or self.uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An archive that the workflow wants: `folder/archive.name`, taken from `source`."""

    dataset: str
    archive: Source
    source: str
    """As it may be shown: without a login."""
    folder: Path
    address: str = field(default="", repr=False)
    """The source as it was given, where that is an address with a login."""
    declared: tuple[str, ...] = ()
    """The names of all declared archives of the data set."""

    @property
    def path(self) -> Path:
        """Where the archive ends up (a link, for a folder source)."""
        return self.folder / self.archive.name

    @property
    def receipt(self) -> Path:
        """The small declared output that stands for the archive in the workflow."""
        return self.folder / f"{self.archive.name}.json"

    @property
    def downloads(self) -> Path:
        """Where a user puts upstream archives that need a login."""
        return self.folder.parent / "downloads"

    def local(self) -> Path | None:
        """The user's own copy, to be linked, there or not; None where the archive is downloaded or drawn."""
        if self.source == "upstream":
            own = self.downloads / self.archive.name
            return own if own.exists() or not self.archive.by_itself else None
        if self.source == "miniature" or URL.match(self.source):
            return None
        return Path(self.source) / self.archive.name

    def is_download(self) -> bool:
        """Whether it comes over a network, which few of them should share at a time."""
        local = self.source == "miniature" or self.source.startswith("file:")
        return not local and self.local() is None

    def top(self) -> Path | None:
        """The folder that the archive's name counts from, where it is one of this machine and not `downloads`."""
        if self.source.startswith("file:"):
            return Path(url2pathname(urlsplit(self.source).path))
        return (
            None if self.source in ("upstream", "miniature") or URL.match(self.source) else Path(self.source)
        )

    def absent(self) -> str | None:
        """What the user has to do, if the own copy is missing."""
        own = self.local()
        if own is None or own.exists():
            return None
        if self.source != "upstream":
            where = f"datasets.{self.dataset}"
            return f"{own}: not there; put it there, or name its folder in {where}.source or .archive_sources"
        return self.by_hand()

    def by_hand(self) -> str:
        """What the user has to do where a login is needed."""
        size = f"{self.archive.bytes:,} bytes" if self.archive.bytes else "size unknown"
        own = self.downloads / self.archive.name
        return (
            f"{self.archive.name} ({size}) is missing: get it from {self.archive.login} and put it at {own}"
        )

    def watched(self) -> Path:
        """The file whose change means that the archive must be fetched again."""
        return self.local() or self.path


def declared(dataset: str, document: Mapping[str, Any]) -> dict[str, Source]:
    """The archives, by name, that a parsed sources.yaml declares.

    Raises:
        OctathlonError: naming the key that does not fit the shape above.
    """
    where = f"sources.yaml of {dataset}"
    required = {"title", "licence", "homepage", "login", "archives"}
    _check_keys(where, document, required, optional={"known"})
    archives = [_source(dataset, document, entry) for entry in document["archives"]]
    names = [archive.name for archive in archives]
    if len(set(names)) < len(names):
        raise OctathlonError(f"{where}: an archive's name stands twice; give each archive once")
    return dict(zip(names, archives, strict=True))


def request(dataset: str, document: Mapping[str, Any], name: str, source: str, folder: Path) -> Request:
    """The request for one archive; only a prefix or folder may hold one that is not declared.

    Of the document only that archive's entry is checked: there may be hundreds of both.

    Raises:
        OctathlonError: if no archive has that name, or `source` is a URL of an unknown kind.
    """
    archives = {entry["name"]: entry for entry in document["archives"]}
    if name not in archives and (source in ("miniature", "upstream") or not NAME.fullmatch(name)):
        known = shorten(", ".join(archives), 200, placeholder=" …")
        raise OctathlonError(
            f"{dataset}: no archive {name!r} in source {without_login(source)}; declared are {known}"
        )
    if "://" in source and not URL.match(source):
        raise OctathlonError(
            f"{dataset}: source {without_login(source)!r} is not a http, https or file URL; give one, or a folder"
        )
    return Request(
        dataset=dataset,
        archive=_source(dataset, document, archives[name]) if name in archives else Source(name=name),
        source=without_login(source),
        folder=folder,
        address=source,
        declared=tuple(archives),
    )


def _source(dataset: str, document: Mapping[str, Any], entry: Mapping[str, Any]) -> Source:
    where, login = f"sources.yaml of {dataset}", document.get("login")
    _check_keys(where, entry, required={"name"}, optional={"size", "about", "checksum", "urls", "uri"})
    name, urls, checksum = entry["name"], entry.get("urls", []), entry.get("checksum")
    uri = entry.get("uri")
    if not NAME.fullmatch(name):
        raise OctathlonError(f"{where}: name {name!r} is not a plain file name or path")
    for key in ("size", "about"):
        if (value := entry.get(key)) is not None and (type(value) is not int or value <= 0):
            raise OctathlonError(
                f"{where}: {key} of {name} must be a positive number of bytes, not {value!r}"
            )
    if checksum is not None and not CHECKSUM.fullmatch(checksum):
        raise OctathlonError(
            f"{where}: checksum of {name} must be md5:… or sha256:… in hexadecimal, not {checksum!r}"
        )
    if bad := [url for url in urls if not URL.match(url)]:
        raise OctathlonError(f"{where}: url {bad[0]!r} of {name} is not a http, https or file URL")
    if uri is not None and not URI.fullmatch(uri):
        raise OctathlonError(f"{where}: uri {uri!r} of {name} is not a http or https URL that ends in .uri")
    if not (urls or uri or login):
        raise OctathlonError(
            f"{where}: {name} has neither urls nor a login that says where to get it, nor a uri"
        )
    return Source(
        name=name,
        urls=tuple(urls),
        size=entry.get("size"),
        about=entry.get("about"),
        checksum=checksum,
        uri=uri,
        login=login,
        known=document.get("known"),
    )


def _check_keys(
    where: str,
    entry: Mapping[str, Any],
    required: set[str],
    optional: frozenset[str] | set[str] = frozenset(),
):
    if missing := required - set(entry):
        raise OctathlonError(f"{where}: key {sorted(missing)[0]!r} is missing")
    for key in set(entry) - required - optional:
        close = get_close_matches(key, required | optional, 1)
        raise OctathlonError(
            f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        )
