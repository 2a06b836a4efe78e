"""Scoring a results tree: ours beside mlperf_logging's summarizer, on one tree, in one run.

    python benchmarks/scoring.py TREE [EXPECTED.csv]

TREE holds the organisations of one round of MLPerf Training, v1.0 or later. EXPECTED.csv, with the columns
folder and score_minutes, says which entries each gets right; without it they are only counted. Both start
from a warm cache, and both times include the start of the process. The peer works on a copy, because it
writes into the tree it reads.
"""

from __future__ import annotations

import csv
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from octathlon.scoring.rules import load_round

TOLERANCE = 1e-6
"""Minutes by which a right score may differ."""

PEER = """
import json, sys, pathlib
from mlperf_logging.result_summarizer.result_summarizer import summarize_results

scores = {}
for org in map(pathlib.Path, sys.argv[3:]):
    try:
        rows = summarize_results(str(org), "training", sys.argv[2])[0].to_dict("records")
    except Exception as error:
        print(f"peer on {org.name}: {type(error).__name__}: {error}", file=sys.stderr)
        continue
    for row in rows:
        system = row["details_url"].rpartition("/")[2].removesuffix(".json")
        found = {name: value for name, value in row.items() if isinstance(value, float)}
        scores |= {f"{org.name}/results/{system}/{name}": value for name, value in found.items()}
pathlib.Path(sys.argv[1]).write_text(json.dumps(scores))
"""

OURS = "ours.csv"
Scores = dict[str, float]
"""Folder in the tree -> minutes."""


def ours(tree: Path, work: Path) -> Scores:
    """By `octathlon score`."""
    table = work / OURS
    run(
        sys.executable,
        "-m",
        "octathlon.cli",
        "score",
        tree,
        "--csv",
        table,
        log=work / "ours.log",
        cwd=Path.cwd(),
    )
    return read_scores(table)


def peer(tree: Path, work: Path) -> Scores:
    """By mlperf_logging, one organisation after the other."""
    table = work / "peer.json"
    organisations = sorted(path.parent for path in tree.glob("*/results"))
    command = (sys.executable, "-c", PEER, table, ruleset(work / OURS), *organisations)
    run(*command, log=work / "peer.log", cwd=work)
    return {folder: score for folder, score in json.loads(table.read_text()).items() if math.isfinite(score)}


def ruleset(table: Path) -> str:
    """That of the round which most of our scores are of."""
    with table.open(newline="") as file:
        rounds = Counter(row["round"] for row in csv.DictReader(file) if row["round"])
    return load_round(max(rounds, key=rounds.get)).ruleset


def run(*command: str | Path, log: Path, cwd: Path) -> None:
    with log.open("w") as file:
        subprocess.run(command, check=True, stdout=file, stderr=file, cwd=cwd)


def read_scores(table: Path) -> Scores:
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["score_minutes"]]
    return {row["folder"]: float(row["score_minutes"]) for row in rows}


def timed(score: Callable[[Path, Path], Scores], tree: Path, work: Path) -> tuple[Scores, float, float]:
    """The scores, wall seconds, and CPU seconds of all processes."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    scores = score(tree, work)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return scores, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(name: str, scores: Scores, expected: Scores | None, wall: float, cpu: float) -> None:
    print(f"{name}: {wall:.2f} s wall, {cpu:.2f} s CPU, {len(scores)} scores")
    if expected is None:
        return
    right = [
        folder for folder in expected if abs(scores.get(folder, math.inf) - expected[folder]) <= TOLERANCE
    ]
    missing, more = sorted(expected.keys() - scores.keys()), scores.keys() - expected.keys()
    print(f"  {len(right)} of {len(expected)} right, {len(missing)} missing, {len(more)} not expected")
    for folder in missing:
        print(f"    missing: {folder}")
    for folder in sorted(expected.keys() & scores.keys() - set(right)):
        print(f"    wrong: {folder}: {scores[folder]} instead of {expected[folder]}")


def main(tree: Path, expected: Scores | None) -> None:
    logs = list(tree.glob("*/results/*/*/result*.txt"))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        copy = shutil.copytree(tree, work / "copy")  # also warms the cache
        print(f"{tree}: {len(logs)} logs, {sum(log.stat().st_size for log in logs) / 1e6:.0f} MB")
        own, own_wall, own_cpu = timed(ours, tree, work)
        report("octathlon score", own, expected, own_wall, own_cpu)
        other, other_wall, other_cpu = timed(peer, copy, work)
        report("mlperf_logging.result_summarizer", other, expected, other_wall, other_cpu)
        print(f"ratio: {other_wall / own_wall:.0f} by the clock, {other_cpu / own_cpu:.0f} in CPU")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve(), read_scores(Path(sys.argv[2])) if len(sys.argv) == 3 else None)
