"""minigo in several processes: ranks that share a run, and runs that share the compiled kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from minigo_data import draw_archives, prepare_all

pytestmark = pytest.mark.slow

PROGRAMS = Path(sys.executable).parent
FEW = {
    "min_selfplay_games": 7,
    "eval_games": 5,
    "readouts": 4,
    "fast_readouts": 4,
    "eval_readouts": 4,
    "target_readouts": 4,
    "global_batch_size": 8,
    "cadence": {"first": 1, "limit": 3},
    "target": {"win_rate": 1.0},
}


def events(log: Path) -> list[dict]:
    return [json.loads(line.removeprefix(":::MLLOG ")) for line in log.read_text().splitlines()]


def test_two_ranks_share_games_training_and_evaluation(tmp_path: Path) -> None:
    data = prepare_all(draw_archives(tmp_path / "archives", games=7), tmp_path / "prepared")
    log = tmp_path / "result_0.txt"
    launch = [PROGRAMS / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"]
    train = [
        PROGRAMS / "octathlon",
        "train",
        "minigo",
        "--data",
        data,
        "--output",
        log,
        "--settings",
        json.dumps(FEW),
    ]
    subprocess.run([*launch, *train], check=True, timeout=500, capture_output=True)
    logged = events(log)
    games = [each["value"] for each in logged if each["key"] == "actual_selfplay_games_per_generation"]
    assert games == [7] * (2 + 3 + 3)
    rates = [each["value"] for each in logged if each["key"] == "eval_accuracy"]
    assert len(rates) == 3 and all(round(rate * 5, 9) in range(6) for rate in rates)


def test_processes_that_compile_at_once_get_along(tmp_path: Path) -> None:
    """From an empty cache: one compiles, the other waits and loads; a third one later compiles nothing."""
    code = (
        "from octathlon.benchmarks.minigo import rules;"
        "from octathlon.benchmarks.minigo.compiled import compiling;"
        "board, go, chains = rules.empty_board(5), rules.geometry(5), rules.empty_chains(5);\n"
        "with compiling(): rules.find_chains(board, go, chains); rules.place(board, go, chains, 3, 1)\n"
        "print(*(sum(each.stats.cache_misses.values()) for each in (rules.find_chains, rules.place)))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    pair = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    compiled = sorted(process.communicate(timeout=500)[0] for process in pair)
    assert [process.returncode for process in pair] == [0, 0]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")}
    assert files and compiled == ["0 0\n", "1 1\n"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=500)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")} == files
