"""All eight benchmarks on one accelerator, each with its part of a system of eight, and with other settings for speed.

    PYTHONPATH=src python benchmarks/gpu/rehearse.py --device cuda --minutes 8 --output rehearsals.json

Each rehearsal is a process of its own, so that none inherits another's memory, and is cut off after its share of the
time. First all of them as a run would be, then one for each variant, as long as there is time. What came out is written
anew after each, and at most 1 MB; docs/rehearsal.md says how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from octathlon import registry

ACCELERATORS = 8
LARGEST = 1_000_000
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("unet3d", {"precision": "fp32"}),
    ("rnnt", {"precision": "bf16"}),
    ("rnnt", {"gradient_accumulation_steps": 8}),
    ("bert", {"gradient_accumulation_steps": 2}),
    ("maskrcnn", {"gradient_accumulation_steps": 2}),
]


def rehearse(
    benchmark: str, settings: dict[str, Any], options: argparse.Namespace, limit: float
) -> dict[str, Any]:
    """What `octathlon rehearse` measured; where it failed, the end of what it said."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "facts.json")
        command = [sys.executable, "-W", "ignore", "-m", "octathlon.cli", "rehearse", benchmark]
        command += ["--scale", options.scale, "--device", options.device, "--json", str(output)]
        command += ["--accelerators", str(options.accelerators), "--settings", json.dumps(settings)]
        command += [
            "--seconds",
            str(options.seconds),
            "--threads",
            str(os.cpu_count() if options.device == "cuda" else 1),
        ]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(limit, 1), check=False)
            words = done.stderr[-2000:]
        except subprocess.TimeoutExpired:
            words = f"cut off after {limit:.0f} s"
        found = json.loads(output.read_text()) if output.exists() else {"error": words}
    return found | {"took_s": round(time.perf_counter() - start, 1), "settings": settings}


def main() -> None:
    """Rehearse, and print a line for each as it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--scale", default="full", choices=registry.SCALES)
    parser.add_argument("--accelerators", type=int, default=ACCELERATORS, help="of which one is rehearsed on")
    parser.add_argument("--seconds", type=int, default=10, help="for measuring each")
    parser.add_argument("--minutes", type=float, default=8, help="for all together")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("benchmarks", nargs="*", default=registry.benchmarks())
    options = parser.parse_args()
    deadline = time.monotonic() + options.minutes * 60
    plan = [(name, {}) for name in options.benchmarks]
    plan += [variant for variant in VARIANTS if variant[0] in options.benchmarks]
    found: list[dict[str, Any]] = []
    for number, (name, settings) in enumerate(plan):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        first_round = number < len(options.benchmarks)
        limit = 2 * left / (len(options.benchmarks) - number) if first_round else left
        found.append({"benchmark": name} | rehearse(name, settings, options, min(limit, left)))
        text = json.dumps(found, indent=1)
        options.output.write_text(text if len(text) <= LARGEST else json.dumps(found)[:LARGEST])
        print(line(found[-1]), flush=True)


def line(found: dict[str, Any]) -> str:
    """One rehearsal in a line."""
    head = f"{found['benchmark']} {found['settings'] or ''} ({found['took_s']} s):"
    facts = found.get("benchmarks", {}).get(found["benchmark"], found)
    if "error" in facts:
        return f"{head} {facts['error']}"
    training = facts["training"]
    return (
        f"{head} batch {facts['local_batch']}, {training['median_s'] * 1000:.4g} ms, "
        f"{training['samples_per_s']:,.5g} samples/s, {training['share_of_gemm']:.0%} of GEMM, "
        f"{sum(training['synchronisations'].values())} syncs, "
        f"{training.get('device_bytes', training['host_bytes']) / 1e9:.1f} GB"
    )


if __name__ == "__main__":
    main()
