"""Preparations of 1, 4 and 16 times the same data, and what the real size would take on 2, 64 and 1,000 cores.

python benchmarks/scaling.py [--output FILE] [DATASET...]    # then: python docs/generate.py scaling

Archives are drawn as miniatures, so pictures and recordings are small and cost more for each byte than real ones. Each
step is a process of its own, which takes it four times: the first time with all that a start costs, then ROUNDS times,
of which the cheapest counts at the real size, as other work on the machine only adds. A unit is a megabyte of archives.
What a step costs at the real size is what it costs more at 16 than at 4 times, for each megabyte. The steps of one kind
share their work evenly, in as many as full.yaml says; kinds, and before them the digests of the archives, follow each
other, so no number of cores takes less than the largest digest and one step of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

from timing import conditions, figure, seconds

from octathlon import registry
from octathlon.archives.sources import declared
from octathlon.config import resolve

SIZES = {
    "imagenet": {"train_per_class": 20, "val_per_class": 10},
    "coco": {"train_images": 48, "val_images": 24},
    "librispeech": {"utterances": 1, "dev_utterances": 1},
    "click_logs": {"rows_per_day": 8000, "last_day_rows": 8000},
}
"""What of a miniature grows, and how large it is at 1 time. kits19 and minigo_models have archives of unknown size;
wikipedia's miniature starts elsewhere than its full scale."""
CORES_OF_STEP = {("click_logs", "scan"): 2}
"""Steps that keep more than one core busy, and how many the workflow gives them."""
TIMES = (1, 4, 16)
ROUNDS = 3
CORES = (2, 64, 1000)
MEGABYTE = 1e6
COMMAND = """
import json
import re
import sys
from pathlib import Path
from time import process_time
from octathlon.cli import octathlon

marks = [0]
for _ in range(int(sys.argv[1])):
    octathlon(sys.argv[2:], standalone_mode=False)
    marks.append(process_time())
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps([[after - before for before, after in zip(marks, marks[1:])], peak / 1024]))
"""
"""`octathlon` some times, and what it took: the system's own count of a child's memory begins with its parent's."""
HEADERS = (
    "| data set | archives (MB) | CPU seconds | CPU seconds per MB | most memory of a step (MiB) |\n"
    "| --- | ---: | ---: | ---: | ---: |",
    "| data set | real archives (GB) | longest step (hours) | hours on 2 cores | on 64 | on 1,000 |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |",
)


class Measured(NamedTuple):
    """A preparation: megabytes of archives, CPU seconds, and the most memory of a step in MiB."""

    size: float
    total: float
    """Of all steps."""
    steady: Counter[str]
    """By kind of step, in processes that have started."""
    memory: float


def prepared(dataset: str, times: int) -> Measured:
    """Draw a miniature and prepare it."""
    changes = {"miniature": {key: times * value for key, value in SIZES[dataset].items()}}
    settings = resolve("datasets", dataset, "mini", changes)
    steady: Counter[str] = Counter()
    total = memory = 0.0
    with tempfile.TemporaryDirectory() as name:
        archives = Path(name, "archives")
        archives.mkdir()
        preparer = registry.preparer(dataset)
        for archive in preparer.archives(settings):
            registry.miniature(dataset).draw(archive, archives, seed=1, **settings.miniature)
        options = [f"--archives={archives}", f"--out={name}/out", f"--settings={json.dumps(changes)}"]
        for kind, steps in {**preparer.steps(settings), "manifest": ["manifest"]}.items():
            for step in steps:
                (first, *later), peak = ended(["prepare", dataset, step, *options])
                total += first
                steady[kind] += min(later)
                memory = max(memory, peak)
        size = sum(path.stat().st_size for path in archives.rglob("*") if path.is_file()) / MEGABYTE
    return Measured(size, total, steady, memory)


def ended(words: list[str]) -> tuple[list[float], float]:
    """CPU seconds of an `octathlon` command, the first time and ROUNDS more times, and MiB of memory."""
    command = [sys.executable, "-c", COMMAND, str(1 + ROUNDS), *words]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        raise SystemExit(f"octathlon {' '.join(words)}: failed")
    return json.loads(process.stdout.splitlines()[-1])


def projected(dataset: str, four: Measured, sixteen: Measured) -> str:
    """The row of the real size."""
    settings = resolve("datasets", dataset, "full", {})
    known = declared(dataset, registry.sources(dataset))
    sources = [known[name] for name in registry.preparer(dataset).archives(settings)]
    total = sum(source.bytes or 0 for source in sources) / MEGABYTE
    jobs = {kind: len(steps) for kind, steps in registry.preparer(dataset).steps(settings).items()}
    digests = [digest_seconds(source.algorithm) * source.bytes / MEGABYTE for source in sources]
    work, longest = [sum(digests)], [max(digests)]
    for kind in sixteen.steady:
        added = sixteen.steady[kind] - four.steady[kind]
        work.append(max(added, 0) / (sixteen.size - four.size) * total)
        longest.append(work[-1] / jobs.get(kind, 1) / CORES_OF_STEP.get((dataset, kind), 1))
    hours = [
        sum(max(all_ / cores, one) for all_, one in zip(work, longest, strict=True)) / 3600 for cores in CORES
    ]
    return row(dataset, total / 1000, max(longest) / 3600, *hours)


@cache
def digest_seconds(algorithm: str) -> float:
    """CPU seconds for a megabyte."""
    data, digest = bytes(1 << 20), hashlib.new(algorithm, usedforsecurity=False)
    return min(seconds(lambda: [digest.update(data) for _ in range(64)]) for _ in range(3)) / 64 / 1.048576


def row(*cells: str | float) -> str:
    return "| " + " | ".join(cell if isinstance(cell, str) else figure(cell) for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("datasets", nargs="*", default=list(SIZES), metavar="DATASET", help=", ".join(SIZES))
    parser.add_argument("--output", type=Path, help="a file for the tables (Markdown)")
    options = parser.parse_args()
    grown, real = [], []
    for dataset in options.datasets:
        found = {}
        for times in TIMES:
            size, spent, _, memory = found[times] = prepared(dataset, times)
            grown.append(row(f"{dataset}, {times} times", size, spent, spent / size, memory))
            print(grown[-1], flush=True)
        real.append(projected(dataset, found[4], found[16]))
        print(real[-1], flush=True)
    text = "\n".join([conditions(1), "", HEADERS[0], *grown, "", HEADERS[1], *real, ""])
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)


if __name__ == "__main__":
    main()
