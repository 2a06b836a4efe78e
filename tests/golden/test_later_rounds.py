"""Every entry of the rounds after v1.1, and of MLPerf HPC, that is at hand, against its known result."""

import csv
import io
import json
import logging
import math
import random
import re
import shutil

import pytest
from mlperf_logging.compliance_checker import mlp_compliance

from octathlon.scoring import rule_data
from octathlon.scoring.check import check_path
from octathlon.scoring.checker import check_log
from octathlon.scoring.entries import score_paths
from octathlon.scoring.rules import load_round
from octathlon.scoring.tables import to_csv

ROUNDS = ["v2.0", "v2.1", "v3.0", "v3.1", "v4.0", "v4.1", "v5.0", "v5.1"]
HPC = ["hpc_v1.0", "hpc_v2.0", "hpc_v3.0"]
EXACT = ("score_minutes", "unscaled_minutes", "scaling_factor", "energy_joules")
"""To 1e-9, relative where above 1."""


OTHER_FACTORS = {
    "v3.0": {
        "16-nodes-SPR-pytorch",
        "HLS-Gaudi2-N32-PT",
        "HLS-Gaudi2-PT",
        "HLS-Gaudi2-TF",
    },  # faster, not scaled
    "v3.1": {"AS-4125GS-TNRT-RedHat-OpenShift"},
    "v4.0": {"cloud-tpu-v5p-3072-maxtext"},
}
"""Systems of which a result was published with another factor than the official tool computes."""


@pytest.mark.parametrize("round_name", ROUNDS)
def test_committed_factors_follow_from_the_reference_points(results_tree, round_name):
    entries, _ = score_paths([results_tree(round_name)])
    scaled = [entry for entry in entries if entry.scaling_factor not in (None, 1)]
    flagged = {entry.system for entry in entries if any("scaling_factor" in flag for flag in entry.flags)}
    assert scaled and flagged == OTHER_FACTORS.get(round_name, set())


@pytest.mark.parametrize("round_name", [*ROUNDS, *HPC])
def test_every_entry_equals_the_known_result(results_tree, expected_rows, round_name):
    entries, _ = score_paths([results_tree(round_name)])
    known = expected_rows(round_name)
    ours = {row["folder"]: row for row in csv.DictReader(io.StringIO(to_csv(entries)))}
    assert ours.keys() == {row["folder"] for row in known}
    assert {row["round"] for row in ours.values()} == {round_name.replace("_", "-")}
    if round_name in ROUNDS:
        assert to_csv(entries) == (rule_data.ROUNDS / f"published_{round_name}.csv").read_text()
    for row in known:
        mine = ours[row["folder"]]
        for name in EXACT:
            assert bool(mine[name]) == bool(row[name]), (row["folder"], name)
            if row[name]:
                assert math.isclose(float(mine[name]), float(row[name]), rel_tol=1e-9, abs_tol=1e-9), row
        for name in ("org", "division", "accelerators", "benchmark", "runs", "missing", "converged"):
            assert mine[name] == row[name], (row["folder"], name)


PARTS = [*ROUNDS, "hpc_v1.0", "hpc_v3.0"]


@pytest.fixture(scope="module")
def ten_parts(results_tree, tmp_path_factory):
    """A folder with some results of each of ten rounds side by side."""
    folder = tmp_path_factory.mktemp("ten")
    for name in PARTS:
        tree = results_tree(name)
        for log in sorted(tree.glob("*/results/**/result*0.txt"))[::40]:
            shutil.copytree(log.parent, folder / name / log.parent.relative_to(tree), dirs_exist_ok=True)
        for systems in {path.parent for path in tree.glob("*/systems/*.json")}:
            if (folder / name / systems.parent.relative_to(tree)).is_dir():
                shutil.copytree(systems, folder / name / systems.relative_to(tree))
    return folder


def test_parts_side_by_side_are_each_of_their_round(ten_parts, expected_rows):
    entries, _ = score_paths([ten_parts])
    known = {(name, row["folder"]): row["score_minutes"] for name in PARTS for row in expected_rows(name)}
    assert {entry.filing.folder.root.name for entry in entries} == set(PARTS)
    for entry in entries:
        name = entry.filing.folder.root.name
        assert (entry.round, entry.filing.guess) == (name.replace("_", "-"), "")
        assert math.isclose(entry.score.minutes, float(known[name, entry.folder]), rel_tol=1e-9)


def test_the_check_of_parts_side_by_side_finds_no_error_in_what_was_published(ten_parts):
    reports = list(check_path(ten_parts))
    assert {report.path.relative_to(ten_parts).parts[0] for report in reports} == set(PARTS)
    assert [(report.path, report.errors) for report in reports if report.errors] == []


def official(path, series, ruleset):
    """Whether the official checker accepts a log; it raises on a value that it cannot compare."""
    checker = mlp_compliance.make_checker(series, ruleset, quiet=True, werror=False)
    mlp_compliance.enqueued_configs.clear()
    try:
        return mlp_compliance.main(str(path), f"{series}_{ruleset}/common.yaml", checker)[0]
    except TypeError:
        return False


def with_value(line, value):
    start = line.index(":::MLLOG ") + len(":::MLLOG ")
    return line[:start] + json.dumps(json.loads(line[start:]) | {"value": value})


def faults(text, rng):
    """Logs with one fault each: a hyperparameter, or a whole kind of events, is missing or has another value."""
    lines = [line for line in text.splitlines() if ":::MLLOG " in line]
    found = [re.search(r'"key": "(\w+)"', line)[1] for line in lines]
    keys = sorted(set(found) - {"submission_division", "submission_benchmark", "throughput", "tracked_stats"})
    for key in rng.sample(keys, min(5, len(keys))):
        yield f"no {key}", [line for line, name in zip(lines, found, strict=True) if name != key]
    for key in rng.sample([key for key in keys if found.count(key) == 1 and "_" in key], 5):
        changed = [
            with_value(line, 0.123) if name == key else line for line, name in zip(lines, found, strict=True)
        ]
        yield f"{key} is 0.123", changed


@pytest.mark.parametrize("round_name", [name for name in PARTS if name != "v2.1"])
def test_faults_are_those_that_the_official_checker_refuses(ten_parts, round_name, tmp_path, monkeypatch):
    """Not in v2.1, whose file was changed after the round."""
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    rng, path = random.Random(1), tmp_path / "result_0.txt"
    rules = load_round(round_name.replace("_", "-"))
    for folder in {
        log.parent.name: log.parent for log in (ten_parts / round_name).rglob("result*.txt")
    }.values():
        log = min(folder.glob("result*.txt"), key=lambda each: each.stat().st_size)
        for fault, lines in faults(log.read_text(errors="replace"), rng):
            path.write_text("\n".join(lines))
            broken = [each.rule for each in check_log(path, rules.name) if each.severity == "error"]
            assert official(path, rules.series, rules.ruleset) == (not broken), (folder, fault, broken)


def test_a_damaged_line_is_no_reason_to_drop_a_run_and_the_other_value_stands_beside(results_tree):
    entries, _ = score_paths([results_tree("v4.1") / "Lambda"], "v4.1")
    (entry,) = entries
    assert math.isclose(entry.score.minutes, 8.2171125, abs_tol=1e-9)
    assert any("8.222960416666666" in flag for flag in entry.flags)


def test_a_contested_result_says_so_in_the_check_and_other_damage_of_it_still_counts(results_tree, tmp_path):
    folder = "Lambda/results/lambda_1cc_n4_H100-SXM-80GB_ngc24.04_nemo/llama2_70b_lora"
    shutil.copytree(results_tree("v4.1") / "Lambda", tmp_path / "Lambda")
    contested = [
        each.words
        for report in check_path(tmp_path, round_name="v4.1")
        for each in report.findings
        if each.rule == "score.contested"
    ]
    assert len(contested) == 1
    assert "8.222960416666666" in contested[0]
    log = sorted((tmp_path / folder).glob("result*.txt"))[0]
    log.write_text("\n".join(line for line in log.read_text().splitlines() if '"lora_rank"' not in line))
    (entry,), _ = score_paths([tmp_path], "v4.1")
    assert entry.runs[0].reason == "breaks a rule: lora_rank.count: missing"
