"""How logs are filed: in which folder of which system, so of which benchmark, division and round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from octathlon.scoring.compliance import Filed, check_log, has_rules
from octathlon.scoring.descriptions import Description, division, read_description
from octathlon.scoring.findings import Finding
from octathlon.scoring.rules import Round, Task, all_rounds
from octathlon.scoring.runs import Log, map_logs
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

    @property
    def filed(self) -> Filed:
        return Filed(self.folder.name, self.division, self.task.name if self.task else "")


def file_folder(folder: Folder, logs: Sequence[Log], rules: Round) -> Filing:
    """What a folder is, by the rules of a round; its logs are not checked yet."""
    description = read_description(folder)
    word = description.division or division(identity(logs, "division")) or "closed"
    task = rules.task(folder.path.name) or rules.task(identity(logs, "benchmark"))
    return Filing(folder, logs, rules, description, word, task, {})


def identity(logs: Iterable[Log], name: str) -> str:
    """What most logs say of a submission_* value."""
    values = Counter(log.identity[name] for log in logs if name in log.identity)
    return min(values, key=lambda value: (-values[value], value), default="")


def check_filed(filings: Sequence[Filing], processes: int | None = None) -> list[Filing]:
    """The same with what breaks the rules in their logs, where the round has rules for logs."""
    jobs = {
        log.path: (each.rules.name, each.filed)
        for each in filings
        if has_rules(each.rules.name)
        for log in each.logs
    }
    found = map_logs(check_log, list(jobs), *zip(*jobs.values(), strict=True), processes=processes)
    return [
        replace(each, findings={log.path: found.get(log.path, []) for log in each.logs}) for each in filings
    ]


def rounds_of(folders: Iterable[Folder], logs: Mapping[Path, Log]) -> dict[Path, Round]:
    """The round of each tree: that of most of its logs, by their format and date; without any, the newest."""
    votes: dict[Path, Counter[Round]] = {}
    for folder in folders:
        tree = votes.setdefault(folder.root, Counter())
        tree.update(found for path in folder.logs if (found := _round_of(logs[path])))
    newest = all_rounds()[-1]
    return {
        root: max(tree, key=lambda each: (tree[each], each.since)) if tree else newest
        for root, tree in votes.items()
    }


def _round_of(log: Log) -> Round | None:
    same_format = [each for each in all_rounds() if log.marker in each.markers]
    begun = [each for each in same_format if log.start_ms >= each.since]
    return (begun or same_format or [None])[-1] if log.starts else None
