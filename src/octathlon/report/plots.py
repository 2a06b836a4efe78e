"""What the figures show and where it stands; `figures.html` draws it.

Positions across are in percent of the width and heights in pixels, so that one figure fits a phone and a wide
screen with text of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from octathlon.report.axes import Axis, elapsed_axis, quality_axis, time_axis
from octathlon.report.results import Entry, Point, Run

EDGE = 2.0
"""Percent of a strip left free at either side, so that no dot is cut off."""
LANE, LANES = 7, 5
"""Dots that would cover each other stand in lanes so many units apart, at most so many."""
APART = 1.3
"""Percent of the width between two dots of one lane; their size on a middling screen."""
ROW_HEAD, ROW_FOOT, AXIS_HEIGHT = 18, 13, 22
LONGEST_LABEL = 34
"""Characters that stand beside a score on a phone."""

LEFT, RIGHT = 13.0, 97.0
TOP, BOTTOM = 12, 184
"""Where the quality of a panel is plotted."""
FINEST = 0.25
"""Percent of a panel's width between two points of a line: one pixel, or two."""
CLOCK_SKEW = 1 / 60
"""Minutes by which an evaluation may be later than run_stop and still count as on the clock."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One run, or one published result."""

    x: float
    y: float
    kind: str
    """counted, dropped, failed or unused."""
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of dots with its name at the left and its value at the right."""

    label: str
    title: str
    value: str
    head: float
    """Height of the text's baseline."""
    line: float
    """Height of the line that the dots stand on."""
    dots: tuple[Dot, ...]
    mark: float | None
    """Where the olympic mean (or the median) stands."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of dots on one logarithmic axis of time, in minutes."""

    title: str
    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    foot: float
    """Where the rows end and the axis begins."""
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """One run's quality over time."""

    points: str
    """As SVG's `polyline` takes them, in percent of the plotted area."""
    end: tuple[float, float]
    """The last of them in the panel's own measures."""
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric of one entry against time (or against epochs, where it was evaluated after the clock)."""

    title: str
    lines: tuple[Line, ...]
    target: float | None
    """Height of the target line."""
    target_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_label: str
    log: bool


@dataclass(frozen=True, slots=True)
class Series:
    """What a row of a strip shows: (minutes, kind, words) of each dot."""

    label: str
    value: str
    mark: float | None
    dots: Sequence[tuple[float, str, str]]


def runs_of(entry: Entry, label: str) -> Series:
    """An entry's runs; those without a time have no dot, but are counted in the value's text."""
    timed = [run for run in entry.runs if run.minutes is not None]
    value = f"{entry.score:,.3f}" if entry.score is not None else "no score"
    if untimed := len(entry.runs) - len(timed):
        value = f"{untimed} without a time, {value}"
    return Series(label, value, entry.score, [(run.minutes, run.kind, run_words(run)) for run in timed])


def run_words(run: Run) -> str:
    """A run in one line."""
    minutes = "" if run.minutes is None else f"{run.minutes:,.3f} min, "
    return f"{run.file}: {minutes}{run.part}"


def strip(title: str, series: Iterable[Series]) -> Strip:
    """Lay out rows of dots under each other."""
    series = list(series)
    axis = time_axis([dot[0] for each in series for dot in each.dots])
    rows, top = [], 0.0
    for each in series:
        row, top = _row(each, axis, top)
        rows.append(row)
    ticks = _ticks(axis, _percent)
    return Strip(title, tuple(rows), ticks, top, top + AXIS_HEIGHT)


def _row(series: Series, axis: Axis, top: float) -> tuple[Row, float]:
    """A row and where the next one begins."""
    placed = sorted((_percent(axis, minutes), kind, words) for minutes, kind, words in series.dots)
    lanes = _lanes([x for x, _, _ in placed])
    half = LANE * max(1, (max(lanes, default=0) + 1) // 2)
    line = top + ROW_HEAD + ROW_FOOT + half
    dots = tuple(
        Dot(x, line + _offset(lane), kind, words)
        for (x, kind, words), lane in zip(placed, lanes, strict=True)
    )
    mark = None if series.mark is None else _percent(axis, series.mark)
    label = series.label if len(series.label) <= LONGEST_LABEL else series.label[: LONGEST_LABEL - 1] + "…"
    return Row(label, series.label, series.value, top + ROW_HEAD, line, dots, mark), line + half + ROW_FOOT


def _lanes(places: Sequence[float]) -> list[int]:
    """The lane of each dot, from left to right: the first one that is free; else the one longest unused."""
    last = [-APART] * LANES
    lanes = []
    for x in places:
        free = (lane for lane in range(LANES) if x - last[lane] >= APART)
        lane = next(free, min(range(LANES), key=last.__getitem__))
        last[lane] = x
        lanes.append(lane)
    return lanes


def _offset(lane: int) -> int:
    """0 for lane 0, then in turn above and below it."""
    return LANE * ((lane + 1) // 2) * (1 if lane % 2 else -1)


def _percent(axis: Axis, minutes: float) -> float:
    return round(EDGE + (100 - 2 * EDGE) * axis.place(minutes), 2)


def _ticks(axis: Axis, place: Callable[[Axis, float], float]) -> tuple[Tick, ...]:
    return tuple(Tick(place(axis, at), label) for at, label in zip(axis.ticks, axis.labels(), strict=True))


def panels(entry: Entry) -> list[Panel]:
    """The quality of an entry's runs against time, a panel for each metric that was evaluated."""
    after = _evaluated_after_the_clock(entry)
    return [panel for metric in entry.metrics if (panel := _panel(entry, metric, after))]


def _evaluated_after_the_clock(entry: Entry) -> bool:
    """Whether most evaluations are later than their run's end, as MiniGo's reference does it."""
    late = [
        point.minutes > run.minutes + CLOCK_SKEW
        for run in entry.runs
        if run.minutes is not None
        for point in run.curve
    ]
    return sum(late) * 2 > len(late)


def _panel(entry: Entry, metric: str, after: bool) -> Panel | None:
    curves = [(run, _curve(run, metric, after)) for run in entry.runs]
    curves = [(run, curve) for run, curve in curves if curve]
    if not curves:
        return None
    threshold = entry.threshold(metric)
    rises = entry.rises(metric)
    values = [y for _, curve in curves for _, y in curve]
    across = elapsed_axis([x for _, curve in curves for x, _ in curve])
    up = quality_axis(values if threshold is None else [*values, threshold], rises)
    return Panel(
        title=metric,
        lines=tuple(_line(run, curve, metric, across, up) for run, curve in sorted(curves, key=_weight)),
        target=None if threshold is None else _y(up, threshold),
        target_label="" if threshold is None else f"target {'≥' if rises else '≤'} {threshold:g}",
        x_ticks=_ticks(across, _x),
        y_ticks=_ticks(up, _y),
        x_label="epoch (evaluated after the clock)" if after else "minutes",
        log=up.log,
    )


def _weight(run_and_curve: tuple[Run, object]) -> bool:
    """Counted runs are drawn last, above the others."""
    return run_and_curve[0].kind == "counted"


def _curve(run: Run, metric: str, after: bool) -> list[tuple[float, float]]:
    """The run's evaluations of a metric: where they stand across, and the value."""
    points = [
        (_across(point, after), point.quality[metric]) for point in run.curve if metric in point.quality
    ]
    return [(x, y) for x, y in points if x is not None]


def _across(point: Point, after: bool) -> float | None:
    return point.epoch if after else point.minutes


def _line(run: Run, curve: Sequence[tuple[float, float]], metric: str, across: Axis, up: Axis) -> Line:
    places = [(100 * across.place(x), 100 - 100 * up.place(y)) for x, y in curve]
    return Line(
        points=" ".join(f"{x:.2f},{y:.2f}" for x, y in _thinned(places)),
        end=(_x(across, curve[-1][0]), _y(up, curve[-1][1])),
        kind=run.kind,
        title=f"{run_words(run)}, {metric} {curve[-1][1]:.4f} at the end",
    )


def _thinned(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """No more points than a screen can show; the last one stays."""
    kept: list[tuple[float, float]] = []
    for place in places[:-1]:
        if not kept or abs(place[0] - kept[-1][0]) >= FINEST:
            kept.append(place)
    return [*kept, places[-1]]


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.place(value), 2)


def _y(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.place(value), 1)
