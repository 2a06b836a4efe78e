"""Rounds side by side: best results, of all and of each organisation, speed-up, and what was announced."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from octathlon.scoring.claims import claims_table
from octathlon.scoring.history import Line, Point, lines, moore
from octathlon.scoring.results import Result, best_results, entries_filed
from octathlon.scoring.rules import Round
from octathlon.scoring.text import Table, clean, spreadsheet_cell

COLUMNS = (
    *("benchmark", "division", "round", "published", "org", "system", "accelerator", "accelerators"),
    *("score_minutes", "accelerator_minutes", "accelerator_minutes_org", "accelerator_minutes_system"),
    *("speedup_since", "speedup", "moore", "accelerator_speedup", "not_comparable"),
)
"""Of the CSV: the best result of a benchmark in a round; then the one of the fewest accelerator minutes; in the
closed division, how much faster than in the first round with the same task, and why earlier ones had another."""


def rounds_of(results: Iterable[Result]) -> list[Round]:
    """The rounds of results, those of Training first, the oldest of each series first.

    Raises:
        OctathlonError: if a result's round has no rules here.
    """
    known = {result.rules for result in results}
    return sorted(known, key=lambda each: (each.series == "hpc", each.since))


def comparison(results: Sequence[Result], parts: Collection[str] = ()) -> list[Table]:
    """The whole comparison; see `lines` for the arguments.

    Raises:
        OctathlonError: if a result's round has no rules here.
    """
    rounds = rounds_of(results)
    tables = [entries_table(results, rounds)]
    for series, title in (("training", ""), ("hpc", "MLPerf HPC: ")):
        of_it = [each for each in rounds if each.series == series]
        names = {each.name for each in of_it}
        chosen = [result for result in results if result.round in names]
        tables += [replace(each, title=title + each.title) for each in _tables(chosen, of_it, parts)]
    tables += [claims_table(results, each) for each in rounds]
    return [replace(each, rows=[clean(list(row)) for row in each.rows]) for each in tables if each.rows]


def entries_table(results: Iterable[Result], rounds: Sequence[Round]) -> Table:
    """How many entries of each round there are here, and in the round."""
    here, filed = Counter(result.round for result in results), entries_filed()
    rows = [
        [each.name, str(each.published), str(here[each.name]), str(filed.get(each.name, ""))]
        for each in rounds
    ]
    numbers = ["entries here", "entries published"]
    return Table("Entries at hand", ["round", "published", *numbers], rows, numbers)


def _tables(results: Sequence[Result], rounds: Sequence[Round], parts: Collection[str]) -> list[Table]:
    history = lines(results, parts)
    return [
        _best_table("Best results: minutes", results, rounds, "minutes"),
        _best_table("Least accelerator minutes", results, rounds, "accelerator_minutes"),
        _steps_table("Speed-up from round to round, closed division", history, rounds, Point.speedup),
        _steps_table("The same per accelerator", history, rounds, Point.cheapening),
        _since_table(history),
        _breaks_table(history),
        _organisations_table(results, rounds),
    ]


def _best_table(title: str, results: Sequence[Result], rounds: Sequence[Round], cost: str) -> Table:
    rows = [
        [benchmark, division, *(_shown(by_round.get(each.name), cost) for each in rounds)]
        for (benchmark, division), by_round in best_results(results, cost).items()
    ]
    header = ["benchmark", "division", *(each.name for each in rounds)]
    return Table(f"{title} (organisation, accelerators); unofficial", header, rows)


def _shown(result: Result | None, cost: str) -> str:
    return f"{getattr(result, cost):.3f} ({result.org}, {result.accelerators})" if result else ""


def _steps_table(
    title: str,
    history: Sequence[Line],
    rounds: Sequence[Round],
    ratio: Callable[[Point, Point], float | None],
) -> Table:
    """One column for each two consecutive rounds; Moore's law in the last row."""
    spans = list(pairwise(rounds))
    rows = []
    for line in history:
        steps = {
            (old.rules, new.rules): ratio(new, old)
            for stretch in line.stretches
            for old, new in pairwise(stretch.whole)
        }
        if any(steps.get(span) for span in spans):
            rows.append([line.benchmark, *(_number(steps.get(span)) for span in spans)])
    if rows:
        rows.append(["Moore's law", *(_number(moore(*span)) for span in spans)])
    header = ["benchmark", *(f"{old.name} to {new.name}" for old, new in spans)]
    return Table(title, header, rows, header[1:])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _since_table(history: Sequence[Line]) -> Table:
    rows = [
        [
            *(line.benchmark, first.rules.name, last.rules.name),
            *(f"{point.best.minutes:.3f}" for point in (first, last)),
            *(_number(last.speedup(first)), _number(moore(first.rules, last.rules))),
            _number(last.cheapening(first)),
        ]
        for line in history
        for first, last in ((each.whole[0], each.whole[-1]) for each in line.stretches if each.whole[1:])
    ]
    numbers = ["minutes then", "minutes now", "times faster", "Moore's law", "per accelerator"]
    header = ["benchmark", "since", "until", *numbers]
    return Table("Speed-up since the first round with the same task", header, rows, numbers)


def _breaks_table(history: Sequence[Line]) -> Table:
    rows = [
        [line.benchmark, stretch.points[0].rules.name, stretch.why]
        for line in history
        for stretch in line.stretches
        if stretch.why
    ]
    return Table("Where results cannot be compared with earlier ones", ["benchmark", "from", "why"], rows)


def _organisations_table(results: Sequence[Result], rounds: Sequence[Round]) -> Table:
    rows = []
    for org in sorted({result.org for result in results}, key=str.casefold):
        best = best_results(result for result in results if result.org == org)
        for (benchmark, division), by_round in best.items():
            found = [by_round.get(each.name) for each in rounds]
            cells = [f"{each.minutes:.3f} ({each.accelerators})" if each else "" for each in found]
            rows.append([org, benchmark, division, *cells])
    header = ["organisation", "benchmark", "division", *(each.name for each in rounds)]
    return Table("Best results of each organisation: minutes (accelerators)", header, rows)


def to_csv(results: Sequence[Result], parts: Collection[str] = ()) -> str:
    """The best result of each benchmark and division in each round, with the columns of COLUMNS; see `lines` for
    the arguments."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    order = [each.name for each in rounds_of(results)]
    cheapest = best_results(results, "accelerator_minutes")
    since = _since(lines(results, parts))
    for (benchmark, division), by_round in best_results(results).items():
        for name in sorted(by_round, key=order.index):
            best, least = by_round[name], cheapest.get((benchmark, division), {}).get(name)
            own = (benchmark, division, name, best.rules.published, best.org, best.system, best.accelerator)
            per = (least.accelerator_minutes, least.org, least.system) if least else ("", "", "")
            closed = since[benchmark, name] if division == "closed" else ()
            row = clean([*own, best.accelerators or "", best.minutes, *per, *closed])
            writer.writerow(map(spreadsheet_cell, row))
    return text.getvalue()


def _since(history: Iterable[Line]) -> dict[tuple[str, str], list[str | float | None]]:
    """(benchmark, round) -> the last five columns."""
    cells = {}
    for stretch in (stretch for line in history for stretch in line.stretches):
        for point in stretch.points:
            first = stretch.whole[0] if point.whole else None
            ratios = (
                [
                    *(first.rules.name, point.speedup(first), moore(first.rules, point.rules)),
                    point.cheapening(first),
                ]
                if first
                else [None] * 4
            )
            why = stretch.why if point is stretch.points[0] else None
            cells[point.best.benchmark, point.rules.name] = [*ratios, why]
    return cells
