"""Many results at a glance: a row for each system and division, a column for each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octathlon.report.results import Entry


@dataclass(frozen=True, slots=True)
class Row:
    """What one system filed in one division of a round."""

    first: Entry
    """Says which system, division and round these are."""
    cells: tuple[Entry | None, ...]
    """In the order of the matrix's benchmarks; None: nothing filed."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The results of systems on benchmarks."""

    benchmarks: tuple[str, ...]
    rows: tuple[Row, ...]
    """In order of round, organisation, system and division."""


def matrix_of(entries: Sequence[Entry]) -> Matrix:
    """All results; of several of one system on one benchmark, the first."""
    benchmarks = tuple(dict.fromkeys(entry.benchmark for entry in entries))
    filed: dict[tuple[str, ...], dict[str, Entry]] = {}
    for entry in entries:
        place = entry.round, entry.org.casefold(), entry.system, entry.division
        filed.setdefault(place, {}).setdefault(entry.benchmark, entry)
    rows = (
        Row(next(iter(found.values())), tuple(map(found.get, benchmarks)))
        for _, found in sorted(filed.items(), key=lambda each: each[0])
    )
    return Matrix(benchmarks, tuple(rows))
