"""The RCP test against the worked example of the rules, the published numbers and the official data."""

import csv
import json
import math
from importlib.resources import files
from pathlib import Path

import pytest
from scipy.special import stdtrit

from octathlon.scoring import rcp

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


def test_zero_spread_forgives_rounding():
    assert rcp.check_convergence("dlrm", 71680, [2.0, 1.9999999, 2.0, 1.9999999, 2.0], 1).flag == "pass"
    assert rcp.check_convergence("dlrm", 71680, [1.95, 1.95, 1.95, 2.0, 2.0], 1).flag == "fail"


def test_minigo_is_exempt():
    assert rcp.check_convergence("minigo", 4096, [40.0] * 10, 1).flag == "exempt"
