"""What `octathlon rehearse` measured, for the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.receipts import read_json
from octathlon.rehearsal.table import row
from octathlon.report.results import text


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The rehearsals on one kind of machine."""

    machine: str
    rows: list[Sequence[str]]
    """Cells as in `rehearsal.table.HEADER`."""
    problems: list[str]
    """Why others could not be rehearsed."""


def read_rehearsals(paths: Iterable[Path]) -> list[Rehearsal]:
    """Files of `octathlon rehearse --json`, those of the same machine together, in the order of the files.

    Raises:
        OctathlonError: if a file is not such a one.
    """
    found: dict[str, Rehearsal] = {}
    for path in paths:
        try:
            content = read_json(path)
            name = "{device}: {ranks} rehearsed for {accelerators}, PyTorch {torch}".format_map(
                content["machine"]
            )
            rehearsal = found.setdefault(name, Rehearsal(text(name), [], []))
            for benchmark, facts in content["benchmarks"].items():
                if "error" in facts:
                    rehearsal.problems.append(text(f"{benchmark}: {facts['error']}"))
                else:
                    rehearsal.rows.append([text(cell) for cell in row(benchmark, facts)])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OctathlonError(f"{path}: not of `octathlon rehearse` ({error}); rehearse again") from None
    return list(found.values())
