"""`octathlon package`: complete, repeatable, accepted by our check and by the official one."""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from mlperf_logging.package_checker import package_checker
from training_logs import write_log as write_other_log

from octathlon import registry
from octathlon.errors import OctathlonError
from octathlon.scoring.check import check_path
from octathlon.scoring.check_commands import package
from octathlon.scoring.describe import describe_system
from octathlon.scoring.entries import score_paths

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import COUNTS, closed_log, write_log

FOLDER = "Us/results/box/resnet"
CODE = "Us/benchmarks/resnet/implementations/octathlon"


def open_log(number, status="success"):
    """A log as one of our own runs writes it: open division, a target of its own."""
    events = closed_log("resnet", number, status)
    for event in events:
        if event["key"] == "submission_division":
            event["value"] = "open"
        elif event["key"] == "submission_status":
            event["value"] = "research"
    return events


@pytest.fixture
def results(tmp_path):
    """A results tree of our own with one result of five runs."""
    tree = tmp_path / "results"
    for number in range(1, 6):
        write_log(tree / FOLDER / f"result_{number}.txt", open_log(number))
    describe(tree, division="open")
    return tree


def describe(tree, division):
    system = describe_system(
        "box", submitter="Us", division=division, status="research", nodes=1, overrides={}
    )
    (tree / "Us/systems").mkdir()
    (tree / "Us/systems/box.json").write_text(json.dumps(system))


def build(*arguments):
    return CliRunner().invoke(package, [str(each) for each in arguments], catch_exceptions=False)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_package_holds_descriptions_logs_and_code(results, tmp_path):
    out = tmp_path / "package"
    assert build(results, "--out", out).stdout == f"{out}: 1 results packaged\n"
    for part in ("Us/systems", "Us/results"):
        assert contents(out / part) == contents(results / part)
    assert {"README.md", "config.yaml", "pyproject.toml", "envs", "src"} <= {
        path.name for path in (out / CODE).iterdir()
    }
    assert (out / CODE / "src/octathlon/benchmarks/resnet/benchmark.py").is_file()
    assert "| Us | box | open |" in (out / "Us/README.md").read_text()
    assert "octathlon score" in (out / CODE / "README.md").read_text()
    assert not list(out.rglob("__pycache__"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package", "results"]


def test_the_packaged_code_runs(results, tmp_path):
    build(results, "--out", tmp_path / "package")
    code = tmp_path / "package" / CODE / "src"
    done = subprocess.run(
        [sys.executable, "-c", "import octathlon.registry as r; print(r.ROOT, r.benchmarks())"],
        env=os.environ | {"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == f"{code / 'octathlon'} {registry.benchmarks()}\n"


def test_our_own_check_accepts_the_package_fully(results, tmp_path):
    build(results, "--out", tmp_path / "package")
    reports = list(check_path(tmp_path / "package"))
    assert [finding for report in reports for finding in report.findings] == []
    assert len(reports) == 8  # the description, the organisation, five logs and their folder


def official(organisation, caplog):
    """What the official checker complains of; it may write into the tree and the current folder."""
    with caplog.at_level(logging.INFO):
        package_checker.check_training_package(
            str(organisation), "training", "1.1.0", False, False, False, False, False, "checker.log"
        )
    complaints = [record.message for record in caplog.records if record.levelno > logging.INFO]
    assert ("PACKAGE CHECKER FOUND NO ERRORS" in caplog.text) == (not complaints)
    return " ".join(complaints)


def test_the_official_checker_accepts_the_package(results, tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(results, "--out", "package")
    assert official(shutil.copytree("package/Us", "copy"), caplog) == ""


@pytest.mark.parametrize(
    ("benchmark", "left_out", "words"),
    [
        ("dlrm", None, KeyError),  # it has no RCP table for dlrm
        ("minigo", "seed", "Seed checker failed"),  # v1.1 asked for seeds only where the code has any
        ("ssd", "weights_initialization", "5 files do not comply"),  # v1.1 only warned about them
    ],
)
def test_where_the_official_checker_is_wrong(tmp_path, caplog, monkeypatch, benchmark, left_out, words):
    """Of these, it refuses what the round accepted; ours has no error."""
    monkeypatch.chdir(tmp_path)
    for number in range(COUNTS.get(benchmark, 5)):
        events = [event for event in closed_log(benchmark, number) if event["key"] != left_out]
        write_log(tmp_path / f"Us/results/box/{benchmark}/result_{number}.txt", events)
    describe(tmp_path, division="closed")
    assert [error for report in check_path(tmp_path) for error in report.errors] == []
    if words is KeyError:
        with pytest.raises(KeyError, match=benchmark):
            official(tmp_path / "Us", caplog)
    else:
        assert words in official(tmp_path / "Us", caplog)


def test_equal_results_give_equal_packages(results, tmp_path):
    for name in ("a", "b"):
        build(results, "--out", tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_the_receipt_lists_every_file(results, tmp_path):
    build(results, "--out", tmp_path / "package")
    receipt = json.loads((tmp_path / "package/package.json").read_text())
    assert set(receipt["files"]) == set(contents(tmp_path / "package")) - {"package.json"}
    (entry,), _ = score_paths([results])
    assert receipt["results"] == {"box/resnet": {"minutes": entry.score.minutes, "runs": 5}}


def test_the_configuration_is_the_one_given(results, tmp_path):
    build(results, "--out", tmp_path / "package", "--config", '{"scale": "mini", "seed": 7}')
    config = (tmp_path / "package" / CODE / "config.yaml").read_text()
    assert yaml.safe_load(config) == {"scale": "mini", "seed": 7}


def test_an_earlier_package_is_replaced_and_another_folder_is_not(results, tmp_path):
    out = tmp_path / "package"
    build(results, "--out", out)
    (out / "Us/stale").touch()
    build(results, "--out", out)
    assert not (out / "Us/stale").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious").touch()
    with pytest.raises(OctathlonError, match="mine: there, and not a package"):
        build(results, "--out", tmp_path / "mine")
    assert (tmp_path / "mine/precious").exists()


def test_what_a_killed_packager_left_goes_and_what_a_live_one_writes_stays(results, tmp_path):
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(2)
    )
    folders = [tmp_path / f".package.{platform.node()}.{each.pid}.new" for each in (killed, alive)]
    for folder in folders:
        (folder / "Us").mkdir(parents=True)
    killed.kill()
    killed.wait()
    try:
        build(results, "--out", tmp_path / "package")
        assert [folder.exists() for folder in folders] == [False, True]
    finally:
        alive.communicate(b"\n")


def test_only_the_runs_that_are_given_are_packaged(results, tmp_path):
    write_log(results / FOLDER / "result_6.txt", open_log(6))
    logs = [results / FOLDER / f"result_{number}.txt" for number in range(1, 4)]
    build(*logs, "--out", tmp_path / "package", "--runs", 3)
    packaged = (tmp_path / "package" / FOLDER).iterdir()
    assert sorted(path.name for path in packaged) == [f"result_{number}.txt" for number in (1, 2, 3)]


def test_of_more_runs_the_median_window_is_packaged(results, tmp_path):
    """Six runs, each a second slower than the one before: of the two windows the slower one counts."""
    write_log(results / FOLDER / "result_6.txt", later(open_log(6)))
    build(results, "--out", tmp_path / "package")
    packaged = (tmp_path / "package" / FOLDER).iterdir()
    assert sorted(path.name for path in packaged) == [f"result_{number}.txt" for number in range(2, 7)]


def later(events):
    return [event | {"time_ms": event["time_ms"] + 10**7} for event in events]


def test_a_result_without_a_score_is_left_out_and_named(results, tmp_path):
    for number in range(1, 6):
        write_log(results / "Us/results/bad/resnet" / f"result_{number}.txt", open_log(number, "aborted"))
    shutil.copy(results / "Us/systems/box.json", results / "Us/systems/bad.json")
    done = build(results, "--out", tmp_path / "package")
    assert "left out Us/results/bad/resnet: 5 of 5 runs failed" in done.stderr
    assert [path.name for path in (tmp_path / "package/Us/results").iterdir()] == ["box"]
    with pytest.raises(OctathlonError, match="no valid result"):
        build(results / "Us/results/bad", "--out", tmp_path / "other")


# What is refused, and the words for it


def one_run_missing(results):
    (results / FOLDER / "result_3.txt").unlink()


def no_description(results):
    (results / "Us/systems/box.json").unlink()


def two_organisations(results):
    shutil.copytree(results / "Us", results / "Them")


def no_code(results):
    for number in range(10):
        path = results / f"Us/results/box/gnmt/result_{number}.txt"
        write_other_log(path, benchmark="gnmt")


def a_log_that_breaks_the_rules(results):
    for number in (1, 2):
        events = [event for event in open_log(number) if event["key"] != "cache_clear"]
        write_log(results / FOLDER / f"result_{number}.txt", events)


def the_same_result_twice(results):
    shutil.copytree(results / "Us", results / "again/Us")


def a_broken_link(results):
    (results / FOLDER / "result_9.txt").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (one_run_missing, "Us/results/box/resnet: 4 of 5 runs; train the others"),
        (no_description, "no systems/box.json; write it with `octathlon system box`"),
        (two_organisations, "results of Them and Us: give those of one organisation"),
        (the_same_result_twice, "Us/results/box/resnet and .*: the same result twice; give one of them"),
        (no_code, "gnmt is no benchmark of this project"),
        (
            a_log_that_breaks_the_rules,
            r"no valid result to package \(2 of 5 runs failed.* breaks a rule: cache_clear.count: missing \(2\)",
        ),
        (a_broken_link, "result_9.txt: not a regular file; a package needs all of its files"),
    ],
)
def test_incomplete_input_is_refused_and_leaves_nothing(results, tmp_path, fault, words):
    fault(results)
    with pytest.raises(OctathlonError, match=words):
        build(results, "--out", tmp_path / "package")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


def test_a_package_within_the_results_is_refused(results):
    with pytest.raises(OctathlonError, match="lies in the results"):
        build(results, "--out", results / "package")


def test_a_full_disk_leaves_the_earlier_package(results, tmp_path, monkeypatch):
    out = tmp_path / "package"
    build(results, "--out", out)
    before = contents(out)

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OctathlonError, match="cannot write it \\(No space left on device\\)"):
        build(results, "--out", out)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["package", "results"]
