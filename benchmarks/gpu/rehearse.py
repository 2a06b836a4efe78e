"""All eight benchmarks on one accelerator, each with its part of a system of eight, and with other settings for speed.

    PYTHONPATH=src python benchmarks/gpu/rehearse.py --device cuda --minutes 8 --output rehearsals.json

Each rehearsal is a process of its own, so that none inherits another's memory. A few at a time make up their data and
compile; then one of them has the device to be measured. First all benchmarks as a run would be, then one for each
variant, as long as there is time. What came out is written anew after each; docs/rehearsal.md says how to read it. The
exit code is 1 if an update waited for the device more often than its benchmark must.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from octathlon import registry
from octathlon.rehearsal.table import needless_waits

ACCELERATORS = 8
AT_A_TIME = 4
"""Rehearsals: one is measured, the others get ready."""
COMPILERS = 2
"""Processes that compile for each: the one that is measured needs a core, too."""
BENCHMARKS = ("maskrcnn", "unet3d", "minigo", "resnet", "bert", "ssd", "rnnt", "dlrm")
"""Those first that take longest to get ready."""
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {"decode_on_device": True}),
    ("dlrm", {"cuda_graph": True}),
    ("rnnt", {"precision": "fp32"}),
    ("minigo", {"compile": "default"}),
    ("bert", {"compile": "none"}),
    ("unet3d", {"compile": "none"}),
    ("maskrcnn", {"compile": "none"}),
    ("ssd", {"compile": "none"}),
    ("resnet", {"compile": "none"}),
]


class Turn:
    """The device, for one process at a time; a killed one has left it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "turn"

    def __enter__(self) -> None:
        self._file = self._path.open("a")
        fcntl.lockf(self._file, fcntl.LOCK_EX)  # worker processes don't inherit it

    def __exit__(self, *_: object) -> None:
        self._file.close()


def rehearse(
    name: str, settings: dict[str, Any], options: argparse.Namespace, folder: Path, stem: str
) -> None:
    """`octathlon rehearse` for one benchmark: facts in `stem`.json, words in `stem`.txt."""
    words = (folder / f"{stem}.txt").open("w")
    os.dup2(words.fileno(), sys.stdout.fileno())
    os.dup2(words.fileno(), sys.stderr.fileno())
    warnings.simplefilter("ignore")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(COMPILERS))
    from octathlon.rehearsal.command import Plan, rehearse_all

    plan = Plan(
        scale=options.scale,
        overrides=settings,
        data=None,
        device=options.device,
        threads=1,
        accelerators=options.accelerators,
        seconds=options.seconds,
        seed=1,
        turn=Turn(folder),
    )
    rehearse_all([name], plan, folder / f"{stem}.json")


def facts_of(folder: Path, stem: str) -> dict[str, Any]:
    """What a finished rehearsal measured; where it failed, the end of what it said."""
    facts, words = folder / f"{stem}.json", folder / f"{stem}.txt"
    if facts.exists():
        return json.loads(facts.read_text())
    return {"error": words.read_text()[-2000:] if words.exists() else "not begun"}


def main() -> None:
    """Rehearse, and print a line for each as it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--scale", default="full", choices=registry.SCALES)
    parser.add_argument("--accelerators", type=int, default=ACCELERATORS, help="of which one is rehearsed on")
    parser.add_argument("--seconds", type=int, default=8, help="for measuring each")
    parser.add_argument("--minutes", type=float, default=8, help="for all together")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("benchmarks", nargs="*", default=BENCHMARKS)
    options = parser.parse_args()
    plan = [(name, {}) for name in options.benchmarks]
    plan += [variant for variant in VARIANTS if variant[0] in options.benchmarks]
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for facts in rehearse_side_by_side(plan, options, Path(folder)):
            found.append(facts)
            options.output.write_text(json.dumps(found, indent=1))
            print(line(facts), flush=True)
    sys.exit("\n".join(waits(found)) or 0)


def rehearse_side_by_side(
    plan: Sequence[tuple[str, dict[str, Any]]], options: argparse.Namespace, folder: Path
) -> Iterator[dict[str, Any]]:
    """The facts of each rehearsal of the plan, as they end; those that time runs out on are stopped, or not begun."""
    start = time.monotonic()
    deadline = start + options.minutes * 60
    spawn = multiprocessing.get_context("spawn")
    waiting, running = deque(range(len(plan))), {}

    def told(number: int, facts: dict[str, Any]) -> dict[str, Any]:
        name, settings = plan[number]
        return {
            "benchmark": name,
            "settings": settings,
            "ended_s": round(time.monotonic() - start, 1),
        } | facts

    while waiting or running:
        while waiting and len(running) < AT_A_TIME:
            number = waiting.popleft()
            process = spawn.Process(target=rehearse, args=(*plan[number], options, folder, str(number)))
            process.start()
            running[process.sentinel] = number, process
        ended = wait(list(running), max(deadline - time.monotonic(), 0))
        for sentinel in ended:
            number, process = running.pop(sentinel)
            process.join()
            yield told(number, facts_of(folder, str(number)))
        if not ended:
            for number, process in running.values():
                process.kill()
                process.join()
                yield told(number, {"error": "time ran out"})
            yield from (told(number, {"error": "time ran out"}) for number in waiting)
            return


def waits(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A sentence for each of the rehearsals in which an update waited needlessly."""
    for each in found:
        for name, facts in each.get("benchmarks", {}).items():
            if "error" not in facts and (sentence := needless_waits(name, facts)):
                yield f"{sentence} {each['settings'] or ''}".rstrip()


def line(found: dict[str, Any]) -> str:
    """One rehearsal in a line."""
    head = f"{found['benchmark']} {found['settings'] or ''} ({found['ended_s']} s):"
    facts = found.get("benchmarks", {}).get(found["benchmark"], found)
    if "error" in facts:
        return f"{head} {facts['error']}"
    training, epoch = facts["training"], facts["epoch"]
    played = f", self-play {epoch['positions_per_s']:,.5g} positions/s" if epoch else ""
    return (
        f"{head} batch {facts['local_batch']}, {training['median_s'] * 1000:.4g} ms, "
        f"{training['samples_per_s']:,.5g} samples/s, {training['share_of_gemm']:.0%} of GEMM, "
        f"{training['kernels']['count']} kernels busy {training['kernels']['busy_s'] * 1000:.4g} ms, "
        f"{sum(training['synchronisations'].values())} syncs, ready in {facts['ready_s']:.3g} s, "
        f"{training.get('device_bytes', training['host_bytes']) / 1e9:.1f} GB{played}"
    )


if __name__ == "__main__":
    main()
