"""What a check has to say: findings, and reports that gather those of a file or folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from octathlon.scoring.text import clean

if TYPE_CHECKING:
    from rich.table import Table

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule."""

    severity: Severity
    rule: str
    """Key and aspect, e.g. `eval_samples.value`."""
    words: str
    line: int | None = None
    """The first line that breaks it; None where something is missing, or there are no lines."""
    waived: str = ""
    """The check of the round's `waived` that it falls under: a warning that would be an error."""


@dataclass(frozen=True, slots=True)
class Report:
    """The findings about a log, a system description, a benchmark folder or an organisation."""

    path: Path
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]


@dataclass(slots=True)
class Group:
    """The same finding about several things in one folder: logs of a result mostly break a rule together."""

    rule: str
    words: str
    first: str
    """The first place, as path:line."""
    count: int = 0

    @property
    def place(self) -> str:
        return self.first if self.count == 1 else f"{self.first} and {self.count - 1} more"


def grouped(reports: Iterable[Report], severity: Severity) -> list[Group]:
    """The findings of one severity, those that are alike together."""
    groups: dict[tuple[Path, str, str], Group] = {}
    for report in reports:
        for finding in report.findings:
            if finding.severity == severity:
                place = f"{report.path}:{finding.line}" if finding.line else str(report.path)
                new = Group(finding.rule, clean(finding.words), clean(place))
                groups.setdefault((report.path.parent, finding.rule, finding.words), new).count += 1
    return list(groups.values())


def to_json(reports: Iterable[Report]) -> dict[str, Any]:
    """Everything that was checked, with its findings."""
    return {
        "format": 1,
        "reports": [
            {"path": clean(str(report.path)), "findings": [_plain(finding) for finding in report.findings]}
            for report in reports
        ],
    }


def _plain(finding: Finding) -> dict[str, Any]:
    return asdict(finding) | {"words": clean(finding.words)}


def to_rich(severity: Severity, groups: Iterable[Group]) -> Table:
    """The table on a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{severity}s", title_justify="left", title_style="bold")
    for name in ("rule", "words", "where"):
        table.add_column(name, overflow="fold")
    for group in groups:
        table.add_row(*map(Text, (group.rule, group.words, group.place)))
    return table
