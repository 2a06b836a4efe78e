"""The command line: one thin subcommand per stop of the road. Heavy imports stay inside the functions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from octathlon.errors import OctathlonError
from octathlon.scoring.check_commands import check, package
from octathlon.scoring.commands import compare, score

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SCALE = click.option("--scale", type=click.Choice(["mini", "full"]), default="mini", show_default=True)
SETTINGS = click.option(
    "--settings",
    "overrides",
    default="{}",
    metavar="JSON",
    callback=lambda _context, _option, text: _mapping(text),
    help="Keys laid over the scale's defaults.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="octathlon")
def octathlon() -> None:
    """Eight events, one clock: archive -> prepared -> run -> score -> page."""


@octathlon.command()
@click.argument("dataset")
@click.argument("archive")
@click.option("--source", default="upstream", show_default=True, help="upstream, or a folder or URL prefix.")
@click.option("--folder", type=FOLDER, required=True, help="Where the archive and its receipt go.")
@click.option("--identity", default="", help="What the workflow knew of the archive when it planned this.")
def fetch(dataset: str, archive: str, source: str, folder: Path, identity: str) -> None:
    """Get an ARCHIVE of a DATASET, verify it and write its receipt."""
    from octathlon import registry
    from octathlon.archives import fetch as archives
    from octathlon.archives.sources import request

    archives.fetch(request(dataset, registry.sources(dataset), archive, source, folder), identity)


@octathlon.command()
@click.argument("dataset")
@click.argument("archive")
@click.option("--folder", type=FOLDER, required=True, help="Where the archive and its receipt go.")
@click.option("--seed", type=int, default=1, show_default=True)
@SCALE
@SETTINGS
@click.option("--identity", default="", help="What the workflow knew of the archive when it planned this.")
def miniature(
    dataset: str, archive: str, folder: Path, seed: int, scale: str, overrides: dict[str, Any], identity: str
) -> None:
    """Draw a miniature ARCHIVE of a DATASET in the upstream format, and write its receipt."""
    from octathlon import registry
    from octathlon.archives.fetch import write_receipt
    from octathlon.config import resolve

    settings = resolve("datasets", dataset, scale, {"miniature": overrides})
    folder.mkdir(parents=True, exist_ok=True)
    registry.miniature(dataset).draw(archive, folder, seed=seed, **settings.miniature)
    write_receipt(dataset, folder / archive, identity)


@octathlon.command()
@click.argument("dataset")
@click.argument("step")
@click.option("--archives", type=FOLDER, required=True, help="The folder of the verified archives.")
@click.option("--out", type=FOLDER, required=True, help="The folder of the prepared data set.")
@SCALE
@SETTINGS
def prepare(
    dataset: str, step: str, archives: Path, out: Path, scale: str, overrides: dict[str, Any]
) -> None:
    """Run one STEP of preparing a DATASET, e.g. a shard; the step `manifest` comes last."""
    from octathlon import registry
    from octathlon.config import resolve

    settings = resolve("datasets", dataset, scale, overrides)
    registry.preparer(dataset).prepare(step, archives, out, settings)


@octathlon.command()
@click.argument("benchmark")
@click.option("--data", type=FOLDER, help="The prepared data set.")
@click.option("--output", type=FILE, required=True, help="The log, e.g. result_0.txt.")
@click.option("--seed", type=int, default=1, show_default=True)
@SCALE
@SETTINGS
@click.option("--submitter", default="octathlon", show_default=True)
@click.option("--platform", default="local", show_default=True, help="The system's name.")
@click.option("--status", default="research", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads of each rank."
)
@click.option("--max-blocks", type=click.IntRange(1), help="Stop after so many evaluations: a smoke test.")
def train(benchmark: str, overrides: dict[str, Any], scale: str, **options: Any) -> None:
    """Train a BENCHMARK from scratch to its target, on the clock. A missed target is a result: exit code 0."""
    from octathlon import registry
    from octathlon.config import resolve
    from octathlon.harness.session import Session, run

    settings = resolve("benchmarks", benchmark, scale, overrides)
    run(registry.benchmark_class(benchmark), settings, Session(benchmark=benchmark, **options))


@octathlon.command()
@click.argument("name")
@click.option("--output", type=FILE, required=True)
@click.option("--submitter", default="octathlon", show_default=True)
@click.option("--division", default="open", show_default=True)
@click.option("--status", default="research", show_default=True)
@click.option("--nodes", type=int, default=1, show_default=True)
@click.option(
    "--fields", default="{}", callback=lambda _context, _option, text: _mapping(text), metavar="JSON"
)
def system(name: str, output: Path, fields: dict[str, Any], **facts: Any) -> None:
    """Describe this machine as the system NAME of a submission."""
    from octathlon.receipts import write_json
    from octathlon.scoring.describe import describe_system

    write_json(output, describe_system(name, overrides=fields, **facts))


@octathlon.command()
@click.argument("scores", type=FILE)
@click.option("--systems", type=FOLDER, help="The folder of system descriptions.")
@click.option("--html", type=FILE, required=True)
@click.option("--scale", type=click.Choice(["mini", "full"]), help="Of the runs; the scores do not say it.")
def report(scores: Path, systems: Path | None, html: Path, scale: str | None) -> None:
    """Draw the page from SCORES (scores.json)."""
    from octathlon.report.page import write_page

    write_page(scores, systems, html, scale)


for command in (score, compare, check, package):
    octathlon.add_command(command)


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object given on the command line."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise click.BadParameter("not a JSON object")
    return value


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1, not in a traceback."""
    try:
        octathlon()
    except OctathlonError as error:
        click.echo(f"octathlon: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
