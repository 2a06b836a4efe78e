"""Results of rounds: those that come with Octathlon, and those of trees and tables."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data
from octathlon.scoring.rules import Round, load_round, round_names


@dataclass(frozen=True, slots=True)
class Result:
    """One scored or unscored entry, as a CSV of `octathlon score` has it."""

    round: str
    org: str
    """By the name that all its results have here; see `organisation`."""
    system: str
    division: str
    benchmark: str
    accelerator: str
    accelerators: int
    """0: none, or not known."""
    minutes: float
    """NaN: no valid result."""
    rate: float
    """Samples per second and accelerator; NaN: not known."""
    folder: str
    """Path in the tree."""

    @property
    def accelerator_minutes(self) -> float:
        """Minutes times accelerators; NaN where there were none or their number is not known."""
        return self.minutes * self.accelerators if self.accelerators else math.nan

    @property
    def rules(self) -> Round:
        return load_round(self.round)

    @property
    def timed(self) -> bool:
        """Whether there is a time to compare: weak scaling is about many models at once."""
        return not math.isnan(self.minutes) and not self.benchmark.endswith(":weak")


Best = Mapping[tuple[str, str], Mapping[str, Result]]
"""(benchmark, division) -> round -> its best result."""


def published_files() -> list[Path]:
    """The published results that come with the package, oldest round first."""
    paths = (rule_data.ROUNDS / f"published_{name}.csv" for name in round_names())
    return [path for path in paths if path.is_file()]


def published() -> list[Result]:
    """The published results that come with the package."""
    return [result for path in published_files() for result in load(path)[0]]


def load(path: Path, round_name: str | None = None) -> tuple[list[Result], list[str]]:
    """The results of a tree, or of a CSV file that `octathlon score` wrote, and what is to be said of them.

    Args:
        path: the tree, a folder of trees, or the file.
        round_name: whose rules hold for trees; default: told from the logs, for each tree.

    Raises:
        OctathlonError: if the file is not such a CSV, or there is nothing to score.
    """
    if path.suffix == ".csv":
        try:
            return _of_table(path.read_text(encoding="utf-8"))
        except (OSError, KeyError, ValueError) as error:
            raise OctathlonError(f"{path}: not a CSV of `octathlon score` ({error}); write it anew") from None
    from octathlon.scoring.entries import score_paths
    from octathlon.scoring.tables import to_csv

    entries, _ = score_paths([path], round_name)
    results, notes = _of_table(to_csv(entries))
    guesses = {
        f"{entry.filing.folder.root}: taken for {entry.round}: {entry.filing.guess}"
        for entry in entries
        if entry.round and entry.filing.guess
    }
    return results, sorted(guesses) + notes


def _of_table(text: str) -> tuple[list[Result], list[str]]:
    rows = list(csv.DictReader(text.splitlines()))
    lost = [f"{row['folder']}: left out: {row['reason']}" for row in rows if not row["round"]]
    return [_of_row(row) for row in rows if row["round"]], lost


def _of_row(row: Mapping[str, str]) -> Result:
    return Result(
        round=row["round"],
        org=organisation(row["org"]),
        system=row["system"],
        division=row["division"],
        benchmark=row["benchmark"],
        accelerator=row["accelerator"],
        accelerators=int(row["accelerators"] or 0),
        minutes=float(row["score_minutes"] or "nan"),
        rate=float(row.get("samples_per_second_and_accelerator") or "nan"),
        folder=row["folder"],
    )


def merged(results: Iterable[Result]) -> list[Result]:
    """Of several results of one folder of a round, the last."""
    return list({(result.round, result.folder): result for result in results}.values())


def parts(results: Iterable[Result]) -> frozenset[str]:
    """The rounds of which fewer than half of the entries are among `results`: their best says nothing."""
    here = Counter(result.round for result in results)
    return frozenset(name for name, count in here.items() if count * 2 < entries_filed().get(name, 0))


def entries_filed() -> Mapping[str, int]:
    """Round -> how many entries were published, where that is known: `rounds/entries.yaml`."""
    return rule_data.load("entries")


def organisation(name: str) -> str:
    """The one name of an organisation that filed under several: `rounds/organisations.yaml`."""
    return _organisations().get(name.casefold(), name)


@cache
def _organisations() -> Mapping[str, str]:
    known = rule_data.load("organisations")
    return {each.casefold(): name for name, others in known.items() for each in (name, *others)}


def best_results(results: Iterable[Result], cost: str = "minutes") -> Best:
    """The least `cost` (a Result's attribute) of each benchmark and division in each round."""
    best: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        if not result.timed or math.isnan(getattr(result, cost)):
            continue
        rounds = best.setdefault((result.benchmark, result.division), {})
        held = rounds.setdefault(result.round, result)
        if getattr(result, cost) < getattr(held, cost):
            rounds[result.round] = result
    return {key: best[key] for key in sorted(best)}
