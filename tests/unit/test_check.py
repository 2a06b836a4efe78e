"""`octathlon check`: a package of all eight benchmarks passes, and each fault of a tree is named."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from octathlon.errors import OctathlonError
from octathlon.scoring.check import check_path
from octathlon.scoring.check_commands import check
from octathlon.scoring.describe import describe_system
from octathlon.scoring.entries import score_paths

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from closed_logs import COUNTS, NAMES, closed_log, write_log

SYSTEM = {"submitter": "Us", "division": "closed", "status": "onprem", "nodes": 1, "overrides": {}}
BERT, RESNET = "Us/results/box/bert", "Us/results/box/resnet"


@pytest.fixture(scope="session")
def whole_tree(tmp_path_factory):
    """An organisation with a valid closed result of each of the eight benchmarks."""
    tree = tmp_path_factory.mktemp("check") / "tree"
    for name in NAMES:
        for number in range(COUNTS.get(name, 5)):
            write_log(tree / f"Us/results/box/{name}/result_{number}.txt", closed_log(name, number))
        code = tree / f"Us/benchmarks/{name}/implementations/ours/train.py"
        code.parent.mkdir(parents=True)
        code.write_text("seed = 1\n")
    (tree / "Us/systems").mkdir()
    (tree / "Us/systems/box.json").write_text(json.dumps(describe_system("box", **SYSTEM)))
    return tree


@pytest.fixture
def tree(whole_tree, tmp_path):
    """The same with bert and resnet alone, to be spoilt."""
    for name in ("Us/systems", BERT, RESNET, "Us/benchmarks/bert", "Us/benchmarks/resnet"):
        shutil.copytree(whole_tree / name, tmp_path / name)
    return tmp_path


def findings(*arguments, **options):
    return [
        (finding.severity, finding.rule, str(report.path))
        for report in check_path(*arguments, **options)
        for finding in report.findings
    ]


def rules(tree):
    return [(severity, rule) for severity, rule, _ in findings(tree)]


def run(*arguments):
    return CliRunner().invoke(check, [str(each) for each in arguments], catch_exceptions=False)


def test_a_package_of_all_eight_benchmarks_has_no_finding(whole_tree):
    assert findings(whole_tree) == []
    assert run(whole_tree).stdout.endswith(" files and folders checked: 0 errors, 0 warnings\n")


@pytest.mark.parametrize("part", ["Us", "Us/results", "Us/results/box", BERT, f"{BERT}/result_3.txt"])
def test_every_part_of_a_tree_can_be_checked(tree, part):
    assert findings(tree / part) == []


# What a fault does to the tree, and the findings about it


def without_description(tree):
    (tree / "Us/systems/box.json").unlink()


def description_without_a_field(tree):
    fields = describe_system("box", **SYSTEM)
    del fields["cooling"]
    (tree / "Us/systems/box.json").write_text(json.dumps(fields))


def description_that_is_a_pipe(tree):
    without_description(tree)
    os.mkfifo(tree / "Us/systems/box.json")


def odd_description(tree):
    fields = describe_system("box", **SYSTEM) | {"number_of_nodes": "two", "cooling": "", "status": "soon"}
    (tree / "Us/systems/box.json").write_text(json.dumps(fields | {"submitter": 7}))


def one_log_too_few(tree):
    (tree / BERT / "result_9.txt").unlink()


def one_log_too_many(tree):
    write_log(tree / RESNET / "result_5.txt", closed_log("resnet", 5))


def without(events, key):
    return [event for event in events if event["key"] != key]


def one_broken_log(tree):
    write_log(tree / BERT / "result_0.txt", without(closed_log("bert"), "global_batch_size"))


def two_broken_logs(tree):
    for number in (0, 1):
        write_log(tree / BERT / f"result_{number}.txt", without(closed_log("bert", number), "opt_epsilon"))


def a_seed_twice(tree):
    write_log(tree / RESNET / "result_1.txt", closed_log("resnet", 0))


def seeds_that_are_words(tree):
    _seed(tree, "now")


def no_seed(tree):
    for number in range(5):
        write_log(tree / RESNET / f"result_{number}.txt", without(closed_log("resnet", number), "seed"))


def _seed(tree, value):
    events = [
        event | ({"value": value} if event["key"] == "seed" else {}) for event in closed_log("resnet", 1)
    ]
    write_log(tree / RESNET / "result_1.txt", events)


def another_batch_size(tree):
    events = closed_log("resnet", 1)
    next(event for event in events if event["key"] == "global_batch_size")["value"] = 8192
    write_log(tree / RESNET / "result_1.txt", events)


def a_log_of_another_benchmark(tree):
    write_log(tree / RESNET / "result_1.txt", without(closed_log("ssd", 1), "global_batch_size"))


def logs_of_the_open_division(tree):
    events = closed_log("resnet", 1)
    next(event for event in events if event["key"] == "submission_division")["value"] = "open"
    write_log(tree / RESNET / "result_1.txt", events)


def description_of_the_open_division(tree):
    fields = describe_system("box", **SYSTEM) | {"division": "open"}
    (tree / "Us/systems/box.json").write_text(json.dumps(fields))


def too_fast(tree):
    """The reference takes 39.9 epochs at 4096; this one 4."""
    for number in range(5):
        events = closed_log("resnet", number)
        for event in events:
            if "epoch_num" in event["metadata"]:
                event["metadata"]["epoch_num"] = 4
        write_log(tree / RESNET / f"result_{number}.txt", events)


def another_file(tree):
    (tree / RESNET / "rcp_checker.log").touch()


def an_unknown_benchmark(tree):
    write_log(tree / "Us/results/box/gnmt/result_0.txt", without(closed_log("ssd"), "submission_benchmark"))


def a_folder_with_another_name(tree):
    (tree / RESNET).rename(tree / f"{RESNET}50")


def every_log(tree, change):
    """The logs of resnet, with something else in each of their events."""
    for number in range(5):
        events = closed_log("resnet", number)
        write_log(tree / RESNET / f"result_{number}.txt", [change(event) or event for event in events])


def with_value(key, new):
    return lambda event: event | {"value": new} if event["key"] == key else None


def another_organisation(tree):
    every_log(tree, with_value("submission_org", "Them"))


def another_platform(tree):
    every_log(tree, with_value("submission_platform", "2xrack"))


def another_status(tree):
    every_log(tree, with_value("submission_status", "research"))


def evaluated_every_epoch(tree):
    for number in range(5):
        events = closed_log("resnet", number)
        at = [n for n, event in enumerate(events) if event["key"] == "eval_accuracy"]
        for epoch, place in enumerate(at, start=42 - len(at)):
            events[place]["metadata"]["epoch_num"] = epoch
        write_log(tree / RESNET / f"result_{number}.txt", events)


def names_with_spaces(tree):
    (tree / "Us/benchmarks/resnet/implementations/ours/read me.txt").touch()
    (tree / "Us/benchmarks/resnet/.cache").mkdir()


def a_large_file(tree):
    with (tree / "Us/benchmarks/resnet/weights.bin").open("wb") as file:
        file.truncate((50 << 20) + 1)


def a_link_to_nowhere(tree):
    (tree / "Us/benchmarks/resnet/data").symlink_to("gone")


def no_code(tree):
    shutil.rmtree(tree / "Us/benchmarks")


def no_code_of_one(tree):
    shutil.rmtree(tree / "Us/benchmarks/bert/implementations")


FAULTS = [
    (without_description, [("error", "systems.missing")]),
    (description_without_a_field, [("error", "cooling.count")]),
    (description_that_is_a_pipe, [("error", "description.file")]),
    (
        odd_description,
        [("warning", f"{name}.value") for name in ("submitter", "number_of_nodes", "cooling", "status")],
    ),
    (one_log_too_few, [("error", "runs.count")]),
    (one_log_too_many, [("error", "runs.count")]),
    (one_broken_log, [("warning", "global_batch_size.count"), ("warning", "runs.compliance")]),
    (two_broken_logs, [("error", "opt_epsilon.count")] * 2 + [("error", "runs.compliance")]),
    (a_seed_twice, [("error", "seed.unique")]),
    (seeds_that_are_words, [("error", "seed.value"), ("warning", "seed.count")]),
    (no_seed, [("warning", "seed.count")]),
    (another_batch_size, [("error", "global_batch_size.alike")]),
    (
        a_log_of_another_benchmark,
        [
            ("warning", "global_batch_size.count"),
            ("warning", "submission_benchmark.alike"),
            ("warning", "runs.compliance"),
        ],
    ),
    (logs_of_the_open_division, [("warning", "submission_division.alike"), ("warning", "runs.compliance")]),
    (description_of_the_open_division, [("warning", "submission_division.alike")] * 15),
    (too_fast, [("warning", "rcp")]),
    (another_file, [("warning", "files.unknown")]),
    (an_unknown_benchmark, [("warning", "code.missing"), ("error", "benchmark.unknown")]),
    (a_folder_with_another_name, [("error", "benchmark.folder")]),
    (another_organisation, [("warning", "submission_org.alike")]),
    (another_platform, [("warning", "submission_platform.alike")]),
    (another_status, [("warning", "submission_status.alike")]),
    (evaluated_every_epoch, [("warning", "eval_accuracy.schedule")]),
    (names_with_spaces, [("warning", "repository.name")]),
    (a_large_file, [("warning", "repository.size")]),
    (a_link_to_nowhere, [("warning", "repository.link")]),
    (no_code, [("warning", "code.missing")]),
    (no_code_of_one, [("warning", "code.missing")]),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_each_fault_of_a_tree_is_named(tree, fault, expected):
    fault(tree)
    assert rules(tree) == expected
    assert run(tree).exit_code == any(severity == "error" for severity, _ in expected)


@pytest.mark.parametrize("fault", [one_broken_log, two_broken_logs, a_folder_with_another_name])
def test_check_and_score_give_one_verdict(tree, fault):
    """A run that breaks a rule counts as failed for both, and no folder is read by one of them alone."""
    fault(tree)
    entries, _ = score_paths([tree])
    scored = {entry.folder for entry in entries if entry.score.minutes is not None}
    checked = {str(report.path.relative_to(tree)): report for report in check_path(tree)}
    assert {entry.folder for entry in entries} <= checked.keys()
    refused = {
        folder
        for folder, report in checked.items()
        if any(finding.rule == "runs.compliance" for finding in report.errors)
    }
    assert scored == {entry.folder for entry in entries} - refused
    if fault is a_folder_with_another_name:
        assert {Path(folder).name for folder in scored} == {"resnet50", "bert"}


def test_a_log_that_cannot_be_read_is_named_and_the_rest_is_checked(tree, monkeypatch):
    """Faked, because the superuser may read everything."""
    opened = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "result_3.txt":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert rules(tree) == [("warning", "log.file"), ("warning", "runs.compliance")] * 2


def test_the_rcp_finding_has_its_numbers(tree):
    too_fast(tree)
    (finding,) = [finding for report in check_path(tree) for finding in report.findings]
    assert "mean 4, minimum 38.9062 (reference 39.875, batch size 4096)" in finding.words


def test_the_number_of_runs_can_be_chosen(tree):
    one_log_too_few(tree)
    assert run(tree, "--runs", "bert=9").exit_code == 0
    assert run(tree, "--runs", "9").exit_code == 1  # five of resnet


def test_the_lines_tell_where_and_what(tree):
    two_broken_logs(tree)
    another_file(tree)
    lines = run(tree).stdout.splitlines()
    assert lines == [
        f"warning: {tree / RESNET}: files.unknown: 1 file that is no log: rcp_checker.log",
        f"error: {tree / BERT}/result_0.txt and 1 more: opt_epsilon.count: missing",
        f"error: {tree / BERT}: runs.compliance: 2 of 10 runs failed, at most 1 may: breaks a rule: "
        "opt_epsilon.count: missing (2)",
        "19 files and folders checked: 3 errors, 1 warnings",
    ]


def test_a_finding_in_a_log_has_its_line(tree):
    events = closed_log("bert")
    next(event for event in events if event["key"] == "eval_stop")["metadata"].pop("epoch_num")
    log = write_log(tree / BERT / "result_0.txt", events)
    number = next(n for n, event in enumerate(events, 1) if event["key"] == "eval_stop")
    assert run(log).stdout.startswith(f"error: {log}:{number}: eval_stop.metadata: ")


def test_the_json_has_everything_that_was_checked(tree, tmp_path):
    two_broken_logs(tree)
    run(tree, "--json", tmp_path / "check.json")
    reports = json.loads((tmp_path / "check.json").read_text())["reports"]
    assert len(reports) == 19
    found = {Path(report["path"]).name: report["findings"] for report in reports}
    assert found["result_0.txt"] == []
    assert found["bert"] == [
        {
            "severity": "error",
            "rule": "runs.compliance",
            "words": "2 of 10 runs failed, at most 1 may: breaks a rule: opt_epsilon.count: missing (2)",
            "line": None,
            "waived": "",
        }
    ]


def test_on_a_terminal_the_findings_are_a_table(tree, monkeypatch):
    from rich.console import Console

    from octathlon.scoring.findings import grouped, to_rich

    one_log_too_few(tree)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(to_rich("error", grouped(check_path(tree), "error")))
    assert "9 logs, not 10" in console.export_text()


def test_nothing_to_check_is_said_in_a_sentence(tmp_path):
    with pytest.raises(OctathlonError, match="nothing to check"):
        run(tmp_path)
