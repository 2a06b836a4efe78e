"""What a results tree holds and no score is made from, and why not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from octathlon.scoring.entries import Entry
from octathlon.scoring.scaling import FILE as SCALING
from octathlon.scoring.tree import Folder, Skipped


def unused(entries: Iterable[Entry], paths: Iterable[Path]) -> list[Skipped]:
    """The files and folders beside the logs of entries, and the descriptions beside theirs, in order.

    Neither the source code of the organisations nor what is below an unused folder is listed.

    Args:
        paths: what was asked for; nothing outside of it is listed.
    """
    asked = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 (as in `find_folders`)
    entries = list(entries)
    systems: dict[Path, set[str]] = {}
    for entry in entries:
        if (organisation := entry.filing.folder.organisation) is not None:
            systems.setdefault(organisation / "systems", set()).add(entry.system)
    found = [each for entry in entries for each in _beside_logs(entry)]
    found += _beside_folders([entry.filing.folder for entry in entries])
    found += [each for folder, names in systems.items() for each in _beside_descriptions(folder, names)]
    inside = [each for each in found if any(each.path.is_relative_to(path) for path in asked)]
    return sorted(inside, key=lambda each: each.path)


def _beside_logs(entry: Entry) -> Iterator[Skipped]:
    folder = entry.filing.folder
    if not folder.logs:
        yield Skipped(folder.path, "no logs: no score")
    used = {path.name for path in folder.logs}
    if entry.filing.rules.scaled and folder.logs:
        used.add(SCALING)
    if entry.energy_joules is not None:
        used.add("power")
    if folder.system == folder.path:  # what else is in it is a matter of `_beside_folders`
        return
    for each in _listed(folder.path):
        if each.name not in used:
            yield Skipped(Path(each.path), _reason(each, entry))


def _beside_folders(folders: Sequence[Folder]) -> Iterator[Skipped]:
    """What is in `results`, or in a system's folder, and leads to no logs."""
    used = {path for folder in folders for path in (folder.path, *folder.path.parents, *folder.logs)}
    tops = {path for folder in folders if folder.results for path in (folder.results, folder.system)}
    for top in tops:
        for each in _listed(top):
            if Path(each.path) not in used:
                yield Skipped(Path(each.path), "in no benchmark's folder, or without logs")


def _reason(each: os.DirEntry[str], entry: Entry) -> str:
    """Why a file or folder beside logs is not used."""
    if each.name == SCALING:
        words = "no logs to scale" if entry.filing.rules.scaled else f"{entry.round} has no scaled scores"
        return f"a factor, but {words}"
    if each.name == "power":
        return "power logs, but not of all runs that count"
    if each.name == "pruned_results":
        return "models that were taken out of the result"
    if each.is_dir(follow_symlinks=False):
        return "a folder among the logs"
    return "hidden" if each.name.startswith(".") else "not called like a log, result*.txt"


def _beside_descriptions(folder: Path, systems: set[str]) -> Iterator[Skipped]:
    for each in _listed(folder):
        path = Path(each.path)
        if path.suffix != ".json":
            yield Skipped(path, "not a system description, <system>.json")
        elif path.stem not in systems:
            yield Skipped(path, "describes a system that has no results")


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []  # the search for logs says so, or the check that the folder is missing
