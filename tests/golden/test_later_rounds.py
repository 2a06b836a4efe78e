"""Every entry of the rounds after v1.1, and of MLPerf HPC, that is at hand, against its known result."""

import csv
import io
import math

import pytest

from octathlon.scoring import rule_data
from octathlon.scoring.entries import score_paths
from octathlon.scoring.tables import to_csv

ROUNDS = ["v2.0", "v2.1", "v3.0", "v3.1", "v4.0", "v4.1", "v5.0", "v5.1"]
HPC = ["hpc_v1.0", "hpc_v2.0", "hpc_v3.0"]
EXACT = ("score_minutes", "unscaled_minutes", "scaling_factor", "energy_joules")
"""To 1e-9, relative where above 1."""


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


def test_parts_side_by_side_are_each_of_their_round(results_tree, tmp_path):
    for name in ("v2.1", "v4.1", "v5.1", "hpc_v1.0"):
        (tmp_path / name).symlink_to(results_tree(name))
    entries, _ = score_paths(sorted(tmp_path.iterdir()))
    assert {entry.round for entry in entries} == {"v2.1", "v4.1", "v5.1", "hpc-v1.0"}
    assert all(entry.filing.guess == "" for entry in entries)


def test_a_damaged_line_is_no_reason_to_drop_a_run_and_the_other_value_stands_beside(results_tree):
    entries, _ = score_paths([results_tree("v4.1") / "Lambda"], "v4.1")
    (entry,) = entries
    assert math.isclose(entry.score.minutes, 8.2171125, abs_tol=1e-9)
    assert any("8.222960416666666" in flag for flag in entry.flags)
