"""Rounds side by side, and what was announced of them."""

import csv
import io
import math
from itertools import count

import pytest

from octathlon.scoring.claims import claims_table, fastest_in, greatest_speedup, organisations, results_filed
from octathlon.scoring.compare import comparison, to_csv
from octathlon.scoring.history import lines, moore
from octathlon.scoring.results import (
    Result,
    best_results,
    load,
    merged,
    organisation,
    parts,
    published,
    published_files,
)
from octathlon.scoring.rules import load_round

FOLDERS = count()


def result(round_name="v1.1", org="A", benchmark="resnet", minutes=10.0, accelerators=8, division="closed"):
    folder = str(next(FOLDERS))
    return Result(round_name, org, "s", division, benchmark, "GPU", accelerators, minutes, math.nan, folder)


def text_of(results, small=()):
    return "\n".join(table.markdown() for table in comparison(results, small))


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


def test_weak_scaling_is_not_about_minutes():
    assert best_results([result("hpc-v2.0", benchmark="deepcam:weak")]) == {}


def test_moores_law_doubles_in_two_years():
    """v1.0 to v1.1: 154 days, 5.06 months of 24."""
    assert moore(load_round("v1.0"), load_round("v1.1")) == pytest.approx(2 ** (154 / 730.5), rel=1e-12)


def test_a_line_breaks_where_the_task_changes_and_goes_on_under_another_name():
    results = [
        result("v1.0", benchmark="ssd", minutes=8),
        result("v1.1", benchmark="ssd", minutes=4),
        result("v2.0", benchmark="ssd", minutes=90),
        result("v5.0", benchmark="retinanet", minutes=30),
        result("v5.0", benchmark="retinanet", minutes=1, division="open"),
    ]
    (line,) = lines(results)
    assert line.benchmark == "ssd, retinanet"
    before, after = line.stretches
    assert [point.rules.name for point in after.points] == ["v2.0", "v5.0"]
    assert before.why == "" and "RetinaNet" in after.why
    assert after.points[1].speedup(after.points[0]) == 3


def test_speedups_are_of_one_task_and_beside_moores_law():
    text = text_of([result("v0.5", minutes=40), result("v0.6", minutes=10), result("v1.0", minutes=4)])
    assert "| resnet |  | 2.50 |\n" in text
    assert "| resnet | v0.6 | v1.0 | 10.000 | 4.000 | 2.50 | 1.98 | 2.50 |" in text
    assert "| resnet | v0.6 | another target: accuracy 0.759 instead of accuracy 0.749 |" in text


def test_a_small_part_of_a_round_gives_no_speedup():
    results = [result("v1.0", minutes=40), result("v2.0", minutes=10)]
    assert parts(results) == {"v2.0"}
    assert "Speed-up" in text_of(results)
    assert "Speed-up" not in text_of(results, parts(results))
    assert parts([*results, *(result("v2.0") for _ in range(130))]) == set()


def test_the_csv_has_a_row_for_the_best_of_each_round():
    results = [
        result("v0.6", minutes=12.0),
        result("v1.0", "B", minutes=4.0, accelerators=100),
        result("v1.0", "C", minutes=30.0, accelerators=2),
    ]
    first, second = csv.DictReader(io.StringIO(to_csv(results)))
    assert (second["org"], second["score_minutes"], second["published"]) == ("B", "4.0", "2021-06-30")
    assert (second["accelerator_minutes_org"], second["accelerator_minutes"]) == ("C", "60.0")
    assert (second["speedup_since"], second["speedup"], second["accelerator_speedup"]) == (
        "v0.6",
        "3.0",
        "1.6",
    )
    assert (first["speedup"], first["not_comparable"]) == ("1.0", "")


def test_names_of_one_organisation_are_one():
    names = ("SUPERMICRO", "smc-ac-power", "krai", "Quanta_Cloud_Technology", "nvidia", "Azure+NVIDIA")
    assert [organisation(name) for name in names] == [
        *("Supermicro", "Supermicro", "Krai", "QCT", "NVIDIA", "Azure+NVIDIA")
    ]


def test_the_last_of_several_results_of_a_folder_counts():
    old = result(minutes=3)
    new = Result(*(getattr(old, name) for name in Result.__slots__[:7]), 2.0, math.nan, old.folder)
    other = Result("v1.0", *(getattr(old, name) for name in Result.__slots__[1:]))
    assert merged([old, other, new]) == [new, other]


def test_claims_are_measured():
    results = [
        result("v1.0", "NVIDIA", minutes=10),
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
        return next(row[2] for row in table.rows if "2.3 times" in row[0])

    assert verdict(10 / 2.3) == "reproduced"
    assert verdict(10 / 2.2) == verdict(10 / 2.5) == "not reproducible from these logs"


def test_the_published_results_come_with_the_package():
    rounds = [path.stem.removeprefix("published_") for path in published_files()]
    assert rounds[:5] == ["v0.5", "v0.6", "v0.7", "v1.0", "v1.1"] and rounds[-1] == "v5.1"
    assert [len(load(path)[0]) for path in published_files()[:5]] == [20, 60, 111, 148, 183]
    assert best_results(published())["resnet", "closed"]["v1.0"].minutes == pytest.approx(
        0.229, abs=5e-4
    )  # 13.7 seconds


def test_what_was_announced_is_reproduced_but_for_the_logs_that_are_not_there():
    rows = claims_table(published(), load_round("v1.1")).rows
    assert [row[2] for row in rows] == [
        *("reproduced", "reproduced", "not reproducible from these logs", "reproduced", "reproduced")
    ]
