"""The command `octathlon score`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octathlon.scoring.options import ANY, ROUND, RUNS, output

if TYPE_CHECKING:
    from octathlon.scoring.entries import Entry
    from octathlon.scoring.tree import Skipped

SHOWN = 10
"""Oddities, and skipped things, that are told; the rest is counted."""


@click.command()
@click.argument("paths", type=ANY, nargs=-1, required=True)
@ROUND
@RUNS
@output("--csv", "csv_file", help="Write every column, at full precision.")
@output("--json", "json_file", help="Write the same and every run.")
@output("--markdown", help="Write a table for readers.")
@click.option(
    "--unused", "with_unused", is_flag=True, help="List what PATHS hold that no score is made from."
)
def score(
    paths: Sequence[Path],
    round_name: str | None,
    runs: Mapping[str, int],
    with_unused: bool,
    **files: Any,
) -> None:
    """Score the logs in PATHS: results trees, organisations, systems, benchmark folders or single logs.

    Nothing is written into them. A result without a score says why.
    """
    from octathlon.scoring.entries import score_paths
    from octathlon.scoring.tables import write_tables

    entries, skipped = score_paths(paths, round_name, runs)
    write_tables(entries, skipped, **files)
    _show(entries, skipped)
    if with_unused:
        from octathlon.scoring.text import clean
        from octathlon.scoring.unused import unused

        for each in [*unused(entries, paths), *skipped]:
            click.echo(clean(f"unused {each.path}: {each.reason}"))


def _show(entries: Sequence[Entry], skipped: Sequence[Skipped]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console

        from octathlon.scoring.tables import to_rich

        Console().print(to_rich(entries))
    else:
        from octathlon.scoring.tables import to_markdown

        click.echo(to_markdown(entries), nl=False)
    oddities = [
        (entry.folder, words) for entry in entries for words in (*entry.convergence, *entry.anomalies)
    ]
    repeated = [(folder, f"the same result {count} times") for folder, count in _repeated(entries)]
    guesses = {
        (entry.filing.folder.root, f"taken for {entry.round}: {entry.filing.guess}; --round decides")
        for entry in entries
        if entry.round and entry.filing.guess
    }
    _show_some("note", sorted(guesses) + repeated + oddities)
    _show_some("skipped", [(each.path, each.reason) for each in skipped])


def _repeated(entries: Sequence[Entry]) -> list[tuple[str, int]]:
    """The folders that several trees have, and how many."""
    counts = Counter(entry.folder for entry in entries if entry.filing.folder.results)
    return [(folder, count) for folder, count in counts.items() if count > 1]


def _show_some(kind: str, sentences: Sequence[tuple[Any, str]]) -> None:
    from octathlon.scoring.text import clean

    for place, words in sentences[:SHOWN]:
        click.echo(clean(f"{kind} {place}: {words}"), err=True)
    if len(sentences) > SHOWN:
        click.echo(f"{kind} {len(sentences) - SHOWN} more; --json FILE lists them all", err=True)
