"""Is a submission package complete and are its results compliant? The checks that the rounds ran.

After mlperf_logging's package_checker: the tree, the system descriptions, every log, the number of runs, the
seeds and the RCP test. A run is judged as for its score. Nothing is written into the tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.scoring.compliance import has_rules, waive
from octathlon.scoring.entries import NONE_CHOSEN, Entry, is_benchmark, score_folders
from octathlon.scoring.findings import Finding, Report
from octathlon.scoring.identity import check_identity
from octathlon.scoring.repository import check_repository
from octathlon.scoring.scaling import FILE as SCALING
from octathlon.scoring.seeds import check_seeds
from octathlon.scoring.systems import check_description
from octathlon.scoring.text import some
from octathlon.scoring.tree import NO_RESULTS, find_folders, is_file, is_folder


def check_path(
    path: Path, runs: Mapping[str, int] = NONE_CHOSEN, round_name: str | None = None
) -> Iterator[Report]:
    """Check a log, a system description, or all of a tree: any folder of one, an organisation, many of them.

    Args:
        runs: how many runs a result needs, where not as many as the round says; see `olympic.needed_runs`.
        round_name: whose rules hold; default: told from the logs, as for `score`.

    Raises:
        OctathlonError: if there is nothing to check.
    """
    if is_file(path) and path.suffix == ".json":
        yield Report(path, check_description(path))
        return
    folders, skipped = find_folders([path], is_benchmark)
    if not folders:
        raise OctathlonError(f"{path}: nothing to check; give a log, a system description or a results tree")
    entries = score_folders(folders, round_name, runs, check=True)
    if is_file(path):
        yield from _check_logs(entries[0])
        return
    for each in skipped:
        yield Report(each.path, [Finding("warning", "tree.skipped", each.reason)])
    root = Path(os.path.abspath(path))  # noqa: PTH100 (as in `find_folders`)
    for organisation in dict.fromkeys(folder.organisation for folder in folders):
        members = [entry for entry in entries if entry.filing.folder.organisation == organisation]
        if organisation is not None:
            yield from _check_organisation(organisation, members, whole=organisation.is_relative_to(root))
        for entry in members:
            yield from _check_entry(entry)


def _check_organisation(organisation: Path, entries: list[Entry], *, whole: bool) -> Iterator[Report]:
    """The descriptions and the code; only what belongs to `entries`, unless the `whole` was asked for."""
    found = {path.stem: path for path in sorted((organisation / "systems").glob("*.json"))}
    used = dict.fromkeys(entry.system for entry in entries)
    for name in found if whole else [name for name in used if name in found]:
        yield Report(found[name], check_description(found[name]))
    missing = [
        Finding("error", "systems.missing", f"results/{name} has no systems/{name}.json")
        for name in used
        if name not in found
    ]
    rules = entries[0].filing.rules
    tops = [organisation] if whole else [entry.filing.folder.path for entry in entries]
    filed = [finding for top in tops for finding in check_repository(top, rules.repository)]
    findings = [*missing, *_check_code(organisation, entries), *filed]
    yield Report(organisation, [waive(finding, rules.name, "") for finding in findings])


def _check_code(organisation: Path, entries: list[Entry]) -> Iterator[Finding]:
    if not is_folder(organisation / "benchmarks"):
        yield Finding("warning", "code.missing", "no folder benchmarks with the source code")
        return
    for name in dict.fromkeys(entry.benchmark for entry in entries):
        if not any(_code(organisation, name).glob("implementations/*")):
            yield Finding("warning", "code.missing", f"nothing in benchmarks/{name}/implementations")


def _code(organisation: Path, benchmark: str) -> Path:
    return organisation / "benchmarks" / benchmark


def _check_entry(entry: Entry) -> Iterator[Report]:
    """The logs of one result, and the result."""
    folder = entry.filing.folder
    if entry.task is None:
        yield Report(folder.path, [Finding("error", "benchmark.unknown", entry.score.reason)])
        return
    reports = _check_logs(entry)
    yield from reports if entry.score.minutes is None else map(_softened, reports)
    findings = [
        *_contested(entry),
        *_check_name(entry),
        *_check_runs(entry),
        *_check_batch_sizes(entry),
        *(check_identity(entry) if folder.results else ()),
        *_check_files(entry),
        *(_check_closed(entry) if entry.division == "closed" else ()),
    ]
    yield Report(folder.path, [waive(finding, entry.round, entry.folder) for finding in findings])


def _check_logs(entry: Entry) -> Iterator[Report]:
    for path, findings in entry.filing.findings.items():
        yield Report(path, list(findings))


def _softened(report: Report) -> Report:
    """A report whose errors are forgiven: the run is one of those that the olympic mean drops."""
    return Report(report.path, [replace(finding, severity="warning") for finding in report.findings])


def _contested(entry: Entry) -> Iterator[Finding]:
    """What the official tool of the round made of the result, and why not what its logs say."""
    if words := entry.filing.rules.contested.get(entry.folder):
        yield Finding("warning", "score.contested", words)


def _check_name(entry: Entry) -> Iterator[Finding]:
    folder = entry.filing.folder
    if folder.results and entry.filing.rules.task(folder.path.name) is None:
        words = f"{folder.path.name} is not a benchmark of {entry.round}, the logs are of {entry.benchmark}"
        yield Finding("error", "benchmark.folder", f"{words}: rename the folder")


def _check_runs(entry: Entry) -> Iterator[Finding]:
    count, needed = len(entry.runs), entry.runs_needed
    failed = count - len(entry.converged)
    if count < needed or (count > needed and entry.filing.folder.mode != "weak"):
        yield Finding("error", "runs.count", f"{count} logs, not {needed}")
    if count >= needed and entry.score.minutes is None:
        yield Finding("error", "runs.compliance", entry.reason)
    elif failed:
        words = (
            f"{failed} of {count} runs failed: accepted, as the olympic mean drops {len(entry.score.high)}"
        )
        yield Finding("warning", "runs.compliance", words)


def _check_batch_sizes(entry: Entry) -> Iterator[Finding]:
    numbers = [run.log.numbers for run in entry.runs]
    sizes = sorted({each["global_batch_size"] for each in numbers if "global_batch_size" in each})
    if len(sizes) > 1:
        words = f"the logs have different values: {', '.join(f'{size:g}' for size in sizes[:5])}"
        yield Finding("error", "global_batch_size.alike", words)


def _check_files(entry: Entry) -> Iterator[Finding]:
    folder = entry.filing.folder
    known = {path.name for path in folder.logs} | NO_RESULTS
    if entry.filing.rules.scaled:
        known.add(SCALING)
    others = sorted(each.name for each in folder.path.iterdir() if each.name not in known)
    if others:
        words = "1 file that is no log" if len(others) == 1 else f"{len(others)} files that are no logs"
        yield Finding("warning", "files.unknown", f"{words}: {some(others)}")


def _check_closed(entry: Entry) -> Iterable[Finding]:
    """Seeds, and the RCP test, which flags and never refuses: what only the closed division must pass."""
    organisation = entry.filing.folder.organisation
    code = _code(organisation, entry.benchmark) if organisation else None
    if has_rules(entry.round):
        yield from check_seeds([run.log for run in entry.runs if not run.log.unreadable], code)
    yield from _check_schedule(entry)
    for flag in entry.convergence:
        yield Finding("warning", "rcp", flag)


def _check_schedule(entry: Entry) -> Iterator[Finding]:
    off: dict[str, list[str]] = {}
    for run in entry.converged:
        size = run.log.numbers.get("global_batch_size")
        schedule = entry.task.evaluations.at(size) if entry.task.evaluations else None
        points = sorted({each.epoch for each in run.log.evaluations if each.epoch is not None})
        in_samples = entry.task.progress == "samples"
        if schedule is None or not points or (in_samples and points[-1] <= 1):  # 1: not in samples after all
            continue
        if not schedule.kept(points, slack=size if in_samples else 0):
            first = ", ".join(f"{point:g}" for point in points[:5])
            off.setdefault(f"{schedule}; it is evaluated at {first}", []).append(run.log.path.name)
    for words, names in off.items():
        logs = names[0] + (f" and {len(names) - 1} more" if names[1:] else "")
        yield Finding("warning", "eval_accuracy.schedule", f"{logs}: the rule is {words}")
