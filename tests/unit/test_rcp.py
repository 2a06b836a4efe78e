"""The RCP test against the worked example of the rules, the published numbers and the official data."""

import contextlib
import csv
import io
import json
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from mlperf_logging.rcp_checker.rcp_checker import RCP_Checker, submission_runs
from scipy.special import stdtrit

from octathlon.scoring import rcp
from octathlon.scoring.rules import load_round

RUNS = {"bert": 10, "dlrm": 5, "maskrcnn": 5, "resnet": 5, "rnnt": 10, "ssd": 5, "unet3d": 40}
DROP = {"unet3d": 4}
EXPECTED = list(csv.DictReader((Path(__file__).parents[1] / "golden/rcps_v1.1.csv").open()))

# training_rules.adoc, the example of the section on RCPs: five runs are submitted.
EXAMPLE = [
    rcp.Reference(128, *rcp.trim([16, 14, 16, 17, 16, 16, 15, 16, 15, 16], 1)),
    rcp.Reference(256, *rcp.trim([20, 21, 21, 20, 22, 22, 21, 21, 20, 20], 1)),
]


@pytest.mark.parametrize(
    ("batch_size", "mean", "stdev", "speedup", "minimum"),
    [(128, 15.75, 0.43, 3.53, 15.21), (256, 20.75, 0.66, 4.12, 19.93), (192, 18.25, 0.547, 3.68, None)],
)
def test_worked_example_of_the_rules(batch_size, mean, stdev, speedup, minimum):
    point = rcp.at_batch_size(EXAMPLE, batch_size, 5)
    assert point.mean == mean
    assert point.stdev == pytest.approx(stdev, abs=0.005)
    assert 100 * (point.max_speedup(5) - 1) == pytest.approx(speedup, abs=0.006)
    if minimum:
        assert point.minimum(5) == pytest.approx(minimum, abs=0.005)


@pytest.mark.parametrize(
    ("batch_size", "epochs", "flag"),
    [
        (128, [15, 15, 15, 16, 16], "pass"),
        (256, [19, 19, 19, 20, 21], "fail"),
        (192, [17, 18, 18, 18, 20], "pass"),
        (512, [25, 25, 25, 25, 25], "missing"),
        (64, [16, 16, 16, 16, 16], "pass"),
        (64, [14, 14, 14, 14, 14], "missing"),
        (128, [15, 15, 15, 15, math.inf], "fail"),
        (128, [16, 16, 16, math.inf, math.inf], "missing"),
    ],
)
def test_outcomes_of_the_worked_example(monkeypatch, batch_size, epochs, flag):
    monkeypatch.setattr(rcp, "references", lambda _benchmark, _drop: EXAMPLE)
    verdict = rcp.check_convergence("resnet", batch_size, epochs, 1)
    assert verdict.flag == flag
    if flag == "fail":
        assert f"{verdict.mean:.6g}" in verdict.words
        assert f"{verdict.minimum:.6g}" in verdict.words


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: f"{row['benchmark']}-{row['batch_size']}")
def test_published_reference_points(row):
    benchmark = row["benchmark"]
    points = {point.batch_size: point for point in rcp.references(benchmark, DROP.get(benchmark, 1))}
    point, runs = points[int(row["batch_size"])], RUNS[benchmark]
    assert point.count == int(row["references"]) - 2 * DROP.get(benchmark, 1)
    found = {
        "mean": point.mean,
        "stdev": point.stdev,
        "minimum": point.minimum(runs),
        "max_speedup": point.max_speedup(runs),
    }
    for column, value in found.items():
        digits = len(row[column].partition(".")[2])
        assert value == pytest.approx(float(row[column]), abs=0.5000001 * 10**-digits), column


@pytest.mark.parametrize("freedom", range(1, 120))
def test_the_quantile_of_students_t_is_scipys(freedom):
    assert rcp.student_quantile(freedom) == pytest.approx(stdtrit(freedom, 0.95), rel=1e-12)


def test_all_reference_points_are_the_official_ones():
    folder = files("mlperf_logging") / "rcp_checker" / "training_1.1.0"
    ours = rcp.rule_data.load("rcps_v1.1")
    for benchmark in RUNS:
        records = json.loads((folder / f"rcps_{benchmark}.json").read_text()).values()
        official = {record["BS"]: record["Epochs to converge"] for record in records}
        assert {record["batch_size"]: record["converged"] for record in ours[benchmark]} == official
    assert len(EXPECTED) == sum(len(records) for records in ours.values())


@pytest.mark.parametrize(
    "name", ["v2.1", "v4.0", "v4.1", "v5.0", "v5.1"]
)  # v3.0 and v3.1 are of the tool of their day
def test_the_points_of_later_rounds_are_the_official_ones(name):
    folder = files("mlperf_logging") / "rcp_checker" / f"training_{name[1:]}.0"
    ours = rcp.rule_data.load(f"rcps_{name}")
    assert ours.keys() == load_round(name).tasks.keys() - {"minigo"}
    for benchmark, points in ours.items():
        records = json.loads((folder / f"rcps_{benchmark}.json").read_text()).values()
        official = {
            each["BS"]: each.get("Epochs to converge") or each["samples to converge"] for each in records
        }
        assert {point["batch_size"]: point["converged"] for point in points} == official


@pytest.mark.parametrize("name", ["v2.1", "v4.0", "v4.1", "v5.0", "v5.1"])
def test_factors_are_those_of_the_official_tool(name):
    """At batch sizes of references, below, between and above them; from far too fast to too slow."""
    for benchmark, points in rcp.rule_data.load(f"rcps_{name}").items():
        if benchmark not in submission_runs["training"]:  # dlrm: today's tool has forgotten it
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            official = RCP_Checker("training", f"{name[1:]}.0", benchmark, False)
        task = load_round(name).tasks[benchmark]
        sizes = sorted(point["batch_size"] for point in points)
        between = [(low + high) // 2 for low, high in pairwise(sizes)]
        for batch_size in {*sizes, *between, sizes[0] // 2 or 1}:
            record = official_record(official, batch_size)
            for pace in (0.5, 0.9, 0.97, 0.999, 1.1):
                epochs = [record["RCP Mean"] * pace * (1 + wave / 100) for wave in range(-2, 3)]
                epochs = (epochs * task.runs)[: task.runs]
                passed, factor = official._eval_submission_record(dict(record), list(epochs), "")
                ours = rcp.normalisation(name, benchmark, batch_size, epochs, task.drop)
                assert ours == pytest.approx(factor if passed else 1.0, rel=1e-9), (
                    benchmark,
                    batch_size,
                    pace,
                )
        assert rcp.normalisation(name, benchmark, sizes[-1] + 1, [1.0] * task.runs, task.drop) is None


def official_record(checker, batch_size):
    """What check_directory of the official tool takes."""
    if found := checker._find_rcp(batch_size, "pruned_rcps"):
        return found
    low, high = (
        find(batch_size, "pruned_rcps") for find in (checker._find_top_min_rcp, checker._find_bottom_max_rcp)
    )
    return (
        checker._create_interp_rcp(batch_size, low, high)[1] if low else checker._find_min_rcp("pruned_rcps")
    )


def test_zero_spread_forgives_rounding():
    assert rcp.check_convergence("dlrm", 71680, [2.0, 1.9999999, 2.0, 1.9999999, 2.0], 1).flag == "pass"
    assert rcp.check_convergence("dlrm", 71680, [1.95, 1.95, 1.95, 2.0, 2.0], 1).flag == "fail"


def test_minigo_is_exempt():
    assert rcp.check_convergence("minigo", 4096, [40.0] * 10, 1).flag == "exempt"
