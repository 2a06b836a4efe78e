"""What bf16 costs in training: how many evaluations the miniatures take to their targets in it, and in fp32.

    PYTHONPATH=src python benchmarks/precision.py [--data data/mini] [--seeds N] [BENCHMARK ...]

Whole runs on one core, a process each, on the data that `make` has prepared. The table goes to results/precision.md,
from where docs/generate.py takes it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from octathlon import registry
from octathlon.scoring.runs import read_log
from octathlon.scoring.text import markdown_table

PRECISIONS = ("fp32", "bf16")


def evaluations(name: str, precision: str, seed: int, data: Path) -> str:
    """How many a run took to the target, or that it gave up."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "result_0.txt"
        command = [
            *(Path(sys.executable).with_name("octathlon"), "train", name, "--output", log),
            *("--data", data / registry.dataset_of(name) / "prepared", "--seed", str(seed)),
            *("--settings", json.dumps({"precision": precision})),
        ]
        subprocess.run(command, check=True, capture_output=True)
        run = read_log(log)
    return str(len(run.evaluations)) if "success" in run.statuses else f"not in {len(run.evaluations)}"


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data/mini"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("benchmarks", nargs="*", default=registry.benchmarks())
    options = parser.parse_args()
    rows = []
    for name in options.benchmarks:
        seeds = range(1, options.seeds + 1)
        found = [[evaluations(name, each, seed, options.data) for seed in seeds] for each in PRECISIONS]
        rows.append([name, *map(", ".join, found)])
        print(*rows[-1], sep=" | ", flush=True)
    Path("results").mkdir(exist_ok=True)
    table = markdown_table(["benchmark", *PRECISIONS], rows)
    Path("results/precision.md").write_text(table)


if __name__ == "__main__":
    main()
