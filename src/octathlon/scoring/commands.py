"""The commands `octathlon score` and `octathlon compare`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from octathlon.scoring.entries import Entry
    from octathlon.scoring.tree import Skipped

ANY = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SHOWN = 5
"""Skipped things that are named; the rest is counted."""


@click.command()
@click.argument("paths", type=ANY, nargs=-1, required=True)
@click.option(
    "--round", "round_name", metavar="ROUND", help="Whose rules hold, e.g. v1.1; default: told from the logs."
)
@click.option("--runs", type=click.IntRange(1), help="Runs that a result needs; default: the round's number.")
@click.option("--csv", "csv_file", type=FILE, help="Write every column, at full precision.")
@click.option("--json", "json_file", type=FILE, help="Write the same and every run.")
@click.option("--markdown", type=FILE, help="Write a table for readers.")
def score(paths: Sequence[Path], round_name: str | None, runs: int | None, **files: Any) -> None:
    """Score the logs in PATHS: results trees, organisations, systems, benchmark folders or single logs.

    Nothing is written into them. A result without a score says why.
    """
    from octathlon.scoring.entries import score_paths
    from octathlon.scoring.tables import write_tables

    _keep_logs(files.values())
    entries, skipped = score_paths(paths, round_name, runs)
    write_tables(entries, skipped, **files)
    _show(entries, skipped)


def _keep_logs(outputs: Iterable[Path | None]) -> None:
    """Refuse to write over a log."""
    from octathlon.errors import OctathlonError

    for output in outputs:
        if output is not None and output.name.startswith("result") and output.suffix == ".txt":
            raise OctathlonError(f"{output}: has the name of a log; choose another name for the output")


def _show(entries: Sequence[Entry], skipped: Sequence[Skipped]) -> None:
    import sys

    from octathlon.scoring.tables import clean

    if sys.stdout.isatty():
        from rich.console import Console

        from octathlon.scoring.tables import to_rich

        Console().print(to_rich(entries))
    else:
        from octathlon.scoring.tables import to_markdown

        click.echo(to_markdown(entries), nl=False)
    for each in skipped[:SHOWN]:
        click.echo(clean(f"skipped {each.path}: {each.reason}"), err=True)
    if len(skipped) > SHOWN:
        click.echo(f"skipped {len(skipped) - SHOWN} more; --json FILE lists them all", err=True)


@click.command()
@click.argument("paths", type=ANY, nargs=-1)
@click.option("--markdown", type=FILE, help="Write the comparison as Markdown.")
def compare(paths: Sequence[Path], markdown: Path | None) -> None:
    """Set rounds side by side: PATHS are results trees, or CSV files that `score` wrote.

    Without PATHS, the published results that come with Octathlon are compared.

    Shows the best result of each benchmark and division in each round, the speed-up from round to round,
    also per accelerator and against Moore's law, and what was announced of v1.1, recomputed.
    """
    from octathlon.scoring.compare import comparison, load, published_files
    from octathlon.scoring.tables import write_text

    text = comparison([result for path in paths or published_files() for result in load(path)])
    if markdown:
        write_text(markdown, text)
    click.echo(text, nl=False)
