"""Is a submission package complete and are its results compliant? The checks that the v1.1 round ran.

After mlperf_logging's package_checker: the tree, the system descriptions, every log, the number of runs, the
seeds and the RCP test. Nothing is written into the tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.scoring.compliance import ROUND, check_log
from octathlon.scoring.descriptions import division
from octathlon.scoring.entries import NONE_CHOSEN, Entry, score_folder
from octathlon.scoring.findings import Finding, Report
from octathlon.scoring.olympic import needed_runs
from octathlon.scoring.rules import load_round
from octathlon.scoring.runs import read_log
from octathlon.scoring.seeds import check_seeds
from octathlon.scoring.systems import check_description
from octathlon.scoring.tree import Folder, find_folders, is_file, is_folder


def check_path(path: Path, runs: Mapping[str, int] = NONE_CHOSEN) -> Iterator[Report]:
    """Check a log, a system description, or all of a tree: any folder of one, an organisation, many of them.

    Args:
        runs: how many runs a result needs, where not as many as the round says; see `olympic.needed_runs`.

    Raises:
        OctathlonError: if there is nothing to check.
    """
    if is_file(path):
        yield Report(path, check_description(path)) if path.suffix == ".json" else _check_log(path)
        return
    folders, skipped = find_folders([path], lambda name: load_round(ROUND).task(name) is not None)
    if not folders:
        raise OctathlonError(f"{path}: nothing to check; give a log, a system description or a results tree")
    for each in skipped:
        yield Report(each.path, [Finding("warning", "tree.skipped", each.reason)])
    root = Path(os.path.abspath(path))  # noqa: PTH100 (as in `find_folders`)
    for organisation in dict.fromkeys(folder.organisation for folder in folders):
        members = [folder for folder in folders if folder.organisation == organisation]
        if organisation is not None:
            yield from _check_organisation(organisation, members, whole=organisation.is_relative_to(root))
        for folder in members:
            yield from _check_folder(folder, runs)


def _check_log(path: Path) -> Report:
    try:
        return Report(path, check_log(path))
    except OctathlonError as error:
        return Report(path, [Finding("error", "log.file", str(error))])


def _check_organisation(organisation: Path, folders: list[Folder], *, whole: bool) -> Iterator[Report]:
    """The descriptions and the code; only what belongs to `folders`, unless the `whole` was asked for."""
    found = {path.stem: path for path in sorted((organisation / "systems").glob("*.json"))}
    used = dict.fromkeys(folder.path.parent.name for folder in folders)
    for name in found if whole else [name for name in used if name in found]:
        yield Report(found[name], check_description(found[name]))
    missing = [
        Finding("error", "systems.missing", f"results/{name} has no systems/{name}.json")
        for name in used
        if name not in found
    ]
    yield Report(organisation, [*missing, *_check_code(organisation, folders)])


def _check_code(organisation: Path, folders: list[Folder]) -> Iterator[Finding]:
    if not is_folder(organisation / "benchmarks"):
        yield Finding("warning", "code.missing", "no folder benchmarks with the source code")
        return
    for name in dict.fromkeys(folder.path.name for folder in folders):
        if not any(_code(organisation, name).glob("implementations/*")):
            yield Finding("warning", "code.missing", f"nothing in benchmarks/{name}/implementations")


def _code(organisation: Path, benchmark: str) -> Path:
    return organisation / "benchmarks" / benchmark


def _check_folder(folder: Folder, runs: Mapping[str, int]) -> Iterator[Report]:
    """The logs of one result, and the result."""
    entry = score_folder(folder, [read_log(path) for path in folder.logs], load_round(ROUND), runs)
    if entry.task is None or (folder.results and load_round(ROUND).task(folder.path.name) is None):
        words = f"not a benchmark of {ROUND}: skipped"
        yield Report(folder.path, [Finding("warning", "benchmark.unknown", words)])
        return
    reports = [_check_log(path) for path in folder.logs]
    broken = sum(bool(report.errors) for report in reports)
    needed, drop = needed_runs(runs, entry.task.name, entry.task.runs, entry.task.drop)
    yield from (_softened(report) if broken <= drop else report for report in reports)
    findings = [
        *_check_runs(len(folder.logs), needed, broken, drop),
        *_check_alike(entry),
        *_check_files(folder),
        *(_check_closed(folder, entry) if entry.division == "closed" else ()),
    ]
    yield Report(folder.path, findings)


def _softened(report: Report) -> Report:
    """A report whose errors are forgiven: the run is one of those that the olympic mean drops."""
    return Report(report.path, [replace(finding, severity="warning") for finding in report.findings])


def _check_runs(count: int, needed: int, broken: int, drop: int) -> Iterator[Finding]:
    if count != needed:
        yield Finding("error", "runs.count", f"{count} logs, not {needed}")
    if broken > drop:
        yield Finding("error", "runs.compliance", f"{broken} logs break the rules, at most {drop} may")
    elif broken:
        words = f"{broken} of {count} logs break the rules: accepted, as the olympic mean drops {drop}"
        yield Finding("warning", "runs.compliance", words)


def _check_alike(entry: Entry) -> Iterator[Finding]:
    logs = [run.log for run in entry.runs]
    sizes = sorted({log.numbers["global_batch_size"] for log in logs if "global_batch_size" in log.numbers})
    if len(sizes) > 1:
        words = f"the logs have different values: {', '.join(f'{size:g}' for size in sizes[:5])}"
        yield Finding("error", "global_batch_size.alike", words)
    strangers = {log.identity.get("benchmark", entry.benchmark) for log in logs} - {entry.benchmark}
    if strangers:
        words = f"logs of {', '.join(sorted(strangers)[:5])} in the folder of {entry.benchmark}"
        yield Finding("error", "submission_benchmark.alike", words)
    logged = {division(log.identity.get("division", entry.division)) for log in logs} - {entry.division}
    if logged:
        words = f"{entry.division} in the description, {', '.join(sorted(logged)[:5])} in the logs"
        severity = "error" if entry.division == "closed" else "warning"  # open logs are checked less strictly
        yield Finding(severity, "submission_division.alike", words)


def _check_files(folder: Folder) -> Iterator[Finding]:
    known = {path.name for path in folder.logs}
    others = sorted(entry.name for entry in os.scandir(folder.path) if entry.name not in known)
    if others:
        names = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        words = "1 file that is no log" if len(others) == 1 else f"{len(others)} files that are no logs"
        yield Finding("warning", "files.unknown", f"{words}: {names}")


def _check_closed(folder: Folder, entry: Entry) -> Iterable[Finding]:
    """Seeds, and the RCP test, which flags and never refuses: what only the closed division must pass."""
    code = _code(folder.organisation, folder.path.name) if folder.organisation else None
    yield from check_seeds([run.log.path for run in entry.runs if not run.log.unreadable], code)
    for flag in entry.flags:
        yield Finding("warning", "rcp", flag)
