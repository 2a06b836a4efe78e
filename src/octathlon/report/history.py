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
from pathlib import Path
from typing import Any

from octathlon.names import VERSION
from octathlon.receipts import publish
from octathlon.report import page
from octathlon.report.axes import Axis, elapsed_axis, time_axis
from octathlon.report.plots import LEFT, LONGEST_LABEL, RIGHT, Tick
from octathlon.scoring.compare import rounds_of
from octathlon.scoring.history import DOUBLING_MONTHS, Line, Point, Stretch, lines
from octathlon.scoring.results import Result
from octathlon.scoring.text import Table, clean

TOP = 62
"""Where a chart's plot begins, below the three lines that say what a point is."""
TALL, LOW = 350, 200
"""Where it ends."""
DAYS_A_YEAR = 365.25
MARGIN_DAYS = 60
"""Empty part of an axis of dates before the first round and after the last one."""
COLOURS = 8
"""That history.css has for lines; more benchmarks have them again, dashed."""
SCRIPTS = ("datatables.min.js", "history.js")


@dataclass(frozen=True, slots=True)
class Mark:
    """What a spot shows: a round's best result, and where it stands on the axes."""

    result: Result
    whole: bool
    """Whether the round is at hand, and not only a part."""
    across: float
    value: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Spot:
    """A mark in its place, which says what it is when the pointer is on it."""

    x: float
    y: float
    whole: bool
    words: tuple[str, ...]
    """Three lines."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A benchmark, as long as its task is the same."""

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
        version=VERSION,
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
    """How many times better than in the first round with the same task: in time, and in accelerators' time."""
    return [
        _speedups("Times faster", history, Point.speedup, lambda point: point.best),
        _speedups("Times fewer accelerator minutes", history, Point.cheapening, lambda point: point.cheapest),
    ]


def _speedups(
    title: str,
    history: Sequence[Line],
    ratio: Callable[[Point, Point], float | None],
    choose: Callable[[Point], Result | None],
) -> Chart:
    marks = [
        (colour, line.benchmark, _factors(stretch, ratio, choose))
        for colour, line in enumerate(history)
        for stretch in line.stretches
        if stretch.whole[1:]
    ]
    every = [mark for _, _, of_it in marks for mark in of_it]
    across = elapsed_axis([mark.across for mark in every])
    up = time_axis([1.0, *(mark.value for mark in every)])
    return Chart(
        title=title,
        curves=tuple(
            _curve(name, colour, of_it, across.place, up, TALL) for colour, name, of_it in marks if of_it
        ),
        moore=_moore(across, up) if every else "",
        x_ticks=_ticks(across, _x),
        y_ticks=_ticks(up, lambda share: _y(share, TALL)),
        x_label="years since the first round with the same task",
        y_label="times, logarithmic",
        bottom=TALL,
    )


def _factors(
    stretch: Stretch,
    ratio: Callable[[Point, Point], float | None],
    choose: Callable[[Point], Result | None],
) -> list[Mark]:
    first = stretch.whole[0]
    return [
        Mark(choose(point), True, _years(first, point), factor, f"{factor:,.2f} times {first.rules.name}")
        for point in stretch.whole
        if (factor := ratio(point, first)) is not None
    ]


def _years(first: Point, point: Point) -> float:
    return (point.rules.published - first.rules.published).days / DAYS_A_YEAR


def _moore(across: Axis, up: Axis) -> str:
    """From the left to where it leaves the plot."""
    years = min(across.high, math.log2(up.high) * DOUBLING_MONTHS / 12)
    growth = 2 ** (years * 12 / DOUBLING_MONTHS)
    return _polyline([(0, up.place(1)), (across.place(years), up.place(growth))])


def _cards(history: Sequence[Line]) -> list[Chart]:
    """The best minutes of each benchmark against the rounds' dates, all on one axis of dates."""
    points = [point for line in history for stretch in line.stretches for point in stretch.points]
    days = [point.rules.published.toordinal() for point in points]
    axis = Axis(min(days) - MARGIN_DAYS, max(days) + MARGIN_DAYS, False, ()) if days else None
    return [_card(line, colour, axis) for colour, line in enumerate(history)]


def _card(line: Line, colour: int, days: Axis) -> Chart:
    up = time_axis([point.best.minutes for stretch in line.stretches for point in stretch.points])
    marks = [
        [
            Mark(point.best, point.whole, point.rules.published.toordinal(), point.best.minutes)
            for point in stretch.points
        ]
        for stretch in line.stretches
    ]
    years = range(date.fromordinal(int(days.low)).year + 1, date.fromordinal(int(days.high)).year + 1)
    return Chart(
        title=line.benchmark,
        curves=tuple(_curve(line.benchmark, colour, of_it, days.place, up, LOW) for of_it in marks),
        moore="",
        x_ticks=tuple(Tick(_x(days.place(date(year, 1, 1).toordinal())), str(year)) for year in years[::2]),
        y_ticks=_ticks(up, lambda share: _y(share, LOW)),
        x_label="",
        y_label="minutes, logarithmic",
        bottom=LOW,
        notes=tuple(f"{each.points[0].rules.name}: {each.why}" for each in line.stretches if each.why),
    )


def _curve(
    name: str, colour: int, marks: Sequence[Mark], across: Callable[[float], float], up: Axis, bottom: int
) -> Curve:
    """A line through the marks of whole rounds."""
    shares = [(across(mark.across), up.place(mark.value)) for mark in marks]
    spots = [
        Spot(_x(x), _y(y, bottom), mark.whole, _words(mark, name))
        for mark, (x, y) in zip(marks, shares, strict=True)
    ]
    through = [share for mark, share in zip(marks, shares, strict=True) if mark.whole]
    return Curve(colour, _polyline(through), tuple(spots))


def _words(mark: Mark, benchmark: str) -> tuple[str, ...]:
    result = mark.result
    system = clean(result.system)
    return (
        ", ".join(filter(None, (f"{result.round} {benchmark}", f"{result.minutes:,.3f} min", mark.note))),
        f"{clean(result.org)} {system if len(system) <= LONGEST_LABEL else system[: LONGEST_LABEL - 1] + '…'}",
        f"{result.accelerators:,} × {clean(result.accelerator)}" if result.accelerators else "no accelerator",
    )


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
