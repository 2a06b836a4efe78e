"""How logs are filed: in which folder of which system, so of which benchmark, division and round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from octathlon.scoring.checker import check_log, read_and_check
from octathlon.scoring.compliance import Filed, has_rules
from octathlon.scoring.descriptions import Description, division, read_description
from octathlon.scoring.findings import Finding
from octathlon.scoring.rules import Round, Task
from octathlon.scoring.runs import Log, map_logs, read_log
from octathlon.scoring.telling import Told
from octathlon.scoring.tree import Folder


@dataclass(frozen=True, slots=True)
class Filing:
    """One folder with what it and its logs say of themselves, before a run is judged."""

    folder: Folder
    logs: Sequence[Log]
    rules: Round
    description: Description
    division: str
    """The description's; where it says nothing, the logs'; closed where nothing is said."""
    task: Task | None
    """The benchmark that the folder is called by; else the logs'. None: not one of the round."""
    findings: Mapping[Path, Sequence[Finding]]
    """What the check of each log found."""
    guess: str = ""
    """On what grounds these are taken for the round's, where others are possible."""

    @property
    def filed(self) -> Filed:
        return Filed(self.folder.name, self.division, self.task.name if self.task else "")


def file_folder(folder: Folder, logs: Sequence[Log], rules: Round, guess: str = "") -> Filing:
    """What a folder is, by the rules of a round; its logs are not checked yet."""
    return _file(folder, read_description(folder), logs, rules, guess)


def _file(folder: Folder, description: Description, logs: Sequence[Log], rules: Round, guess: str) -> Filing:
    word = description.division or division(identity(logs, "division")) or "closed"
    task = rules.task(folder.path.name) or rules.task(identity(logs, "benchmark"))
    return Filing(folder, logs, rules, description, word, task, {}, guess)


def identity(logs: Iterable[Log], name: str) -> str:
    """What most logs say of a submission_* value."""
    values = Counter(log.identity[name] for log in logs if name in log.identity)
    return min(values, key=lambda value: (-values[value], value), default="")


def read_filed(
    folders: Sequence[Folder], told: Mapping[Path, Told], processes: int | None = None, *, check: bool = False
) -> list[Filing]:
    """Each folder with its logs, read once for scoring and for their check.

    Args:
        told: root of a tree -> its round.
        check: whether to check logs also where that does not decide a run.
    """
    filings = [
        file_folder(folder, [], told[folder.root].rules, told[folder.root].guess) for folder in folders
    ]
    jobs = {path: job for each in filings for job in [_job(each, check)] for path in each.folder.logs}
    read = map_logs(_read, list(jobs), *zip(*jobs.values(), strict=True), processes=processes)
    return [_with_logs(each, read, jobs) for each in filings]


def _job(filing: Filing, check: bool) -> tuple[str, Filed]:
    """By the rules of which round the logs are checked (empty: not), and where they seem to be filed."""
    rules = filing.rules
    checked = has_rules(rules.name) and (check or rules.check_decides)
    return rules.name if checked else "", filing.filed


def _read(path: Path, round_name: str, filed: Filed) -> tuple[Log, list[Finding]]:
    return read_and_check(path, round_name, filed) if round_name else (read_log(path), [])


def _with_logs(
    filing: Filing, read: Mapping[Path, tuple[Log, list[Finding]]], jobs: Mapping[Path, tuple[str, Filed]]
) -> Filing:
    """The logs may say what the folder and the description do not; those were checked for something else."""
    logs = [read[path][0] for path in filing.folder.logs]
    full = _file(filing.folder, filing.description, logs, filing.rules, filing.guess)
    findings, right = {}, full.filed
    for path in filing.folder.logs:
        round_name, filed = jobs[path]
        same = not round_name or filed == right
        findings[path] = read[path][1] if same else check_log(path, round_name, right)
    return replace(full, findings=findings)
