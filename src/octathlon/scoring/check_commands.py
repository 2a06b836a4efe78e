"""The commands `octathlon check` and `octathlon package`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from octathlon.options import MAPPING, OUTPUT_FOLDER
from octathlon.scoring.options import ANY, ROUND, RUNS, output

if TYPE_CHECKING:
    from octathlon.scoring.findings import Group


@click.command()
@click.argument("paths", type=ANY, nargs=-1, required=True)
@ROUND
@RUNS
@output("--json", "json_file", help="Write every finding.")
def check(
    paths: Sequence[Path], round_name: str | None, runs: Mapping[str, int], json_file: Path | None
) -> None:
    """Check PATHS against the rules of a round: logs, system descriptions, results trees or parts of them.

    Shows each broken rule and where it is broken. The exit code is 1 if there are errors; warnings are what
    the round accepted, or only questioned. A run that breaks a rule counts as failed, here and for the score.
    """
    from octathlon.scoring.check import check_path
    from octathlon.scoring.findings import grouped, to_json

    reports = [report for path in paths for report in check_path(path, runs, round_name)]
    if json_file:
        from octathlon.receipts import write_json

        write_json(json_file, to_json(reports))
    warnings, errors = grouped(reports, "warning"), grouped(reports, "error")
    for severity, groups in (("warning", warnings), ("error", errors)):
        if groups:
            _show(severity, groups)
    counts = [sum(group.count for group in groups) for groups in (errors, warnings)]
    click.echo(f"{len(reports)} files and folders checked: {counts[0]} errors, {counts[1]} warnings")
    if errors:
        raise click.exceptions.Exit(1)


def _show(severity: str, groups: Sequence[Group]) -> None:
    if not sys.stdout.isatty():
        for group in groups:
            click.echo(f"{severity}: {group.place}: {group.rule}: {group.words}")
        return
    from rich.console import Console

    from octathlon.scoring.findings import to_rich

    Console().print(to_rich(severity, groups))


@click.command()
@click.argument("paths", type=ANY, nargs=-1, required=True)
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="The package's folder.")
@RUNS
@click.option(
    "--config",
    type=MAPPING,
    help="The configuration that the results were made with; default: the project's config.yaml.",
)
def package(
    paths: Sequence[Path], out: Path, runs: Mapping[str, int], config: Mapping[str, Any] | None
) -> None:
    """Build the submission package of the results in PATHS: a results tree, a part of it, or single logs.

    It holds the descriptions, the logs, and the code with its configuration. A result of which too many runs
    failed is left out and named; incomplete input, or logs that break the rules, are refused.
    """
    from octathlon.scoring.package import build_package

    scored, failed = build_package(paths, out, runs, config)
    for entry in failed:
        click.echo(f"left out {entry.folder}: {entry.reason}", err=True)
    click.echo(f"{out}: {len(scored)} results packaged")
