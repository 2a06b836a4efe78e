"""Get one archive into its folder, verify it, and write the receipt that stands for it in the workflow.

A user's own copy (a folder source, or an upstream archive put into `downloads/`) is linked, all else is
downloaded. What is there and right is not downloaded again.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from octathlon.archives.checksum import Seen, WrongBytes, verified
from octathlon.archives.download import NotThere, download
from octathlon.archives.identity import recall, remember
from octathlon.archives.sources import Request
from octathlon.errors import OctathlonError
from octathlon.receipts import publish, write_json

SUMS = {"SHA256SUMS": "sha256", "MD5SUMS": "md5"}
SUMS_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{64}) [ *](?:\./)?(.+)")


def fetch(request: Request, planned: str) -> dict[str, Any]:
    """Make `request.path` the verified archive; return its receipt.

    Args:
        planned: the identity that the workflow planned this with, see `identity`.

    Raises:
        OctathlonError: if the archive is missing, can't be had, or is not what was declared.
    """
    own = request.local()
    seen = _download(request) if own is None else _link(request, own)
    return write_receipt(request.dataset, request.path, planned, request.source, seen)


def write_receipt(
    dataset: str, archive: Path, planned: str, source: str = "miniature", seen: Seen | None = None
) -> dict[str, Any]:
    """Write the receipt of an archive that is in its place; return it.

    It holds the content only (no time, no path), so the same archive always gives the same receipt.
    """
    seen = seen or verified(archive)
    receipt = archive.with_name(f"{archive.name}.json")
    remember(receipt, planned, source, seen)
    value = {"format": 1, "stage": "archive", "dataset": dataset, "name": archive.name}
    value |= {"bytes": seen.bytes, "sha256": seen.sha256}
    write_json(receipt, value)
    return value


def _link(request: Request, own: Path) -> Seen:
    """Verify the user's own copy and link it: a second copy might not fit on the disk."""
    if absent := request.absent():
        raise OctathlonError(absent)
    size, checksum = _demanded(request)
    try:
        seen = verified(own, size, checksum)
    except WrongBytes as problem:
        raise OctathlonError(f"{own}: not the declared archive ({problem}); replace it, then rerun") from None
    if not (request.path.exists() and request.path.samefile(own)):
        with publish(request.path) as link:
            link.symlink_to(own.absolute())
    return seen


def _download(request: Request) -> Seen:
    """Download the archive, unless it is there."""
    size, checksum = _demanded(request)
    if seen := _kept(request, size, checksum):
        return seen
    urls = request.archive.urls if request.source == "upstream" else [_beside(request, request.archive.name)]
    sha256 = download(urls, request.path, size=size, checksum=checksum)
    status = request.path.stat()
    return Seen(status.st_size, status.st_mtime_ns, sha256)


def _kept(request: Request, size: int | None, checksum: str | None) -> Seen | None:
    """What is in the archive's place, if it is the archive: by its checksum or, where there is none, if it is
    unchanged since it came from the same source."""
    if request.path.is_symlink() or not request.path.exists():
        return None
    if not checksum:
        before = recall(request.receipt)
        if not before or before["source"] != request.source:
            return None
        checksum = f"sha256:{before['sha256']}"
    try:
        return verified(request.path, size, checksum)
    except WrongBytes:
        return None


def _demanded(request: Request) -> tuple[int | None, str | None]:
    """The size and the checksum that the archive must have, see `sources`."""
    if request.source == "upstream":
        return request.archive.size, request.archive.checksum
    for name, algorithm in SUMS.items():
        for line in _sums(request, name).splitlines():
            found = SUMS_LINE.fullmatch(line.strip())
            if found and found[2] == request.archive.name:
                return None, f"{algorithm}:{found[1].lower()}"
    return None, None


def _sums(request: Request, name: str) -> str:
    """The text of a list of checksums at the top of the archive's source; empty if there is none."""
    try:
        if own := request.local():
            top = own.parents[request.archive.name.count("/")]
            return (top / name).read_text(errors="replace")
        with tempfile.TemporaryDirectory() as folder:
            download([_beside(request, name)], Path(folder) / name)
            return (Path(folder) / name).read_text(errors="replace")
    except (FileNotFoundError, NotThere):
        return ""


def _beside(request: Request, name: str) -> str:
    return f"{request.source.rstrip('/')}/{name}"
