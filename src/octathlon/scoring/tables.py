"""Entries as files and tables: CSV for machines, JSON with every run, Markdown, and a table on the terminal.

The shape of `scores.json` (all the report page reads); null where a value is not known:

    {"format": 1,
     "entries": [{
        <every column of the CSV, by the same names; flags and anomalies are lists>,
        "round_guessed": "",                    on what grounds, where other rounds are possible
        "target": {"accuracy": {"at_least": 0.759, "below": 1}},  the round's (closed), or the logs' own
        "higher_is_better": true,
        "logs": [{                              one object a run, in natural order of the files
            "file": "result_0.txt",
            "started_ms": 1634831816075,        run_start, milliseconds since the Unix epoch
            "minutes": 28.6,                    run_start to run_stop, also of a failed run
            "init_minutes": 1.2,
            "converged": true, "reason": "",    why it did not
            "dropped": "none",                  low, high, none; unused: not in the scored window
            "epochs": 37,                       epoch_num of the evaluation that met the target
            "quality": 0.7591,                  its value; {metric: value} where several
            "seed": 1, "global_batch_size": 408, "train_samples": 1281167,
            "curve": [[3.1, 4, 0.41], ...],     minutes since run_start, epoch_num, value
            "anomalies": ["..."]}]}],
     "skipped": [{"path": "...", "reason": "..."}]}
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octathlon.receipts import write_json
from octathlon.scoring.entries import Entry
from octathlon.scoring.outcomes import MILLISECONDS, Run, evaluations, named_quality, progress
from octathlon.scoring.rules import BOUNDS, Bounds, Quality
from octathlon.scoring.text import clean, markdown_table, spreadsheet_cell, write_text
from octathlon.scoring.tree import Skipped

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = 1


def _fastest(entry: Entry) -> float | None:
    return min((run.minutes for run in entry.converged), default=None)


def _slowest(entry: Entry) -> float | None:
    return max((run.minutes for run in entry.converged), default=None)


def _missing(entry: Entry) -> int | None:
    return max(0, entry.runs_needed - len(entry.runs)) if entry.runs_needed is not None else None


COLUMNS: Mapping[str, Callable[[Entry], Any]] = {
    "round": lambda entry: entry.round,
    "org": lambda entry: entry.org,
    "system": lambda entry: entry.system,
    "division": lambda entry: entry.division,
    "status": lambda entry: entry.status,
    "availability": lambda entry: entry.availability,
    "accelerator": lambda entry: entry.accelerator,
    "nodes": lambda entry: entry.nodes,
    "accelerators": lambda entry: entry.accelerators,
    "framework": lambda entry: entry.framework,
    "benchmark": lambda entry: entry.benchmark,
    "runs_needed": lambda entry: entry.runs_needed,
    "runs": lambda entry: len(entry.runs),
    "missing": _missing,
    "converged": lambda entry: len(entry.converged),
    "dropped_low": lambda entry: len(entry.score.low) or None,
    "dropped_high": lambda entry: len(entry.score.high) or None,
    "score_minutes": lambda entry: entry.score.minutes,
    "unscaled_minutes": lambda entry: entry.unscaled_minutes,
    "scaling_factor": lambda entry: entry.scaling_factor,
    "energy_joules": lambda entry: entry.energy_joules,
    "fastest_minutes": _fastest,
    "slowest_minutes": _slowest,
    "global_batch_size": lambda entry: entry.global_batch_size,
    "epochs_to_target": lambda entry: entry.epochs_to_target,
    "samples_to_target": lambda entry: entry.samples_to_target,
    "samples_per_second": lambda entry: entry.samples_per_second,
    "samples_per_second_and_accelerator": lambda entry: entry.samples_per_second_and_accelerator,
    "quality": lambda entry: entry.quality,
    "reason": lambda entry: entry.reason,
    "flags": lambda entry: list(entry.flags),
    "anomalies": lambda entry: list(entry.anomalies),
    "folder": lambda entry: entry.folder,
}
"""The columns of the CSV and the keys of each JSON entry."""

SHORT = ("org", "system", "division", "accelerator", "accelerators", "benchmark", "runs", "converged")
"""What tables for readers show beside the score."""
NUMBERS = ("accelerators", "runs", "converged", "minutes")
"""The columns of numbers."""


def cells(entry: Entry) -> dict[str, Any]:
    """An entry's columns."""
    return {name: clean(column(entry)) for name, column in COLUMNS.items()}


def to_csv(entries: Iterable[Entry]) -> str:
    """One row an entry, numbers at full precision, empty where a value is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        writer.writerow(_cell(value) for value in cells(entry).values())
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(value)
    return repr(value) if isinstance(value, float) else spreadsheet_cell(value)


def to_json(entries: Iterable[Entry], skipped: Iterable[Skipped] = ()) -> dict[str, Any]:
    """The shape that this module's text shows."""
    return {
        "format": FORMAT,
        "entries": [_entry(entry) for entry in entries],
        "skipped": [{"path": clean(str(each.path)), "reason": clean(each.reason)} for each in skipped],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return cells(entry) | {
        "round_guessed": entry.filing.guess,
        "target": {clean(metric): _bounds(bounds) for metric, bounds in entry.target.items()},
        "higher_is_better": _higher_is_better(entry),
        "logs": [_run(entry, index, run) for index, run in enumerate(entry.runs)],
    }


def _higher_is_better(entry: Entry) -> bool:
    target = entry.target or (entry.task.target if entry.task else {})
    return all(bounds.higher_is_better for bounds in target.values())


def _bounds(bounds: Bounds) -> dict[str, float]:
    values = {name: getattr(bounds, name) for name in BOUNDS}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _run(entry: Entry, index: int, run: Run) -> dict[str, Any]:
    log = run.log
    return {
        "file": clean(log.path.name),
        "started_ms": log.start_ms if log.starts else None,
        "minutes": run.minutes,
        "init_minutes": run.init_minutes,
        "converged": run.converged,
        "reason": clean(run.reason),
        "dropped": _dropped(entry, index),
        "epochs": run.epoch,
        "quality": _value(run.quality) if run.quality else None,
        "seed": log.numbers.get("seed"),
        "global_batch_size": log.numbers.get("global_batch_size"),
        "train_samples": log.numbers.get("train_samples"),
        "curve": _curve(entry, run) if log.starts else [],
        "anomalies": clean(list(run.anomalies)),
    }


def _dropped(entry: Entry, index: int) -> str:
    score = entry.score
    places = {"low": score.low, "high": score.high, "none": score.kept}
    unscored = "none" if score.minutes is None else "unused"
    return next((name for name, indices in places.items() if index in indices), unscored)


def _curve(entry: Entry, run: Run) -> list[list[Any]]:
    start = run.log.start_ms
    return [
        [
            (each.time_ms - start) / MILLISECONDS,
            progress(each, entry.task),
            _value(named_quality(each.quality, entry.task)),
        ]
        for each in evaluations(run.log, entry.task)
    ]


def _value(quality: Quality) -> float | dict[str, float]:
    return next(iter(quality.values())) if len(quality) == 1 else dict(quality)


def to_markdown(entries: Sequence[Entry]) -> str:
    """A table for readers: scores with three decimals, as the rounds publish them; the reason where there is
    none."""
    return markdown_table([*SHORT, "minutes"], map(row, entries), NUMBERS)


def row(entry: Entry) -> list[str]:
    """An entry's cells in the tables for readers."""
    columns = cells(entry)
    shown = ["" if columns[name] is None else str(columns[name]) for name in SHORT]
    return [*shown, columns["reason"] if entry.score.minutes is None else f"{entry.score.minutes:.3f}"]


def to_rich(entries: Sequence[Entry]) -> Table:
    """The table on a terminal."""
    from rich.table import Table
    from rich.text import Text

    from octathlon.scoring.rules import round_names

    rounds = [name for name in round_names() if any(entry.round == name for entry in entries)]
    table = Table(title=f"MLPerf Training rules {', '.join(rounds)} (unofficial)", title_justify="left")
    for name in (*SHORT, "minutes"):
        table.add_column(name, justify="right" if name in NUMBERS else "left")
    for entry in entries:
        table.add_row(*map(Text, row(entry)))  # not strings: strangers' words are no markup
    return table


def write_tables(
    entries: Sequence[Entry],
    skipped: Sequence[Skipped],
    csv_file: Path | None,
    json_file: Path | None,
    markdown: Path | None,
) -> None:
    """Write the files that are asked for."""
    if csv_file:
        write_text(csv_file, to_csv(entries))
    if json_file:
        write_json(json_file, to_json(entries, skipped))
    if markdown:
        write_text(markdown, to_markdown(entries))
