"""What stands in the way of a whole run's archives, told before the first job. No network: stat calls."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from octathlon.archives.identity import recall
from octathlon.archives.sources import Request


def missing(requests: Iterable[Request]) -> list[str]:
    """One sentence for each archive that a user must provide, and for each disk too small for the downloads.

    An archive that was fetched from the same source counts as there, even if it was deleted since.
    """
    wanted = [request for request in requests if not _done(request)]
    absent = [sentence for request in wanted if (sentence := request.absent())]
    return absent + _short_of_room([request for request in wanted if request.local() is None])


def _done(request: Request) -> bool:
    before = recall(request.receipt)
    return request.receipt.exists() and before is not None and before["source"] == request.source


def _short_of_room(downloads: Iterable[Request]) -> list[str]:
    """Compare the bytes to come with what is free, disk by disk."""
    needs: Counter[int] = Counter()
    folders: dict[int, Path] = {}
    for request in downloads:
        folder = next(path for path in (request.folder, *request.folder.absolute().parents) if path.exists())
        disk = folder.stat().st_dev
        folders.setdefault(disk, folder)
        needs[disk] += _to_come(request)
    return [
        f"{folders[disk]}: the archives need {need:,} more bytes, but only {free:,} are free; make room there"
        for disk, need in needs.items()
        if need > (free := shutil.disk_usage(folders[disk]).free)
    ]


def _to_come(request: Request) -> int:
    if request.source != "upstream" or request.path.exists():
        return 0  # what a prefix or a miniature brings is not declared
    part = request.path.with_name(f"{request.path.name}.part")
    return max((request.archive.bytes or 0) - (part.stat().st_size if part.exists() else 0), 0)
