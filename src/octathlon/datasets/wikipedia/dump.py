"""Pages of a MediaWiki export, read in a stream from a .xml.bz2 dump, any part of it by itself.

Format: www.mediawiki.org/xml/export-0.10.xsd. "Multistream" dumps are many bz2 streams one after the other, each with
100 pages, so that a job can start at the first stream of its share. The dump is untrusted: each page is parsed by
itself, and XML that begins with `<page>` can hold no document type, hence no entities of its own. Pages are limited in
size and in tags, and a dump in what it unpacks to, so neither a bomb nor a page without end takes memory or time.
"""

from __future__ import annotations

import bz2
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from octathlon.errors import OctathlonError

STREAM = re.compile(rb"BZh[1-9]1AY&SY")
"""The head of a bz2 stream and of its first block; by chance it stands nowhere else (10 bytes)."""
BEGIN, END, LAST = b"<page>", b"</page>", b"</mediawiki>"
TAIL = 64
"""Bytes that hold any unfinished tag, and the dump's last one with the white space around it."""
CHUNK = 1 << 20
READ = 1 << 14
"""Bytes of an archive that are read at a time: the end of each stream copies what was read behind it."""
TEXT_LIMIT = 3 << 20
"""No wikitext has more bytes: MediaWiki accepts 2 MiB, and what it replaces while it saves may make them longer."""
PAGE_LIMIT = 20 << 20
"""No page has more bytes, even if each character of its text is a quotation mark, which is written in six."""
TAG_LIMIT = 1000
"""No page has more tags; those of the sample have 28 to 35, as those in its text are written without <."""
LONG_TAG = re.compile(rb"<[^>]{4096}")
RATIO_LIMIT, RATIO_FLOOR = 100, 13 << 20
"""No dump is so many times as large as its archive, unless it has fewer bytes than the floor, where any page of 2 MiB
has room; the real sample is 3.5 times as large."""
PACKED_PAGE, PAGES_FLOOR = 10, 10_000
"""No page takes fewer bytes of an archive, if there are more pages than the floor; the sample's redirects take 99."""


@dataclass(frozen=True, slots=True)
class Page:
    """What extraction needs of a page."""

    number: int
    title: str
    namespace: int
    redirect: bool
    text: str
    """The wikitext of the page's one revision."""


def pages(path: Path, part: int, parts: int) -> Iterator[Page]:
    """The pages that begin in one of `parts` shares of a dump; all shares together give each page once.

    Raises:
        OctathlonError: if the dump is truncated or damaged, or a page is too large or not valid.
    """
    start, stop = _share(path, part, parts)
    if start == stop:
        return
    own, following = _decompressed(path, start, stop), _decompressed(path, stop, path.stat().st_size)
    for number, xml in enumerate(_page_elements(path, own, following)):
        if number > max(PAGES_FLOOR, (stop - start) // PACKED_PAGE):
            raise OctathlonError(f"{path}: more pages than its bytes can hold; it is not such a dump")
        try:
            yield _parse(xml)
        except (ElementTree.ParseError, ValueError, TypeError, AttributeError) as error:
            raise OctathlonError(
                f"{path}: a page cannot be read ({error}): {xml[:80]!r}; fetch the dump again"
            ) from None


def _parse(xml: bytes) -> Page:
    if xml.count(b"<") > TAG_LIMIT or LONG_TAG.search(xml):
        raise ValueError("more tags, or longer ones, than a page has")
    element = ElementTree.fromstring(xml)  # noqa: S314 - without a document type there is nothing to expand
    text = element.find("revision").find("text").text or ""
    if len(text.encode()) > TEXT_LIMIT:
        raise ValueError(f"text of more than {TEXT_LIMIT:,} bytes")
    return Page(
        number=int(element.find("id").text),
        title=element.find("title").text or "",
        namespace=int(element.find("ns").text),
        redirect=element.find("redirect") is not None,
        text=text,
    )


def _page_elements(path: Path, own: Iterator[bytes], following: Iterator[bytes]) -> Iterator[bytes]:
    """Each `<page>...</page>` that begins in `own`; the last one may end in `following`."""
    rest, size = b"", 0
    for chunk in own:
        size += len(chunk)
        found, rest = _split(rest + chunk)
        yield from found
        _check_size(path, rest)
    length = len(rest)
    for chunk in following:
        rest += chunk
        begin = rest.find(BEGIN)
        if not 0 <= begin < length:
            return
        if (end := rest.find(END, begin)) >= 0:
            yield rest[begin : end + len(END)]
            return
        _check_size(path, rest)
    if BEGIN in rest or not _is_end(rest, whole=len(rest) == size):
        raise OctathlonError(f"{path}: ends before </mediawiki>; fetch the dump again")


def _is_end(rest: bytes, whole: bool) -> bool:
    """Whether a dump may end so; a `whole` share may be no more than a piece of the last tag."""
    text = rest.rstrip()
    return text.endswith(LAST) or (whole and LAST.endswith(text))


def _check_size(path: Path, page: bytes) -> None:
    if len(page) > PAGE_LIMIT:
        raise OctathlonError(f"{path}: a page of more than {PAGE_LIMIT:,} bytes; it is not such a dump")


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """The whole pages, and what may go on behind `content`: an unfinished page or tag, the end of the dump."""
    found, rest = [], 0
    while (begin := content.find(BEGIN, rest)) >= 0 and (end := content.find(END, begin)) >= 0:
        rest = end + len(END)
        found.append(content[begin:rest])
    return found, content[begin if begin >= 0 else max(rest, len(content) - TAIL) :]


def _share(path: Path, part: int, parts: int) -> tuple[int, int]:
    """The offsets of the first stream that begins in a part's share of the bytes, and of the first one behind it."""
    size = path.stat().st_size
    if not size:
        raise OctathlonError(f"{path}: empty; fetch the dump again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not STREAM.match(content):
            raise OctathlonError(f"{path}: not a bz2 file; fetch the dump again")
        bounds = size * part // parts, size * (part + 1) // parts
        found = (STREAM.search(content, bound) for bound in bounds)
        start, stop = (match.start() if match else size for match in found)
        return start, stop


def _decompressed(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """The contents of the streams that lie between two offsets, in pieces of at least CHUNK bytes but for the last."""
    pieces, size, total = [], 0, 0
    for piece in _streams(path, start, stop):
        if piece:
            pieces.append(piece)
            size += len(piece)
        if size >= CHUNK:
            total += size
            if total > max(RATIO_FLOOR, RATIO_LIMIT * (stop - start)):
                raise OctathlonError(
                    f"{path}: unpacks to more than {RATIO_LIMIT} times its size; it is not such a dump"
                )
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def _streams(path: Path, start: int, stop: int) -> Iterator[bytes]:
    """What the streams between two offsets unpack to, in pieces of at most CHUNK bytes."""
    if start == stop:
        return
    with path.open("rb") as file:
        file.seek(start)
        decompressor, content = bz2.BZ2Decompressor(), b""
        while True:
            if not content and decompressor.needs_input:
                content = file.read(min(READ, stop - file.tell()))
                if not content:
                    raise OctathlonError(f"{path}: truncated; fetch the dump again")
            try:
                yield decompressor.decompress(content, CHUNK)
            except OSError as error:
                raise OctathlonError(f"{path}: damaged ({error}); fetch the dump again") from None
            content = b""
            if decompressor.eof:
                content = decompressor.unused_data
                if not content and file.tell() == stop:
                    return
                decompressor = bz2.BZ2Decompressor()
