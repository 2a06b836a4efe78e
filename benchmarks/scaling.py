"""Preparations of 1, 4 and 16 times the same data, and what the real size would take on 2, 64 and 1,000 cores.

python benchmarks/scaling.py [--output FILE] [DATASET...]    # then: python docs/generate.py scaling

Archives are drawn as miniatures, so pictures and recordings are small and cost more for each byte than real ones. Each
step is a process of its own. A unit is a megabyte of archives. What a step costs at the real size is what it costs
more at 16 than at 4 times, for each megabyte: what start-ups take is not in it. The steps of one kind share their work
evenly, in as many as full.yaml says; kinds, and before them the digest of the largest archive, follow each other, so
no number of cores takes less than one step of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
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
    "click_logs": {"rows_per_day": 2000, "last_day_rows": 2000},
}
"""What of a miniature grows, and how large it is at 1 time. kits19 and minigo_models have archives of unknown size;
wikipedia's miniature starts elsewhere than its full scale."""
TIMES = (1, 4, 16)
CORES = (2, 64, 1000)
MEGABYTE = 1e6
COMMAND = """
import sys
from pathlib import Path
from octathlon.cli import octathlon

octathlon(sys.argv[1:], standalone_mode=False)
print(Path("/proc/self/status").read_text())
"""
"""`octathlon`, and what it took: the system's own count of a child's memory begins with its parent's."""
HEADERS = (
    "| data set | archives (MB) | CPU seconds | CPU seconds per MB | most memory of a step (MiB) |\n"
    "| --- | ---: | ---: | ---: | ---: |",
    "| data set | real archives (GB) | longest step (hours) | hours on 2 cores | on 64 | on 1,000 |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: |",
)


class Measured(NamedTuple):
    """A preparation: megabytes of archives, CPU seconds by kind of step, and the most memory of a step in MiB."""

    size: float
    spent: Counter[str]
    memory: float


def prepared(dataset: str, times: int) -> Measured:
    """Draw a miniature and prepare it."""
    changes = {"miniature": {key: times * value for key, value in SIZES[dataset].items()}}
    settings = resolve("datasets", dataset, "mini", changes)
    spent: Counter[str] = Counter()
    memory = 0.0
    with tempfile.TemporaryDirectory() as name:
        archives = Path(name, "archives")
        archives.mkdir()
        preparer = registry.preparer(dataset)
        for archive in preparer.archives(settings):
            registry.miniature(dataset).draw(archive, archives, seed=1, **settings.miniature)
        options = [f"--archives={archives}", f"--out={name}/out", f"--settings={json.dumps(changes)}"]
        for kind, steps in {**preparer.steps(settings), "manifest": ["manifest"]}.items():
            for step in steps:
                cost, peak = ended(["prepare", dataset, step, *options])
                spent[kind] += cost
                memory = max(memory, peak)
        size = sum(path.stat().st_size for path in archives.rglob("*") if path.is_file()) / MEGABYTE
    return Measured(size, spent, memory)


def ended(words: list[str]) -> tuple[float, float]:
    """CPU seconds and MiB of memory of an `octathlon` command."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *words], stdout=subprocess.PIPE, text=True)
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"octathlon {' '.join(words)}: failed")
    return usage.ru_utime + usage.ru_stime, int(re.search(r"VmHWM:\s+(\d+) kB", told)[1]) / 1024


def projected(dataset: str, four: Measured, sixteen: Measured) -> str:
    """The row of the real size."""
    settings = resolve("datasets", dataset, "full", {})
    known = declared(dataset, registry.sources(dataset))
    sources = [known[name] for name in registry.preparer(dataset).archives(settings)]
    sizes = {source.name: source.bytes or 0 for source in sources}
    total = sum(sizes.values()) / MEGABYTE
    jobs = {kind: len(steps) for kind, steps in registry.preparer(dataset).steps(settings).items()}
    work = {
        kind: max(sixteen.spent[kind] - four.spent[kind], 0) / (sixteen.size - four.size) * total
        for kind in sixteen.spent
    }
    digests = {source.name: digest_seconds(source.algorithm) * source.bytes / MEGABYTE for source in sources}
    steps = {kind: cost / jobs.get(kind, 1) for kind, cost in work.items()}
    chain = sum(steps.values()) + max(digests.values())
    everything = sum(work.values()) + sum(digests.values())
    hours = [max(everything / cores, chain) / 3600 for cores in CORES]
    longest = max(*steps.values(), *digests.values()) / 3600
    return row(dataset, total / 1000, longest, *hours)


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
            size, spent, memory = found[times] = prepared(dataset, times)
            grown.append(row(f"{dataset}, {times} times", size, spent.total(), spent.total() / size, memory))
            print(grown[-1], flush=True)
        real.append(projected(dataset, found[4], found[16]))
        print(real[-1], flush=True)
    text = "\n".join([conditions(1), "", HEADERS[0], *grown, "", HEADERS[1], *real, ""])
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text)


if __name__ == "__main__":
    main()
