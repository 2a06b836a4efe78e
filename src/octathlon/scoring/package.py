"""The submission package of our own results, as v1.1 wants its tree: descriptions, logs, and the code.

    OUT/package.json                                      a receipt: the results, and all files with digests
    OUT/<org>/README.md
    OUT/<org>/systems/<system>.json
    OUT/<org>/results/<system>/<benchmark>/result_<n>.txt
    OUT/<org>/benchmarks/<benchmark>/implementations/octathlon/   all code, the configuration, how to run it

The package appears whole or not at all, and only after `octathlon check` found no error in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from octathlon import registry
from octathlon.errors import OctathlonError, unwritable
from octathlon.names import without_login
from octathlon.receipts import describe, leftovers, temporary_beside, write_json
from octathlon.scoring import readme
from octathlon.scoring.check import check_path
from octathlon.scoring.entries import Entry, score_paths
from octathlon.scoring.rules import OURS
from octathlon.scoring.text import clean
from octathlon.scoring.tree import Folder, is_file, is_folder

RECEIPT = "package.json"
PROJECT = (
    "Snakefile",
    "config.yaml",
    "pyproject.toml",
    "LICENSE",
    "envs",
    "profiles",
    "src",
    "workflow",
)
"""What of the project's folder is the code of a submission."""
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "*.egg-info")


def build_package(
    paths: Sequence[Path], out: Path, runs: Mapping[str, int], config: Mapping[str, Any] | None
) -> tuple[list[Entry], list[Entry]]:
    """Build the package of the results in `paths` as the folder `out`, in place of an earlier package there.

    Args:
        paths: one organisation's results: a tree, a part of one, or logs.
        runs: how many runs a result needs, where not as many as the round says; see `olympic.needed_runs`.
        config: the configuration that the results were made with; default: the project's config.yaml.

    Returns:
        The packaged results, and those that were left out because too many of their runs failed.

    Raises:
        OctathlonError: if the input is incomplete, or `octathlon check` finds an error in the package.
    """
    entries = _complete(paths, runs)
    scored = [entry for entry in entries if entry.score.minutes is not None]
    failed = [entry for entry in entries if entry.score.minutes is None]
    if not scored:
        raise OctathlonError(
            f"{failed[0].folder}: no valid result to package ({failed[0].reason}); train again"
        )
    _keep_inputs(paths, out)
    with _replaced(out.absolute()) as folder:
        for entry in scored:
            _add_result(entry, folder / entry.org)
        for benchmark in sorted({entry.benchmark for entry in scored}):
            mine = [entry for entry in scored if entry.benchmark == benchmark]
            _add_code(
                mine, folder / mine[0].org / "benchmarks" / benchmark / "implementations/octathlon", config
            )
        (folder / scored[0].org / "README.md").write_text(readme.of_organisation(scored), encoding="utf-8")
        _refuse_errors(folder, runs)
        write_json(folder / RECEIPT, _receipt(scored, folder))
    return scored, failed


def _complete(paths: Sequence[Path], runs: Mapping[str, int]) -> list[Entry]:
    """The results in `paths`, scored.

    Raises:
        OctathlonError: if something is missing that no package can do without.
    """
    entries, skipped = score_paths(paths, OURS, runs)
    if skipped:
        raise OctathlonError(f"{skipped[0].path}: {skipped[0].reason}; a package needs all of its files")
    if len(organisations := sorted({entry.org for entry in entries})) > 1:
        raise OctathlonError(f"results of {' and '.join(organisations)}: give those of one organisation")
    folders: dict[tuple[str, str], Path] = {}
    for entry in entries:
        folder = entry.filing.folder.path
        if (other := folders.setdefault((entry.system, entry.benchmark), folder)) != folder:
            raise OctathlonError(f"{other} and {folder}: the same result twice; give one of them")
        if missing := _missing(entry):
            raise OctathlonError(f"{entry.folder}: {missing}")
    return entries


def _missing(entry: Entry) -> str:
    """What a result lacks, and the remedy; empty if it is complete."""
    if entry.task is None or entry.benchmark not in registry.benchmarks():
        return f"{entry.benchmark} is no benchmark of this project, whose own results alone it packages"
    if len(entry.runs) < entry.runs_needed:
        return f"{len(entry.runs)} of {entry.runs_needed} runs; train the others, or choose --runs"
    if _organisation(entry) is None:
        return "not in a results tree; a package needs <org>/results/<system>/<benchmark> and <org>/systems"
    if not is_file(_description(entry)):
        return f"no systems/{entry.system}.json; write it with `octathlon system {entry.system}`"
    return ""


def _organisation(entry: Entry) -> Path | None:
    return Folder(entry.runs[0].log.path.parent).organisation


def _description(entry: Entry) -> Path:
    return _organisation(entry) / "systems" / f"{entry.system}.json"


def _keep_inputs(paths: Iterable[Path], out: Path) -> None:
    for path in paths:
        if is_folder(path) and out.resolve().is_relative_to(path.resolve()):
            raise OctathlonError(f"{out}: lies in the results {path}; choose a folder outside")


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """A new folder that becomes `out` when the block ends well, in place of an earlier package."""
    if out.exists() and not is_file(out / RECEIPT) and _holds_files(out):
        raise OctathlonError(f"{out}: there, and not a package; delete it or choose another folder")
    new, old = (temporary_beside(out, ending) for ending in ("new", "old"))
    for leftover in leftovers(out, "new|old"):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    except OSError as error:
        raise unwritable(out, error, new) or error from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _holds_files(out: Path) -> bool:
    """Whether there is more than folders, such as those that Snakemake makes for a file to come."""
    return not out.is_dir() or any(not path.is_dir() for path in out.rglob("*"))


def _add_result(entry: Entry, organisation: Path) -> None:
    """The description, and the runs that were scored: all, or the median window of more."""
    (organisation / "systems").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_description(entry), organisation / "systems" / f"{entry.system}.json")
    folder = organisation / "results" / entry.system / entry.benchmark
    folder.mkdir(parents=True)
    for index in (*entry.score.low, *entry.score.kept, *entry.score.high):
        log = entry.runs[index].log.path
        shutil.copyfile(log, folder / log.name)


def _add_code(entries: Sequence[Entry], folder: Path, config: Mapping[str, Any] | None) -> None:
    project = registry.ROOT.parents[1]
    folder.mkdir(parents=True)
    for path in (project / name for name in PROJECT):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=IGNORED)
        elif path.is_file():
            shutil.copyfile(path, folder / path.name)
    written = folder / "config.yaml"
    if config is None:
        text = written.read_text(encoding="utf-8")
    else:
        import yaml

        text = yaml.safe_dump(dict(config), sort_keys=False)
    written.write_text(without_login(text), encoding="utf-8")
    (folder / "README.md").write_text(readme.of_implementation(entries), encoding="utf-8")


def _refuse_errors(folder: Path, runs: Mapping[str, int]) -> None:
    for report in check_path(folder, runs, OURS):
        for finding in report.errors:
            place = report.path.relative_to(folder)
            raise OctathlonError(
                clean(f"{place}: {finding.rule}: {finding.words}; a package must keep the rules")
            )


def _receipt(entries: Sequence[Entry], folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": 1,
        "round": OURS,
        "results": {
            f"{entry.system}/{entry.benchmark}": {"minutes": entry.score.minutes, "runs": entry.runs_needed}
            for entry in entries
        },
        "files": {str(path.relative_to(folder)): describe(path) for path in files},
    }
