"""Get one archive into its folder, verify it, and write the receipt that stands for it in the workflow.

A user's own copy (a folder source, or an upstream archive put into `downloads/`) is linked; everything else is
downloaded. Archives that are there and right are not downloaded again.
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
from octathlon.receipts import publish_link, write_json

SUMS = {"SHA256SUMS": "sha256", "MD5SUMS": "md5"}
SUMS_LINE = re.compile(r"([0-9a-f]{32}|[0-9a-f]{64}) [ *](?:\./)?(.+)")


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
