"""Checkpoints at full scale: their size, how long an update waits for one, and how long a thread then writes it.

    PYTHONPATH=src python benchmarks/checkpoints.py [--folder FOLDER] [BENCHMARK ...]

Each benchmark is built by its settings, on a CPU, and has made an update of zeros; minigo's window is as full as that
of one rank of eight. The update's delay is given as a part of the time between two checkpoints: the mean step's delay.
dlrm's tables are only counted, those of the first rank of eight. The table goes to results/checkpoints.md, from where
docs/generate.py takes it.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from octathlon import registry
from octathlon.benchmarks.dlrm.model import DLRM
from octathlon.config import resolve
from octathlon.contracts import Benchmark, Run
from octathlon.datasets.click_logs.rows import INTEGERS
from octathlon.datasets.minigo_models.rows import row_type
from octathlon.harness.checkpoints import Checkpoints, Place
from octathlon.harness.events import Events
from octathlon.harness.trainer import StepTrainer
from octathlon.nn.embeddings import ShardedEmbeddings
from octathlon.receipts import read_json
from octathlon.scoring.text import markdown_table

RANKS = 8
FEW = {"train": 16, "evaluated": 8, "pictures": 4, "shards": 2, "samples": 600, "kept_games": 8, "cases": 1}
"""Of the made-up data, which are not trained on."""


def measure(name: str, folder: Path) -> tuple[int, float, float]:
    """Bytes, seconds that an update waits, seconds that the thread writes."""
    data = resolve("datasets", registry.dataset_of(name), "full", {})
    few = {key: FEW[key] for key in FEW.keys() & data.synthetic.keys()}
    data = data.model_copy(update={"synthetic": data.synthetic | few})
    over = {
        "compile": "none",
        "global_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "checkpoint_minutes": 1,
    }
    if name == "minigo":
        over |= {"selfplay_processes": 0}
    settings = resolve("benchmarks", name, "full", over)
    settings = registry.synthetic(name).write(folder, settings, data, 1)
    run = Run(
        seed=1,
        device=torch.device("cpu"),
        data=folder,
        manifest=read_json(folder / "manifest.json"),
        log=folder / "result_0.txt",
    )
    benchmark = registry.benchmark_class(name)(settings, run)
    trainer = updated(benchmark)
    if name == "minigo":
        fill(benchmark, data.synthetic["positions_per_game"])
    times = iter([0.0, 1000.0])
    checkpoints = Checkpoints(benchmark, lambda: next(times, 1000.0), {"ranks": 1}, None)
    with checkpoints.watching(trainer, Events([], lambda: 0.0), Place(0.0)):
        begun = time.perf_counter()
        checkpoints.stepped(trainer.progress)
        waited = time.perf_counter() - begun
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    written = time.perf_counter() - begun - waited
    (path,) = folder.glob(".result_0.checkpoint_*")
    return path.stat().st_size, waited, written


def updated(benchmark: Benchmark) -> StepTrainer:
    """A training of which the optimizer has all its state."""
    model = benchmark.build_model()
    optimizer, schedule = benchmark.build_optimizer(model)
    trainer = StepTrainer(benchmark, model, optimizer, schedule, events=None)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    benchmark.update(model, optimizer)
    optimizer.zero_grad()
    trainer.progress.steps = 1
    return trainer


def fill(benchmark: Benchmark, positions: int) -> None:
    """Give minigo's window the rows of one rank's games."""
    settings = benchmark.settings
    rows = np.zeros(settings.min_selfplay_games // RANKS * positions, row_type(settings.board_size))
    for _ in range(settings.window):
        benchmark._window.add(rows)


def counted() -> int:
    """Bytes of what one rank of dlrm has."""
    settings = resolve("benchmarks", "dlrm", "full", {})
    sizes = resolve("datasets", "click_logs", "full", {}).synthetic["table_sizes"]
    meta = torch.device("meta")
    tables = ShardedEmbeddings(sizes, settings.bottom_mlp[-1], world=RANKS, device=meta)
    model = DLRM(INTEGERS, settings.bottom_mlp, settings.top_mlp, tables, len(sizes), meta)
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where they are written; default: the temporary one")
    parser.add_argument("benchmarks", nargs="*", default=registry.benchmarks())
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.benchmarks:
        interval = 60 * resolve("benchmarks", name, "full", {}).checkpoint_minutes
        if name == "dlrm":
            rows.append([name, f"{counted():,}", "", "", ""])
            continue
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            size, waited, written = measure(name, Path(folder))
        share = f"{100 * waited / interval:.2f} %"
        rows.append([name, f"{size:,}", f"{waited:.2f}", share, f"{written:.1f}"])
        print(*rows[-1], flush=True)
    header = ["benchmark", "bytes of a rank", "an update waits (s)", "of the time", "written in (s)"]
    table = markdown_table(header, rows, header[1:])
    Path("results").mkdir(exist_ok=True)
    Path("results/checkpoints.md").write_text(table)
    print(table)


if __name__ == "__main__":
    main()
