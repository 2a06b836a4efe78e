"""The page of all rounds: one HTML file with the history as plots and a table of all entries.

It is drawn as the report is (`page`), and works without scripts and offline. The scripts that sort and filter the
table are the package's own files, which the page's policy names by their hashes: no text of a result can be one.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from octathlon.receipts import publish
from octathlon.report import page
from octathlon.report.axes import Axis, elapsed_axis, time_axis
from octathlon.report.plots import LEFT, LONGEST_LABEL, RIGHT, Tick
from octathlon.scoring.compare import rounds_of
from octathlon.scoring.history import DOUBLING_MONTHS, Line, Point, Stretch, lines
from octathlon.scoring.results import Result
from octathlon.scoring.text import Table, clean

TOP = 44
"""Where a chart's plot begins, below the two lines that say what a point is."""
DAYS_A_YEAR = 365.25
MARGIN_DAYS = 60
"""Empty part of an axis of dates before the first round and after the last one."""
COLOURS = 8
"""That page.css has for lines; more benchmarks have them again, dashed."""
SCRIPTS = ("datatables.min.js", "history.js")


@dataclass(frozen=True, slots=True)
class Spot:
    """The best of one round, which says who it is when the pointer is on it."""

    x: float
    y: float
    whole: bool
    words: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Curve:
    """A benchmark, as long as its task is the same."""

    label: str
    colour: int
    points: str
    """As SVG's `polyline` takes them, in percent of the plotted area: of the rounds that are at hand as a whole."""
    spots: tuple[Spot, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves on a logarithmic axis."""

    title: str
    curves: tuple[Curve, ...]
    moore: str
    """The points of Moore's law; empty: not drawn."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    y_label: str
    bottom: int
    """Where the plot ends."""
    notes: tuple[str, ...] = ()


def write_history(
    results: Sequence[Result], tables: Sequence[Table], html: Path, parts: Collection[str] = ()
) -> None:
    """Draw the page.

    Args:
        results: all entries of all rounds.
        tables: what `compare.comparison` makes of them.
        html: the page.
        parts: the rounds of which `results` hold only a small part.

    Raises:
        OctathlonError: if the page cannot be written.
    """
    history = lines(results, parts)
    scripts = [Path(__file__).with_name(name).read_text(encoding="utf-8") for name in SCRIPTS]
    text = page.template("history.html").render(
        rounds=rounds_of(results),
        parts=parts,
        entries=sorted(results, key=_place),
        charts=_speedup_charts(history),
        cards=_cards(history),
        tables=tables,
        scripts=scripts,
        hashes=[_hash(script) for script in scripts],
        colours=COLOURS,
        version=version("octathlon"),
        clean=clean,
        known=_known,
        rate=_rate,
        chart_top=TOP,
        doubling=DOUBLING_MONTHS,
    )
    with publish(html) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _known(value: float) -> bool:
    return not math.isnan(value)


def _rate(value: float) -> str:
    """Samples per second, with four digits or more."""
    if math.isnan(value):
        return page.UNKNOWN
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _hash(script: str) -> str:
    """As a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _place(result: Result) -> tuple[Any, ...]:
    """The newest round first, then by benchmark and minutes."""
    return (
        -result.rules.since,
        result.benchmark,
        result.division,
        not result.timed,
        result.minutes,
        result.folder,
    )


def _speedup_charts(history: Sequence[Line]) -> list[Chart]:
    """How many times faster than in the first round with the same task, of all accelerators and of one."""
    return [
        _speedups("Times faster", history, [_factors(line, Point.speedup) for line in history]),
        _speedups(
            "Times fewer accelerator minutes", history, [_factors(line, Point.cheapening) for line in history]
        ),
    ]


Factors = list[tuple[float, float, Point]]
"""(years since the first round, times better, the round's best) of one stretch."""
Ratio = Callable[[Point, Point], float | None]


def _factors(line: Line, ratio: Ratio) -> list[Factors]:
    """Of the stretches of which two rounds or more are at hand as a whole."""
    return [
        [
            (_years(stretch, point), factor, point)
            for point in stretch.whole
            if (factor := ratio(point, stretch.whole[0])) is not None
        ]
        for stretch in line.stretches
        if stretch.whole[1:] and ratio(stretch.whole[0], stretch.whole[0]) is not None
    ]


def _years(stretch: Stretch, point: Point) -> float:
    return (point.rules.published - stretch.whole[0].rules.published).days / DAYS_A_YEAR


def _speedups(title: str, history: Sequence[Line], factors: Sequence[Sequence[Factors]]) -> Chart:
    bottom = 330
    every = [each for line in factors for stretch in line for each in stretch]
    across, up = (
        elapsed_axis([years for years, _, _ in every]),
        time_axis([1.0, *(factor for _, factor, _ in every)]),
    )
    growth = 2 ** (across.high * 12 / DOUBLING_MONTHS)
    curves = []
    for colour, (line, stretches) in enumerate(zip(history, factors, strict=True)):
        for stretch in stretches:
            first = stretch[0][2].rules.name
            spots = [
                _spot(
                    line, point, across.place(years), up.place(factor), bottom, f"{factor:,.2f} times {first}"
                )
                for years, factor, point in stretch
            ]
            curves.append(_curve(line.benchmark, colour, spots, bottom))
    return Chart(
        title=title,
        curves=tuple(curves),
        moore=_polyline([(0, up.place(1)), (1, up.place(growth))]) if every else "",
        x_ticks=_ticks(across, _x),
        y_ticks=_ticks(up, lambda share: _y(share, bottom)),
        x_label="years since the first round with the same task",
        y_label="times, logarithmic",
        bottom=bottom,
    )


def _cards(history: Sequence[Line]) -> list[Chart]:
    """The best minutes of each benchmark against the rounds' dates, all on one axis of dates."""
    days = [
        point.rules.published for line in history for stretch in line.stretches for point in stretch.points
    ]
    begin, end = (
        (min(days).toordinal() - MARGIN_DAYS, max(days).toordinal() + MARGIN_DAYS) if days else (0, 1)
    )
    return [_card(line, colour, begin, end) for colour, line in enumerate(history)]


def _card(line: Line, colour: int, begin: int, end: int) -> Chart:
    bottom = 190
    up = time_axis([point.best.minutes for stretch in line.stretches for point in stretch.points])
    curves = []
    for stretch in line.stretches:
        spots = [
            _spot(
                line, point, _share(point.rules.published, begin, end), up.place(point.best.minutes), bottom
            )
            for point in stretch.points
        ]
        curves.append(_curve(line.benchmark, colour, spots, bottom))
    years = [
        year
        for year in range(2019, date.fromordinal(end).year + 1, 2)
        if date(year, 1, 1).toordinal() > begin
    ]
    return Chart(
        title=line.benchmark,
        curves=tuple(curves),
        moore="",
        x_ticks=tuple(Tick(_x(_share(date(year, 1, 1), begin, end)), str(year)) for year in years),
        y_ticks=_ticks(up, lambda share: _y(share, bottom)),
        x_label="",
        y_label="minutes, logarithmic",
        bottom=bottom,
        notes=tuple(f"{each.points[0].rules.name}: {each.why}" for each in line.stretches if each.why),
    )


def _share(day: date, begin: int, end: int) -> float:
    return (day.toordinal() - begin) / (end - begin)


def _spot(line: Line, point: Point, across: float, up: float, bottom: int, factor: str = "") -> Spot:
    best = point.best
    system = clean(best.system)
    system = system if len(system) <= LONGEST_LABEL else system[: LONGEST_LABEL - 1] + "…"
    number = f", {best.accelerators:,} × {clean(best.accelerator)}" if best.accelerators else ""
    first = ", ".join(
        filter(None, (f"{point.rules.name} {line.benchmark}", f"{best.minutes:,.3f} min", factor))
    )
    return Spot(_x(across), _y(up, bottom), point.whole, (first, f"{clean(best.org)} {system}{number}"))


def _curve(label: str, colour: int, spots: Sequence[Spot], bottom: int) -> Curve:
    """Through the spots of whole rounds."""
    shares = [
        ((spot.x - LEFT) / (RIGHT - LEFT), (bottom - spot.y) / (bottom - TOP)) for spot in spots if spot.whole
    ]
    return Curve(label, colour, _polyline(shares), tuple(spots))


def _polyline(shares: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{100 * x:.2f},{100 - 100 * y:.2f}" for x, y in shares)


def _ticks(axis: Axis, place: Callable[[float], float]) -> tuple[Tick, ...]:
    return tuple(
        Tick(place(axis.place(at)), label) for at, label in zip(axis.ticks, axis.labels(), strict=True)
    )


def _x(share: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * share, 2)


def _y(share: float, bottom: int) -> float:
    return round(bottom - (bottom - TOP) * share, 1)
