"""The command `octathlon compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from octathlon.scoring.options import ANY, ROUND, output


@click.command()
@click.argument("paths", type=ANY, nargs=-1)
@ROUND
@click.option("--alone", is_flag=True, help="Compare PATHS without the published results.")
@output("--csv", "csv_file", help="Write the best of each benchmark, division and round.")
@output("--markdown", help="Write the comparison as Markdown.")
@output("--html", help="Draw the history, and a table of all entries, as a page.")
def compare(
    paths: Sequence[Path],
    round_name: str | None,
    alone: bool,
    csv_file: Path | None,
    markdown: Path | None,
    html: Path | None,
) -> None:
    """Set rounds side by side: the published results that come with Octathlon, and those of PATHS.

    PATHS are results trees, folders of several, or CSV files that `score` wrote. Each result is taken for one of
    the round of its tree; one that is there twice (round and folder) is taken from the last of PATHS.

    Shows the best results of each round, of all and of each organisation, also per accelerator; the speed-up
    from round to round as long as the task is the same, against Moore's law; and what was announced, recomputed.
    """
    from octathlon.errors import OctathlonError
    from octathlon.scoring.compare import comparison, to_csv
    from octathlon.scoring.results import load, merged, parts, published
    from octathlon.scoring.text import clean, write_text

    if alone and not paths:
        raise OctathlonError("--alone: nothing to compare; give PATHS")
    loaded = [load(path, round_name) for path in paths]
    results = merged([*([] if alone else published()), *(each for found, _ in loaded for each in found)])
    small = () if alone else parts(results)
    tables = comparison(results, small)
    text = "\n".join(table.markdown() for table in tables)
    if csv_file:
        write_text(csv_file, to_csv(results, small))
    if markdown:
        write_text(markdown, text)
    if html:
        from octathlon.report.history import write_history

        write_history(results, tables, html, small)
    _print(text)
    for note in (note for _, notes in loaded for note in notes):
        click.echo(clean(f"note {note}"), err=True)


def _print(text: str) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        click.echo(text, nl=False)
