"""Rehearsals as a table, for the terminal and the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octathlon.scoring.text import markdown_table

HEADER = [
    *(
        "benchmark",
        "batch",
        "ms",
        "p95",
        "samples/s",
        "of GEMM",
        "syncs",
        "GB",
        "optimizer",
        "loss",
        "exchange",
    ),
    *("eval/s", "load/s", "workers", "run", "all runs", "published", "limited by"),
]
"""Batch: of one accelerator at a time. ms: of an update, median and 95th percentile. GB: of the device, or of the host
without one. eval/s, load/s: samples, the latter of one process. Published: the median entry of as many accelerators."""

WAITS = {"maskrcnn": 2}
"""How often an update waits for the device where a benchmark can't do without; others never wait. maskrcnn asks how
much there is of what it has drawn, and, on a GPU, whether its suppression is done."""


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each benchmark that could be rehearsed, and a sentence for each other."""
    lines = [row(name, facts) for name, facts in results.items() if "error" not in facts]
    errors = [f"{name}: {facts['error']}" for name, facts in results.items() if "error" in facts]
    return "\n".join([markdown_table(HEADER, lines), *errors]) if lines else "\n".join(errors)


def row(name: str, facts: Mapping[str, Any]) -> list[str]:
    """The cells of a benchmark's line."""
    training, forecast, evaluation = facts["training"], facts["forecast"], facts["evaluation"]
    shares = training["shares"]
    return [
        name,
        _batch(facts),
        f"{training['median_s'] * 1000:.4g}",
        f"{training['p95_s'] * 1000:.4g}",
        f"{training['samples_per_s']:,.4g}",
        f"{training['share_of_gemm']:.0%}",
        str(sum(training["synchronisations"].values())),
        f"{training.get('device_bytes', training['host_bytes']) / 1e9:.1f}",
        *(f"{shares[part]:.0%}" if part in shares else "" for part in ("optimizer", "loss", "exchange")),
        f"{evaluation['samples_per_s']:,.4g}" if evaluation else "",
        f"{facts['loader']['samples_per_s']:,.4g}",
        str(forecast["workers"]),
        *(_duration(forecast[key]) if key in forecast else "" for key in ("run_s", "all_runs_s")),
        _duration(forecast["published"]["median_s"]) if forecast["published"] else "",
        forecast["limited_by"],
    ]


def needless_waits(name: str, facts: Mapping[str, Any]) -> str | None:
    """Where a benchmark's update waits for the device, in words, if that is more often than it must; else None."""
    found, most = facts["training"]["synchronisations"], WAITS.get(name, 0)
    if sum(found.values()) <= most:
        return None
    places = ", ".join(f"{place} ({count})" for place, count in found.items())
    return f"{name}: an update waits for the device {sum(found.values())} times, not {most}: at {places}"


def _batch(facts: Mapping[str, Any]) -> str:
    wanted, fits = facts["wanted_local_batch"], facts["local_batch"]
    return str(fits) if fits == wanted else f"{fits} (not {wanted}: out of memory)"


def _duration(seconds: float) -> str:
    """In the unit that suits it: 12.3 s, 4.5 min, 6.7 h."""
    for unit, size, limit in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 96)):
        if seconds < size * limit:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds / 86400:,.1f} d"
