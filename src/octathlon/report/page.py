"""The page: one HTML file with everything in it, drawn from `scores.json` with Jinja, no script and no link out.

Whatever comes from logs and descriptions is hostile text: `results` cleans it, the templates escape it, and the
page's own policy forbids scripts and requests. Equal input gives equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import octathlon.report
from octathlon.names import VERSION
from octathlon.receipts import file_digest, publish
from octathlon.rehearsal.table import HEADER
from octathlon.report import plots
from octathlon.report.beside import files_of
from octathlon.report.boards import board_of
from octathlon.report.matrix import matrix_of
from octathlon.report.plots import Series, panels, runs_of, strip
from octathlon.report.published import Published, nearest, published
from octathlon.report.rehearsals import read_rehearsals
from octathlon.report.results import Entry, Results, read_results
from octathlon.report.systems import read_systems
from octathlon.scoring.rules import OURS, Bounds, load_round

UNKNOWN = "–"
MOST_ROWS = 20
"""Results that are listed and drawn together; of more, a matrix comes first and the list is folded away."""
MOST_OPEN = 6
"""Systems whose quality panels are shown at once; those of more are folded away."""


def write_page(
    scores: Path, systems: Path | None, html: Path, scale: str | None = None, rehearsals: Sequence[Path] = ()
) -> None:
    """Draw the page.

    Args:
        scores: what `octathlon score --json` wrote.
        systems: the folder of the systems' descriptions.
        html: the page.
        scale: mini or full, which the scores do not say; None: not stated.
        rehearsals: what `octathlon rehearse --json` wrote.

    Raises:
        OctathlonError: if `scores` is not what it should be, or the page cannot be written.
    """
    results = read_results(scores)
    text = template("page.html").render(
        **_contents(results, systems, scale, scores.parent),
        rehearsals=read_rehearsals(rehearsals),
        rehearsed=HEADER,
        scale=scale,
        version=VERSION,
        digest=file_digest(scores),
        names=(scores.name, systems.name if systems else None, html.name),
    )
    with publish(html) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _contents(results: Results, systems: Path | None, scale: str | None, tree: Path) -> dict[str, Any]:
    """What the template shows; `tree` is where the logs may be, and games beside them."""
    results = Results(tuple(sorted(results.entries, key=_place)), results.skipped)
    entries = results.entries
    rounds = [load_round(each) for each in results.names("round")] or [load_round(OURS)]
    rows = {each.name: published(each.name, entries) for each in rounds}
    many = len(entries) > MOST_ROWS
    return {
        "entries": entries,
        "skipped": results.skipped,
        "rounds": rounds,
        "divisions": sorted(results.names("division")),
        "files": lambda entry, run: files_of(entry, run, tree),
        "runs": [run for entry in entries for run in entry.runs],
        "many_orgs": len(results.names("org")) > 1,
        "matrix": matrix_of(entries) if many and len(results.names("system")) > 1 else None,
        "overview": _overview(results) if len(entries) > 1 and not many else None,
        "events": [_event(each, results, tree) for each in results.names("benchmark")],
        "systems": read_systems(systems, results.names("system")),
        "published": [_published(name, found) for name, found in rows.items()],
        "nearest": lambda entry: nearest(rows[entry.round], entry) if scale == "full" else [],
    }


def _place(entry: Entry) -> tuple[int, float]:
    """Results stand in the order of the round's benchmarks, the best first."""
    order = list(load_round(entry.round).tasks)
    benchmark = order.index(entry.benchmark) if entry.benchmark in order else len(order)
    return benchmark, math.inf if entry.score is None else entry.score


def _overview(results: Results) -> plots.Strip:
    """All runs of all results on one axis."""
    one, many = len(results.names("system")) == 1, len(results.names("org")) > 1
    rows = [
        runs_of(entry, entry.benchmark if one else f"{entry.benchmark}, {name(entry, many)}")
        for entry in results.entries
    ]
    return strip("All runs of all results", rows)


def _event(benchmark: str, results: Results, tree: Path) -> dict[str, Any]:
    """One benchmark's section: its results with their panels, and all their runs on one axis."""
    entries = [entry for entry in results.entries if entry.benchmark == benchmark]
    many_orgs = len(results.names("org")) > 1
    return {
        "benchmark": benchmark,
        "entries": [(entry, panels(entry)) for entry in entries],
        "boards": [board for entry in entries if (board := board_of(entry, tree))],
        "strip": strip(f"Runs of {benchmark}", [runs_of(entry, name(entry, many_orgs)) for entry in entries]),
        "open": len(entries) <= MOST_OPEN,
    }


def _published(round_name: str, rows: Sequence[Published]) -> dict[str, Any]:
    series: list[Series] = [row.series() for row in rows]
    return {
        "round": round_name,
        "rows": rows,
        "count": sum(len(row.results) for row in rows),
        "orgs": len({result.org for row in rows for result in row.results}),
        "strip": strip(f"Published closed results of round {round_name}", series) if rows else None,
    }


def template(name: str) -> Any:
    """A page's template, with what all of them use."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(octathlon.report.__path__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= {
        "left": plots.LEFT,
        "right": plots.RIGHT,
        "top": plots.TOP,
        "bottom": plots.BOTTOM,
    }
    return environment.get_template(name)


def name(entry: Entry, with_org: bool) -> str:
    """A result's system, with its organisation where there are several."""
    return f"{entry.org} · {entry.system}" if with_org else entry.system


def minutes(value: float | None) -> str:
    """As the rounds publish them: three decimals."""
    return UNKNOWN if value is None else f"{value:,.3f}"


def count(value: float | None) -> str:
    """A number of things, e.g. epochs: whole where it is, else with at most three decimals."""
    return UNKNOWN if value is None else f"{value:,.3f}".rstrip("0").rstrip(".")


def samples(value: float) -> str:
    """A number of samples, in millions from a million on."""
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value:,.0f}"


def target(bounds: Mapping[str, Bounds]) -> list[str]:
    """A target as conditions, e.g. `accuracy ≥ 0.759`; all are to be met."""
    return [
        f"{metric} {'≥' if each.higher_is_better else '≤'} {each.threshold:g}"
        for metric, each in bounds.items()
    ]


def quality(values: Mapping[str, float]) -> str:
    """An evaluation, e.g. `0.7594`, or each metric with its name."""
    if len(values) < 2:
        return next((f"{value:.4f}" for value in values.values()), UNKNOWN)
    return ", ".join(f"{metric} {value:.4f}" for metric, value in values.items())


def reached(entry: Entry) -> list[str]:
    """The final qualities of the converged runs, from the least to the greatest, a line for each metric."""
    lines = []
    for metric in entry.metrics:
        values = [run.quality[metric] for run in entry.runs if run.converged and metric in run.quality]
        if values:
            ends = dict.fromkeys(f"{end:.4f}" for end in (min(values), max(values)))
            name = f"{metric} " if len(entry.metrics) > 1 else ""
            lines.append(name + "–".join(ends))
    return lines


def seed(value: float | None) -> str:
    """A seed: digits, not a quantity."""
    return UNKNOWN if value is None else f"{value:.0f}"


def words(names: Sequence[str]) -> str:
    """A list in words: a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


FILTERS = {
    each.__name__: each for each in (name, minutes, count, samples, target, quality, reached, seed, words)
}
