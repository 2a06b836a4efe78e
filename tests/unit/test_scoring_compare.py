"""Rounds side by side, and what was announced of them."""

import math

import pytest

from octathlon.scoring.claims import claims_table, fastest_in, greatest_speedup, organisations, results_filed
from octathlon.scoring.compare import (
    Result,
    best_results,
    comparison,
    load,
    moore,
    published_files,
    same_target,
)
from octathlon.scoring.rules import load_round


def result(round_name="v1.1", org="A", benchmark="resnet", minutes=10.0, accelerators=8, division="closed"):
    return Result(round_name, org, "s", division, benchmark, accelerators, minutes)


def test_the_best_result_of_each_round():
    results = [
        result(minutes=3),
        result(minutes=2, org="B"),
        result(minutes=math.nan),
        result("v1.0", minutes=5),
    ]
    assert {name: each.minutes for name, each in best_results(results)["resnet", "closed"].items()} == {
        "v1.1": 2,
        "v1.0": 5,
    }


def test_the_cheapest_result_is_that_of_the_fewest_accelerator_minutes():
    results = [
        result(minutes=1, accelerators=100),
        result(minutes=20, accelerators=4),
        result(minutes=1, accelerators=0),
    ]
    best = best_results(results, "accelerator_minutes")
    assert best["resnet", "closed"]["v1.1"].accelerator_minutes == 80


def test_moores_law_doubles_in_two_years():
    """v1.0 to v1.1: 154 days, 5.06 months of 24."""
    assert moore(load_round("v1.0"), load_round("v1.1")) == pytest.approx(2 ** (154 / 730.5), rel=1e-12)


@pytest.mark.parametrize(
    ("benchmark", "old", "new", "same"),
    [
        ("resnet", "v0.5", "v0.6", False),
        ("resnet", "v0.6", "v1.1", True),
        ("bert", "v0.7", "v1.0", False),
        ("transformer", "v0.6", "v0.7", True),  # 25 BLEU, then 0.25
        ("gnmt", "v0.5", "v0.6", False),
    ],
)
def test_targets_that_changed_between_rounds(benchmark, old, new, same):
    assert same_target(benchmark, load_round(old), load_round(new)) is same


def test_a_speedup_is_marked_where_the_target_changed():
    text = comparison([result("v0.5", minutes=40), result("v0.6", minutes=10), result("v0.7", minutes=5)])
    assert "| resnet | closed | 4.00 \\* | 2.00 | 8.00 \\* |" in text


def test_claims_are_measured():
    results = [
        result("v1.0", "nvidia", minutes=10),
        result("v1.1", "NVIDIA", minutes=4),
        result("v1.1", "B", minutes=5),
        result("v1.1", "B", "ssd", minutes=1),
        result("v1.1", "B", "ssd", minutes=0.5, division="open"),
    ]
    assert fastest_in(results, "v1.1", "NVIDIA").value == 1
    assert greatest_speedup(results, "v1.1", "v1.0").value == 2.5
    assert greatest_speedup(results, "v1.1", "v1.0", "NVIDIA").value == 2.5
    assert math.isnan(greatest_speedup(results, "v1.1", "v0.5").value)
    assert organisations(results, "v1.1").value == 2
    assert results_filed(results, "v1.1").value == 4


def test_a_claim_is_reproduced_only_within_its_rounding():
    def verdict(minutes):
        table = claims_table(
            [result("v1.0", minutes=10), result("v1.1", minutes=minutes)], load_round("v1.1")
        )
        (row,) = [row for row in table.splitlines() if "2.3 times" in row]
        return row.split(" | ")[2]

    assert verdict(10 / 2.3) == "reproduced"
    assert verdict(10 / 2.2) == verdict(10 / 2.5) == "not reproducible from these logs"


def test_the_published_results_come_with_the_package():
    results = [each for path in published_files() for each in load(path)]
    rounds = [each.round for each in results]
    assert [rounds.count(name) for name in ("v0.5", "v0.6", "v0.7", "v1.0", "v1.1")] == [20, 60, 111, 84, 122]
    assert best_results(results)["resnet", "closed"]["v1.0"].minutes == pytest.approx(
        0.229, abs=5e-4
    )  # 13.7 seconds
