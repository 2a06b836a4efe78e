"""What stands in the way of a whole run's archives, told before the first job. No network: stat calls."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from octathlon.archives.identity import recall
from octathlon.archives.sources import Request
from octathlon.archives.sums import in_folder
from octathlon.errors import OctathlonError


def missing(requests: Iterable[Request]) -> list[str]:
    """One sentence for each source whose archives a user must provide, and for each disk too small for the downloads.

    An archive that was fetched from the same source counts as there, even if it was deleted since.
    """
    wanted = [request for request in requests if not _done(request)]
    absent: defaultdict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in wanted:
        if request.absent():
            absent[request.dataset, request.source].append(request)
    downloads = [request for request in wanted if request.local() is None]
    return [_sentence(group) for group in absent.values()] + _short_of_room(downloads)


def remarks(requests: Iterable[Request]) -> list[str]:
    """One sentence for each list of checksums that names none of the archives of its folder."""
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for request in requests:
        if top := request.top():
            names[top].add(request.archive.name)
    found: list[str | None] = []
    for top in names:
        try:
            found += [each.remark(names[top]) for each in in_folder(top)]
        except OctathlonError as error:
            found.append(str(error))
    return [sentence for sentence in found if sentence]


def _sentence(group: Sequence[Request]) -> str:
    """What the user has to do about the missing archives of one source."""
    first, last = group[0], group[-1]
    if first is last:
        return str(first.absent())
    what = f"{first.archive.name} … {last.archive.name}; {_size(group)}"
    if first.source != "upstream":
        keys = f"datasets.{first.dataset}.source or .archive_sources"
        return (
            f"{first.dataset}: {len(group)} archives are not in {first.source} ({what}); "
            f"put them there, or name their folder in {keys}"
        )
    return (
        f"{first.dataset}: {len(group)} archives are missing ({what}): get them from {first.archive.login} "
        f"and put them into {first.downloads}"
    )


def _size(group: Iterable[Request]) -> str:
    """The bytes of some archives together, as far as known."""
    archives = [request.archive for request in group]
    known = [archive.bytes for archive in archives if archive.bytes]
    if not known:
        return "sizes unknown"
    total = f"{sum(known):,} bytes"
    if len(known) < len(archives):
        return f"more than {total}"
    return total if all(archive.size for archive in archives) else f"about {total}"


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
