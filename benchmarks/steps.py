"""A training step and an evaluation of every benchmark beside its peers', at full model size, in one run.

    python benchmarks/steps.py                          # all eight, beside the packages that are installed
    python benchmarks/steps.py --reference training     # and beside the reference, a checkout of mlcommons/training
    python benchmarks/steps.py --output results/steps.md && python docs/generate.py steps    # the table in the docs

A benchmark is built through its contract on made-up data, as for a rehearsal, and so are its peers, see `peers.py`. A
step is a whole update of a small batch; an evaluation is that of the few samples that LOADS gives. Figures are CPU
seconds of one thread in fp32 (subnormal numbers are zero), nothing compiled, medians of rounds in which ours and the
peers take turns; the ratio is the peer's time by ours. A peer that can't be imported is named and left out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peers import OURS, PEERS
from timing import conditions, seconds

from octathlon import registry
from octathlon.config import resolve
from octathlon.contracts import Benchmark, Run
from octathlon.harness.seeds import seed_alike
from octathlon.harness.trainer import StepTrainer, evaluate
from octathlon.receipts import read_json

Work = Callable[[], object]


@dataclass(frozen=True)
class Load:
    """How much one step and one evaluation have to do."""

    batch: int
    evaluated: int
    synthetic: Mapping[str, int] = field(default_factory=dict)
    """Of the made-up data, see `synthetic` in a data set's full.yaml."""
    settings: Mapping[str, Any] = field(default_factory=dict)


CPU = {"channels_last": False}
"""Where that is faster on one."""
LOADS = {
    "resnet": Load(4, 4, {"train": 64, "pictures": 8}, CPU),
    "unet3d": Load(1, 1, {"cases": 1, "depth": 128, "height": 128, "width": 128}, CPU),
    "ssd": Load(2, 2, {"train": 64, "pictures": 8}, CPU),
    "maskrcnn": Load(1, 1, {"train": 64, "pictures": 8}, CPU),
    "rnnt": Load(2, 2, {"train": 64}),
    "bert": Load(2, 2, {"samples": 20}),
    "dlrm": Load(2048, 8192, {"train": 65536, "rows": 65536}),
    "minigo": Load(64, 64, {"positions": 200}, {"eval_games": 64}),
}
"""At full scale."""
TINY = Load(4, 4)
"""At mini scale."""
SHARE = 1 / 64
"""Of dlrm's embedding tables, which are too large for one machine."""


def workload(name: str, scale: str) -> Load:
    return LOADS[name] if scale == "full" else TINY


def prepare(name: str, scale: str, folder: Path) -> tuple[Any, Run]:
    """Settings of a small batch, and a run on made-up data."""
    chosen = workload(name, scale)
    synthetic = chosen.synthetic | {"eval" if name == "minigo" else "evaluated": chosen.evaluated}
    data = resolve("datasets", registry.dataset_of(name), scale, {"synthetic": synthetic})
    over = {"global_batch_size": chosen.batch, "gradient_accumulation_steps": 1, "precision": "fp32"}
    over |= {"compile": "none", "loader_workers": 0, "division": "open"} | chosen.settings
    settings = resolve("benchmarks", name, scale, over)
    settings = registry.synthetic(name).write(folder, settings, data, SHARE)
    manifest = read_json(folder / "manifest.json")
    return settings, Run(seed=1, device=torch.device("cpu"), data=folder, manifest=manifest)


def works(benchmark: Benchmark) -> dict[str, Work]:
    """A training step and an evaluation."""
    seed_alike(1)
    model = benchmark.build_model()
    trainer = StepTrainer(benchmark, model, *benchmark.build_optimizer(model), events=None)
    batch = next(iter(benchmark.train_batches(1)))

    def train() -> None:
        model.train()
        trainer.step(batch)

    return {"training": train, "evaluation": partial(evaluate, benchmark, model)}


def peers_of(name: str, reference: Path | None) -> dict[str, type[Benchmark]]:
    """The peers that can be imported; the others are named."""
    found = {}
    for peer, make in PEERS[name].items():
        try:
            found[peer] = make(reference)
        except (ImportError, OSError) as error:  # a library may lack another one
            print(f"{name}: {peer} is not there ({error})")
    return found


def medians(contestants: Mapping[str, Work], repeats: int) -> dict[str, float]:
    """CPU seconds of each. They take turns, so that other load meets all; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, work in contestants.items():
            times[name].append(seconds(work))
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def compare(name: str, scale: str, reference: Path | None, repeats: int) -> list[tuple[str, ...]]:
    """Rows of the table, one for each peer and kind of work; ours alone where there is no peer."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings, run = prepare(name, scale, Path(folder))
        ours = works(OURS[name](settings, run))
        peers = {peer: works(make(settings, run)) for peer, make in peers_of(name, reference).items()}
        for kind, work in ours.items():
            taken = medians({"": work} | {peer: each[kind] for peer, each in peers.items()}, repeats)
            samples = settings.global_batch_size if kind == "training" else workload(name, scale).evaluated
            mine = taken.pop("")
            head = (name, kind, str(samples), f"{mine:.3g}")
            rows += [(*head, peer, f"{took:.3g}", f"{took / mine:.2f}") for peer, took in taken.items()]
            rows += [] if taken else [(*head, "", "", "")]
    for row in rows:
        print(line(row), flush=True)
    return rows


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def document(rows: list[tuple[str, ...]], repeats: int) -> str:
    """What was measured where and when, and what the peers are."""
    makers = [(name, peer, make) for name, found in PEERS.items() for peer, make in found.items()]
    there = {(row[0], row[4]) for row in rows}
    notes = [
        f"* {name}, {peer}: {' '.join(make.__doc__.split())}"
        for name, peer, make in makers
        if (name, peer) in there
    ]
    return "\n".join(
        [
            conditions(repeats),
            "",
            *table(rows),
            "",
            *notes,
            "",
        ]
    )


def table(rows: list[tuple[str, ...]]) -> list[str]:
    head = ("benchmark", "step", "samples", "ours, CPU s", "peer", "its CPU s", "ratio")
    return [line(head), line(["---"] * len(head)), *map(line, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--benchmarks", nargs="+", default=registry.benchmarks(), choices=registry.benchmarks()
    )
    parser.add_argument(
        "--scale", default="full", choices=registry.SCALES, help="mini: only to try this script"
    )
    parser.add_argument(
        "--reference", type=Path, help="a checkout of mlcommons/training; its models are full-size"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds that count")
    parser.add_argument("--output", type=Path, help="a file for the table (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # some CPUs take 50 times as long over subnormal numbers, of which untrained networks make more than trained ones
    torch.set_flush_denormal(True)
    warnings.simplefilter("ignore")
    rows = []
    for name in options.benchmarks:
        rows += compare(name, options.scale, options.reference, options.repeats)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(document(rows, options.repeats))


if __name__ == "__main__":
    main()
