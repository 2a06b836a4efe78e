"""Rounds side by side: best results, speed-up from round to round, per accelerator, and against Moore's
law."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from octathlon.errors import OctathlonError
from octathlon.scoring import rule_data
from octathlon.scoring.rules import Round, Task, load_round, round_names
from octathlon.scoring.text import markdown_table

DOUBLING_MONTHS = 24
"""Moore's law as it is usually quoted: twice the transistors in two years."""
DAYS_A_MONTH = 365.25 / 12


@dataclass(frozen=True, slots=True)
class Result:
    """One scored or unscored entry, as a CSV of `octathlon score` has it."""

    round: str
    org: str
    system: str
    division: str
    benchmark: str
    accelerators: int
    """0: none, or not known."""
    minutes: float
    """NaN: no valid result."""

    @property
    def accelerator_minutes(self) -> float:
        """Minutes times accelerators; NaN where there were none or their number is not known."""
        return self.minutes * self.accelerators if self.accelerators else math.nan


Best = Mapping[tuple[str, str], Mapping[str, Result]]
"""(benchmark, division) -> round -> its best result."""


def published_files() -> list[Path]:
    """The published results that come with the package, oldest round first."""
    paths = (rule_data.ROUNDS / f"published_{name}.csv" for name in round_names())
    return [path for path in paths if path.is_file()]


def load(path: Path) -> list[Result]:
    """The results of a tree, or of a CSV file that `octathlon score` wrote.

    Raises:
        OctathlonError: if the file is not such a CSV, or there is nothing to score.
    """
    if path.suffix == ".csv":
        try:
            return [_from_row(row) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        except (OSError, KeyError, ValueError) as error:
            raise OctathlonError(f"{path}: not a CSV of `octathlon score` ({error}); write it anew") from None
    from octathlon.scoring.entries import score_paths
    from octathlon.scoring.tables import to_csv

    return [_from_row(row) for row in csv.DictReader(to_csv(score_paths([path])[0]).splitlines())]


def _from_row(row: Mapping[str, str]) -> Result:
    return Result(
        round=row["round"],
        org=row["org"],
        system=row["system"],
        division=row["division"],
        benchmark=row["benchmark"],
        accelerators=int(row["accelerators"] or 0),
        minutes=float(row["score_minutes"] or "nan"),
    )


def best_results(results: Iterable[Result], cost: str = "minutes") -> Best:
    """The least `cost` (a Result's attribute) of each benchmark and division in each round."""
    best: dict[tuple[str, str], dict[str, Result]] = {}
    for result in results:
        if math.isnan(getattr(result, cost)):
            continue
        rounds = best.setdefault((result.benchmark, result.division), {})
        held = rounds.setdefault(result.round, result)
        if getattr(result, cost) < getattr(held, cost):
            rounds[result.round] = result
    return {key: best[key] for key in sorted(best)}


def comparison(results: Sequence[Result]) -> str:
    """The whole comparison as Markdown.

    Raises:
        OctathlonError: if a result's round has no rules here.
    """
    from octathlon.scoring.claims import claims_table

    rounds = sorted({load_round(result.round) for result in results}, key=lambda each: each.since)
    best, cheapest = best_results(results), best_results(results, "accelerator_minutes")
    sections = [
        ("Best results: minutes (organisation, accelerators); unofficial", _best_table(best, rounds)),
        ("Speed-up from round to round", _speedup_table(best, rounds, "minutes")),
        (
            "Speed-up per accelerator (accelerator minutes)",
            _speedup_table(cheapest, rounds, "accelerator_minutes"),
        ),
    ]
    sections += [(f"What was announced of {each.name}", claims_table(results, each)) for each in rounds]
    return "\n".join(f"## {title}\n\n{table}" for title, table in sections if table)


def _best_table(best: Best, rounds: Sequence[Round]) -> str:
    rows = [
        [benchmark, division, *(_shown(by_round.get(each.name)) for each in rounds)]
        for (benchmark, division), by_round in best.items()
    ]
    return markdown_table(["benchmark", "division", *(each.name for each in rounds)], rows)


def _shown(result: Result | None) -> str:
    return f"{result.minutes:.3f} ({result.org}, {result.accelerators})" if result else ""


def _speedup_table(best: Best, rounds: Sequence[Round], cost: str) -> str:
    """One column for each two consecutive rounds and one from the first to the last; Moore's law in the last
    row."""
    spans = list(pairwise(rounds))
    if len(spans) > 1:
        spans.append((rounds[0], rounds[-1]))
    rows = [
        [benchmark, division, *(_ratio(by_round, benchmark, old, new, cost) for old, new in spans)]
        for (benchmark, division), by_round in best.items()
    ]
    rows = [row for row in rows if any(row[2:])]
    if not rows:
        return ""
    rows.append(["Moore's law", "", *(f"{moore(old, new):.2f}" for old, new in spans)])
    return (
        markdown_table(["benchmark", "division", *(f"{old.name} to {new.name}" for old, new in spans)], rows)
        + _NOTE
    )


_NOTE = "\n\\* The target changed between the rounds.\n"


def _ratio(by_round: Mapping[str, Result], benchmark: str, old: Round, new: Round, cost: str) -> str:
    if old.name not in by_round or new.name not in by_round:
        return ""
    ratio = getattr(by_round[old.name], cost) / getattr(by_round[new.name], cost)
    same = same_target(benchmark, old, new) or by_round[new.name].division != "closed"
    return f"{ratio:.2f}" + ("" if same else " \\*")


def same_target(benchmark: str, old: Round, new: Round) -> bool:
    """Whether two rounds train a benchmark to the same target (BLEU stands in percent or as a fraction)."""
    before, after = old.task(benchmark), new.task(benchmark)
    return before is not None and after is not None and _thresholds(before) == _thresholds(after)


def _thresholds(task: Task) -> list[float]:
    return [
        bound / 100 if bound > 1 else bound for bound in (each.threshold for each in task.target.values())
    ]


def moore(old: Round, new: Round) -> float:
    """The growth that Moore's law expects between the publications of two rounds."""
    months = (new.published - old.published).days / DAYS_A_MONTH
    return 2 ** (months / DOUBLING_MONTHS)
