"""Arguments that several of the scoring commands take. Imports no more than click: `--help` is to be fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from octathlon.errors import OctathlonError
from octathlon.options import OUTPUT_FILE
from octathlon.scoring.olympic import EVERY

ANY = click.Path(path_type=Path)


def output(*names: str, **options: Any) -> Callable[..., Any]:
    """An option for a file to write, which must not have the name of a log."""
    return click.option(*names, type=OUTPUT_FILE, callback=_keep_logs, **options)


def _keep_logs(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.name.startswith("result") and path.suffix == ".txt":
        raise OctathlonError(f"{path}: has the name of a log; choose another name for the output")
    return path


def _counts(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> dict[str, int]:
    """`5` or `resnet=5`, repeated, as benchmark -> number of runs."""
    counts = {}
    for text in texts:
        benchmark, _, number = text.rpartition("=")
        if not (number.isascii() and number.isdecimal() and len(number) <= 6 and int(number)):
            raise click.BadParameter(f"{text!r} is neither a number of runs nor BENCHMARK=NUMBER")
        if benchmark:
            _known(benchmark)
        counts[benchmark or EVERY] = int(number)
    return counts


def _known(benchmark: str) -> None:
    from octathlon.scoring.rules import all_rounds

    names = {name for each in all_rounds() for name in each.tasks}
    if benchmark not in names:
        raise click.BadParameter(f"no benchmark {benchmark}; they are {', '.join(sorted(names))}")


def _round(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    from octathlon.scoring.rules import load_round

    return load_round(name).name if name else None


ROUND = click.option(
    "--round",
    "round_name",
    metavar="ROUND",
    callback=_round,
    help="Whose rules hold, e.g. v1.1; default: told from the logs.",
)
RUNS = click.option(
    "--runs",
    multiple=True,
    metavar="[BENCHMARK=]N",
    callback=_counts,
    help="Runs that a result needs, of a benchmark or of all; default: the round's numbers. Repeatable.",
)
