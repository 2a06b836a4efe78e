"""Every entry of the real results trees, v0.5 to v1.1, against its known result."""

import csv
import io
import math
import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from octathlon.scoring import rule_data
from octathlon.scoring.check import check_path
from octathlon.scoring.commands import score
from octathlon.scoring.entries import score_filing, score_paths
from octathlon.scoring.filing import file_folder
from octathlon.scoring.rules import load_round
from octathlon.scoring.runs import read_logs
from octathlon.scoring.tables import to_csv
from octathlon.scoring.tree import find_folders

ROUNDS = {"v0.5": 20, "v0.6": 60, "v0.7": 111, "v1.0": 84, "v1.1": 122}
"""Round -> entries at hand."""
DOCS = Path(__file__).resolve().parents[2] / "docs"
SHARED = DOCS.parents[1] / "shared" / "rounds"


@pytest.fixture(scope="module")
def scored(results_tree):
    done = {}

    def score(round_name):
        if round_name not in done:
            done[round_name] = score_paths([results_tree(round_name)])
        return done[round_name]

    return score


@pytest.mark.parametrize("round_name", ROUNDS)
def test_every_entry_equals_the_known_result(scored, expected_rows, round_name):
    entries, skipped = scored(round_name)
    assert (len(entries), skipped) == (ROUNDS[round_name], [])
    known = expected_rows(round_name)
    assert {entry.folder for entry in entries} == {row["folder"] for row in known}
    assert_known(entries, known)


@pytest.mark.parametrize("round_name", ["v0.6", "v0.7"])
def test_irregular_folders_equal_the_known_results(results_tree, expected_rows, round_name):
    """submission.json beside results, logs without a benchmark's folder, the time of a checkpoint."""
    entries, _ = score_paths([results_tree(round_name, "odd")])
    assert_known(entries, expected_rows(round_name, "odd"))


def assert_known(entries, known):
    """Each known column, and the score to 1e-9 minutes. A known cell is empty where its maker did not read
    the description of the system (one of v0.6 that is not JSON)."""
    ours = {row["folder"]: row for row in csv.DictReader(io.StringIO(to_csv(entries)))}
    for row in known:
        mine, score = ours[row["folder"]], row.pop("score_minutes")
        known_cells = {name: cell for name, cell in row.items() if cell}
        assert {name: mine[name] for name in known_cells} == known_cells
        assert bool(mine["score_minutes"]) == bool(score), row["folder"]
        if score:
            assert math.isclose(float(mine["score_minutes"]), float(score), rel_tol=0, abs_tol=1e-9), row[
                "folder"
            ]
        else:
            assert mine["reason"]


@pytest.mark.parametrize("round_name", ROUNDS)
def test_the_results_that_ship_with_the_package_are_those_of_the_command(results_tree, round_name, tmp_path):
    """docs/scoring.md gives the command; the table of docs/v1.1-part.md is what it prints. Of v1.0 and v1.1 the
    results of other organisations ship too, whose logs are not at hand."""
    tree, table = results_tree(round_name), tmp_path / "scores.csv"
    printed = CliRunner().invoke(score, [str(tree), "--csv", str(table)], catch_exceptions=False)
    ours = table.read_text().splitlines()
    shipped = (rule_data.ROUNDS / f"published_{round_name}.csv").read_text().splitlines()
    assert [row for row in shipped if row in set(ours)] == ours
    assert len(shipped) - len(ours) == {"v1.0": 64, "v1.1": 61}.get(round_name, 0)
    if round_name == "v1.1":
        assert printed.stdout == (DOCS / "v1.1-part.md").read_text()


@pytest.mark.parametrize("round_name", ["v1.0", "v1.1"])
def test_every_published_score_ships_with_the_package(round_name):
    path = SHARED / "published" / f"{round_name}.csv"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the repository")
    known, shipped = (
        {row["folder"]: row["score_minutes"] for row in csv.DictReader(each.read_text().splitlines())}
        for each in (path, rule_data.ROUNDS / f"published_{round_name}.csv")
    )
    assert known.items() <= shipped.items()


def test_every_log_of_the_round_keeps_its_rules(results_tree):
    """v1.1 was published after its checks: ours finds no error in it, and the official checker of today does."""
    reports = list(check_path(results_tree("v1.1")))
    assert [(report.path, report.errors) for report in reports if report.errors] == []
    flags = [finding.words for report in reports for finding in report.findings if finding.rule == "rcp"]
    assert len(flags) == 5


@pytest.mark.parametrize(
    ("framework", "benchmark", "rate", "rounding"),
    [
        ("mxnet", "resnet", 3293, 0.5),
        ("mxnet", "ssd", 1528, 0.5),
        ("pytorch", "maskrcnn", 75.1, 0.05),
        ("mxnet", "unet3d", 34.9, 0.05),
        ("pytorch", "rnnt", 966, 0.5),
        ("pytorch", "bert", 288, 0.5),  # samples over time: its logs state none
        ("merlin_hugectr", "dlrm", 4.60e6, 0.005e6),
    ],
)
def test_throughputs_are_those_known_of_eight_accelerators(scored, framework, benchmark, rate, rounding):
    (entry,) = [
        entry
        for entry in scored("v1.1")[0]
        if (entry.system, entry.benchmark) == (f"dgxa100_ngc21.09_{framework}", benchmark)
    ]
    assert abs(entry.samples_per_second_and_accelerator - rate) <= rounding


def test_what_the_round_waived_is_a_flag(scored):
    """v1.1 only warned about weights_initialization: of 680 runs here, as today's official checker finds."""
    waived = [flag for entry in scored("v1.1")[0] for flag in entry.flags if flag.startswith("waived")]
    runs = [re.fullmatch(r"waived: weights_initialization \((\d+) of \d+ runs\)", flag) for flag in waived]
    assert sum(int(match[1]) for match in runs) == 680
    assert not any(flag.startswith("waived") for entry in scored("v1.0")[0] for flag in entry.flags)


def test_runs_over_the_initialisation_limit_do_not_count(scored):
    over = [
        (entry.org, entry.benchmark, run.log.path.name)
        for entry in scored("v1.1")[0]
        for run in entry.runs
        if run.reason.startswith("initialisation took")
    ]
    assert over == [("Dell", "minigo", "result_8.txt"), ("Dell", "minigo", "result_7.txt")]


def test_a_failed_runs_own_clock_never_counts(scored):
    """An aborted run that is faster than every valid one must not be dropped as the fastest."""
    for entry in scored("v1.1")[0]:
        failed = {index for index, run in enumerate(entry.runs) if not run.converged}
        assert failed <= set(entry.score.high)


def test_the_order_of_the_files_does_not_matter(results_tree):
    folders, _ = find_folders([results_tree("v1.1") / "NVIDIA"], load_round("v1.1").tasks.__contains__)
    rng = random.Random(1)
    for folder in folders:
        logs = list(read_logs(folder.logs).values())
        shuffled = rng.sample(logs, len(logs))
        rules = load_round("v1.1")
        scores = [score_filing(file_folder(folder, each, rules)).score.minutes for each in (logs, shuffled)]
        assert scores[0] == scores[1]


def test_scoring_writes_nothing_into_the_tree(results_tree):
    def state(tree):
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in tree.rglob("*")}

    tree = results_tree("v0.5")
    before = state(tree)
    score_paths([tree])
    assert state(tree) == before
