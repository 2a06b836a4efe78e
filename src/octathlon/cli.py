"""The command line: one thin subcommand per stop of the road. Heavy imports stay inside the functions."""

from __future__ import annotations

import gc
import os
import resource
import sys
from itertools import takewhile
from pathlib import Path
from textwrap import shorten
from typing import Any

import click

from octathlon import names, registry
from octathlon.errors import OctathlonError, told, unwritable
from octathlon.options import (
    INPUT_FILE,
    INPUT_FOLDER,
    MAPPING,
    OUTPUT_FILE,
    OUTPUT_FOLDER,
    SEED,
    SOURCE,
    SUBMITTER,
    SYSTEM,
)
from octathlon.report.commands import compare
from octathlon.scoring.check_commands import check, package
from octathlon.scoring.commands import score

SCALE = click.option("--scale", type=click.Choice(registry.SCALES), default="mini", show_default=True)
SETTINGS = click.option(
    "--settings", "overrides", type=MAPPING, default="{}", help="Keys laid over the scale's defaults."
)
SEEDED = click.option("--seed", type=SEED, default=1, show_default=True)
OWNER = click.option("--submitter", type=SUBMITTER, default="octathlon", show_default=True)
STATUS = click.option("--status", type=click.Choice(names.STATUSES), default="research", show_default=True)

DEVICE = click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
THREADS = click.option(
    "--threads",
    type=click.IntRange(1, names.MOST_CORES),
    default=1,
    show_default=True,
    help="CPU threads of each rank.",
)


LEAST_MEMORY = 512 << 20
"""Bytes of addresses below which OpenBLAS waits for ever for its first ones."""


class Commands(click.Group):
    """Commands that end in a sentence, and not in a traceback, where the machine lacks what they need."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a fault that names no file is told with the command's first words."""
        words = list(takewhile(lambda word: not word.startswith("-"), ctx.args))
        try:
            return super().invoke(ctx)
        except BaseException as fault:
            if sentence := told(fault, " ".join([str(ctx.invoked_subcommand), *words])):
                raise sentence from fault
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="octathlon")
def octathlon() -> None:
    """Eight events, one clock: archive -> prepared -> run -> score -> page."""


@octathlon.command()
@click.argument("dataset")
@click.argument("archive")
@click.option(
    "--source",
    type=SOURCE,
    default="upstream",
    show_default=True,
    help="upstream, or a folder or URL prefix.",
)
@click.option("--folder", type=OUTPUT_FOLDER, required=True, help="Where the archive and its receipt go.")
@click.option("--identity", default="", help="What the workflow knew of the archive when it planned this.")
def fetch(dataset: str, archive: str, source: str, folder: Path, identity: str) -> None:
    """Get an ARCHIVE of a DATASET, verify it and write its receipt."""
    from octathlon.archives import fetch as archives
    from octathlon.archives.sources import request

    given = names.with_login(source, os.environ)
    archives.fetch(request(dataset, registry.sources(dataset), archive, given, folder), identity)


@octathlon.command()
@click.argument("dataset")
@click.argument("archive")
@click.option("--folder", type=OUTPUT_FOLDER, required=True, help="Where the archive and its receipt go.")
@SEEDED
@SCALE
@SETTINGS
@click.option("--identity", default="", help="What the workflow knew of the archive when it planned this.")
def miniature(
    dataset: str, archive: str, folder: Path, seed: int, scale: str, overrides: dict[str, Any], identity: str
) -> None:
    """Draw a miniature ARCHIVE of a DATASET in the upstream format, and write its receipt."""
    from octathlon.archives.fetch import write_receipt
    from octathlon.archives.sources import request
    from octathlon.config import resolve

    _check_memory()
    settings = resolve("datasets", dataset, scale, {"miniature": overrides})
    writer = registry.miniature(dataset)
    if archive not in (known := writer.archives(**settings.miniature)):
        choice = shorten(", ".join(known), 200, placeholder=" ...")
        raise OctathlonError(f"{dataset} has no miniature {archive!r}; choose one of {choice}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer.draw(archive, folder, seed=seed, **settings.miniature)
    except OSError as error:
        raise unwritable(folder / archive, error, folder) or error from error
    write_receipt(request(dataset, registry.sources(dataset), archive, "miniature", folder), identity)


@octathlon.command()
@click.argument("dataset")
@click.argument("step")
@click.option("--archives", type=INPUT_FOLDER, required=True, help="The folder of the verified archives.")
@click.option("--out", type=OUTPUT_FOLDER, required=True, help="The folder of the prepared data set.")
@SCALE
@SETTINGS
def prepare(
    dataset: str, step: str, archives: Path, out: Path, scale: str, overrides: dict[str, Any]
) -> None:
    """Run one STEP of preparing a DATASET, e.g. a shard; the step `manifest` comes last."""
    from octathlon.config import resolve

    _check_memory()
    settings = resolve("datasets", dataset, scale, overrides)
    registry.preparer(dataset).prepare(step, archives, out, settings)


@octathlon.command("compile")
@click.argument("benchmark")
def compile_kernels(benchmark: str) -> None:
    """Compile the kernels of a BENCHMARK that has some (minigo), so that no run has to."""
    from octathlon.config import resolve

    _check_memory()
    module = registry.kernels(benchmark)
    module.compile_kernels(resolve("benchmarks", benchmark, "mini", {}))  # for sizes of any scale


@octathlon.command()
@click.argument("benchmark")
@click.option("--data", type=INPUT_FOLDER, help="The prepared data set.")
@click.option("--output", type=OUTPUT_FILE, required=True, help="The log, e.g. result_0.txt.")
@SEEDED
@SCALE
@SETTINGS
@OWNER
@click.option("--platform", type=SYSTEM, default="local", show_default=True, help="The system's name.")
@STATUS
@DEVICE
@THREADS
@click.option("--max-blocks", type=click.IntRange(1), help="Stop after so many evaluations: a smoke test.")
def train(benchmark: str, overrides: dict[str, Any], scale: str, **options: Any) -> None:
    """Train a BENCHMARK from scratch to its target, on the clock. A missed target is a result: exit code 0."""
    from octathlon.config import resolve
    from octathlon.harness.imports import swift_imports

    _check_memory()
    settings = resolve("benchmarks", benchmark, scale, overrides)
    _check_data(benchmark, options["data"])
    with swift_imports():  # they take seconds: what is missing is said before
        from octathlon.harness.session import Session, run

        benchmark_class = registry.benchmark_class(benchmark)
    run(benchmark_class, settings, Session(benchmark=benchmark, scale=scale, **options))


@octathlon.command()
@click.argument("benchmark")
@click.option("--weights", type=INPUT_FILE, required=True, help="What a run left: result_N.safetensors.")
@click.option(
    "--data", type=INPUT_FOLDER, required=True, help="The prepared data set that it was trained on."
)
@DEVICE
@THREADS
def evaluate(benchmark: str, weights: Path, data: Path, device: str, threads: int) -> None:
    """Evaluate a BENCHMARK's weights as the run did that left them."""
    from octathlon.harness.imports import swift_imports

    _check_memory()
    with swift_imports():
        from octathlon.harness.evaluation import evaluate_weights

        classes = registry.benchmark_class(benchmark), registry.benchmark_settings(benchmark)
    evaluate_weights(benchmark, classes, weights, data, device, threads)


@octathlon.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--ranks", type=click.IntRange(1, names.MOST_CORES), required=True)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def launch(ranks: int, command: tuple[str, ...]) -> None:
    """Run COMMAND (octathlon train ... or rehearse ...) as so many ranks on this machine; they end together."""
    from octathlon.harness.launch import launch

    launch(command, ranks)


@octathlon.command()
@click.argument("benchmarks", nargs=-1, metavar="[BENCHMARK]...")
@click.option(
    "--data", type=INPUT_FOLDER, help="A prepared data set, for one benchmark; default: made-up data."
)
@SCALE
@SETTINGS
@SEEDED
@DEVICE
@THREADS
@click.option(
    "--accelerators",
    type=click.IntRange(1),
    help="Of the system that runs are forecast for, each with its part of the batch; default: those of the rehearsal.",
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 86_400),
    default=20,
    show_default=True,
    help="To measure each benchmark; building and compiling come on top.",
)
@click.option("--json", "output", type=OUTPUT_FILE, help="Where all that was measured goes.")
def rehearse(benchmarks: tuple[str, ...], output: Path | None, **options: Any) -> None:
    """Measure what steps of each BENCHMARK (default: all) take here, and forecast its runs. Alone or under launch."""
    from octathlon.rehearsal.command import Plan, rehearse_all

    _check_memory()
    if options["data"]:
        if len(benchmarks) != 1:
            raise OctathlonError("--data: name the one benchmark that trains on them")
        _check_data(benchmarks[0], options["data"])
    rehearse_all(list(benchmarks) or registry.benchmarks(), Plan(**options), output)


def _check_memory() -> None:
    """Refuse a limit so low that libraries break without a word."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if resource.RLIM_INFINITY != limit < LEAST_MEMORY:
        raise OctathlonError(
            f"the limit on memory (ulimit -v) is {limit >> 20} MiB; allow at least {LEAST_MEMORY >> 20} MiB"
        )


def _check_data(benchmark: str, folder: Path | None) -> None:
    """Refuse to train on nothing, or on another data set than the benchmark's."""
    from octathlon.receipts import read_json

    needed = registry.dataset_of(benchmark)
    found = read_json(folder / "manifest.json").get("dataset") if folder else None
    if needed and found != needed:
        raise OctathlonError(
            f"--data: {benchmark} trains on prepared data of {needed}, not on {found or 'none'}; name their folder, "
            f"which `octathlon prepare {needed}` writes"
        )


@octathlon.command()
@click.argument("name", type=SYSTEM)
@click.option("--output", type=OUTPUT_FILE, required=True)
@OWNER
@click.option("--division", type=click.Choice(names.DIVISIONS), default="open", show_default=True)
@STATUS
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--accelerators",
    type=click.IntRange(0),
    help="Of each node, for a run; default: as many as this one has.",
)
@click.option("--fields", type=MAPPING, default="{}", help="Fields laid over what is detected.")
def system(name: str, output: Path, fields: dict[str, Any], **facts: Any) -> None:
    """Describe this machine as the system NAME of a submission."""
    from octathlon.receipts import write_json
    from octathlon.scoring.describe import describe_system

    write_json(output, describe_system(name, overrides=fields, **facts))


@octathlon.command()
@click.argument("scores", type=INPUT_FILE)
@click.option("--systems", type=INPUT_FOLDER, help="The folder of system descriptions.")
@click.option("--html", type=OUTPUT_FILE, required=True)
@click.option("--scale", type=click.Choice(registry.SCALES), help="Of the runs; the scores do not say it.")
@click.option("--rehearsal", "rehearsals", type=INPUT_FILE, multiple=True, help="JSON of octathlon rehearse.")
def report(
    scores: Path, systems: Path | None, html: Path, scale: str | None, rehearsals: tuple[Path, ...]
) -> None:
    """Draw the page from SCORES (scores.json)."""
    from octathlon.report.page import write_page

    write_page(scores, systems, html, scale, rehearsals)


for command in (score, compare, check, package):
    octathlon.add_command(command)


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit code 1, not in a traceback."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a log's encoding may lack the letters of a name
    try:
        octathlon()
    except OctathlonError as error:
        click.echo(f"octathlon: {error}", err=True)
        _flush()
        sys.exit(1)
    finally:
        gc.freeze()  # or Python, as it ends, would look for garbage in all of PyTorch, for a second


def _flush() -> None:
    """Write what is still to be printed. For what nobody has room Python, as it ends, would try again, and from 3.14 on
    choose the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
