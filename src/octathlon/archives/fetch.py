"""Get one archive into its folder, verify it, and write the receipt that stands for it in the workflow.

A user's own copy (a folder source, or an upstream archive put into `downloads/`) is linked, all else is
downloaded. What is there and right is not downloaded again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from octathlon.archives.checksum import Declared, Seen, WrongBytes, verified
from octathlon.archives.download import LoginPage, NotGiven, NotThere, download
from octathlon.archives.identity import recall, remember
from octathlon.archives.published import locate
from octathlon.archives.sources import Request, Source
from octathlon.archives.sums import FOR_ALL, FOR_ONE, SumList, in_folder, parse, small_file
from octathlon.errors import OctathlonError
from octathlon.names import without_login
from octathlon.receipts import publish, write_json


def fetch(request: Request, planned: str) -> dict[str, Any]:
    """Make `request.path` the verified archive; return its receipt.

    Args:
        planned: the identity that the workflow planned this with, see `identity`.

    Raises:
        OctathlonError: if the archive is missing, can't be had, or is not what was declared.
    """
    own = request.local()
    return write_receipt(request, planned, _download(request) if own is None else _link(request, own))


def write_receipt(request: Request, planned: str, seen: Seen | None = None) -> dict[str, Any]:
    """Write the receipt of an archive that is in its place; return it.

    It holds the content only (no time, no path), so the same archive always gives the same receipt.
    """
    seen = seen or verified(request.path, Declared(algorithm=request.archive.algorithm))
    remember(request.receipt, planned, request.source, seen)
    value = {"format": 1, "stage": "archive", "dataset": request.dataset, "name": request.archive.name}
    value |= {"bytes": seen.bytes, "checksum": seen.checksum}
    write_json(request.receipt, value)
    return value


def _link(request: Request, own: Path) -> Seen:
    """Verify the user's own copy and link it: a second copy might not fit on the disk."""
    if absent := request.absent():
        raise OctathlonError(absent)
    try:
        seen = verified(own, _demanded(request))
    except WrongBytes as problem:
        raise OctathlonError(f"{own}: not the declared archive ({problem}); replace it, then rerun") from None
    if not (request.path.exists() and request.path.samefile(own)):
        with publish(request.path) as link:
            link.symlink_to(own.absolute())
    return seen


def _download(request: Request) -> Seen:
    """Download the archive, unless it is there."""
    demanded = _demanded(request)
    if seen := _kept(request, demanded):
        return seen
    if request.source == "upstream":
        checksum = _from_upstream(request)
    else:
        url = _beside(request, request.archive.name)
        checksum = download(
            [url], request.path, checksum=demanded.checksum, algorithm=request.archive.algorithm
        )
    status = request.path.stat()
    return Seen(status.st_size, status.st_mtime_ns, checksum)


def _from_upstream(request: Request) -> str:
    """Download the archive from where its data set declares; return its checksum."""
    source = request.archive
    try:
        urls, checksum = _offered(source)
        return download(
            urls,
            request.path,
            size=source.size,
            about=source.about,
            checksum=checksum,
            algorithm=source.algorithm,
        )
    except NotGiven as failure:
        if source.login and isinstance(failure, LoginPage):
            raise OctathlonError(request.by_hand()) from None
        told = [f"known: {source.known}"] if source.known else []
        own = request.downloads / source.name
        raise OctathlonError("; ".join([str(failure), *told, f"your own copy is taken from {own}"])) from None


def _offered(source: Source) -> tuple[list[str], str | None]:
    """The URLs of an archive, and all checksums that are known of it."""
    if not source.uri:
        return list(source.urls), source.checksum
    try:
        url, checksum = locate(source.uri, source.name, source.checksum)
    except NotGiven:
        if source.urls:
            return list(source.urls), source.checksum
        raise
    return [*source.urls, url], f"{source.checksum or ''} {checksum}"


def _kept(request: Request, demanded: Declared) -> Seen | None:
    """What is in the archive's place, if it is the archive: by its checksum or, where there is none, if it is
    unchanged since it came from the same source."""
    if request.path.is_symlink() or not request.path.exists():
        return None
    if not demanded.checksum:
        before = recall(request.receipt)
        if not before or before["source"] != request.source:
            return None
        demanded = replace(demanded, checksum=before["checksum"])
    try:
        return verified(request.path, demanded)
    except WrongBytes:
        return None


def _demanded(request: Request) -> Declared:
    """What the archive must be, see `sources`."""
    archive = request.archive
    if request.source == "upstream":
        return Declared(size=archive.size, checksum=archive.checksum, algorithm=archive.algorithm)
    found = []
    for name, each in _lists(request):
        found += filter(None, [each.checksum(name)])
        at_top = name == archive.name
        if at_top and (remark := each.remark({*request.declared, name})):
            print(f"octathlon: {remark}", file=sys.stderr)
    return Declared(checksum=" ".join(found) or None, algorithm=archive.algorithm)


def _lists(request: Request) -> Iterator[tuple[str, SumList]]:
    """The lists of checksums above the archive in its source, each with the archive's path from there."""
    name = request.archive.name
    if top := request.top():
        for folder in [*(top / name).parents][: name.count("/") + 1]:
            yield from (((top / name).relative_to(folder).as_posix(), each) for each in in_folder(folder))
    else:
        tried = [*FOR_ALL, *(name + ending for ending in FOR_ONE)]
        yield from ((name, each) for beside in tried if (each := _remote(_beside(request, beside))))


def _remote(url: str) -> SumList | None:
    try:
        return parse(without_login(url), small_file(url))
    except NotThere:
        return None


def _beside(request: Request, name: str) -> str:
    return f"{(request.address or request.source).rstrip('/')}/{name}"
