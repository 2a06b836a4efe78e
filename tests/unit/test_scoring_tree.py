"""Where the logs are: every level of a tree, and trees that mean harm."""

import os
from pathlib import Path

import pytest
from training_logs import write_log

from octathlon.errors import OctathlonError
from octathlon.scoring.tree import DEEPEST, find_folders

BENCHMARKS = {"resnet", "bert"}


def find(*paths):
    return find_folders(paths, BENCHMARKS.__contains__)


@pytest.fixture
def tree(tmp_path):
    for name in ("a/results/one/resnet", "a/results/two/bert", "b/results/one/resnet"):
        for number in (0, 2, 10):
            (tmp_path / "round" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "round" / name / f"result_{number}.txt").touch()
    return tmp_path / "round"


def names(folders, tree):
    return [str(folder.path.relative_to(tree)) for folder in folders]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ["a/results/one/resnet", "a/results/two/bert", "b/results/one/resnet"]),
        ("a", ["a/results/one/resnet", "a/results/two/bert"]),
        ("a/results", ["a/results/one/resnet", "a/results/two/bert"]),
        ("a/results/one", ["a/results/one/resnet"]),
        ("a/results/one/resnet", ["a/results/one/resnet"]),
        ("a/results/one/resnet/result_2.txt", ["a/results/one/resnet"]),
    ],
)
def test_every_level_of_a_tree(tree, path, expected, monkeypatch):
    folders, skipped = find(tree / path)
    assert (names(folders, tree), skipped) == (expected, [])
    assert {folder.root for folder in folders} == {tree}
    assert {folder.organisation.name for folder in folders} <= {"a", "b"}
    monkeypatch.chdir(tree / "a" / "results")
    assert names(find(Path("../../") / path)[0], tree) == expected


def test_logs_in_natural_order_without_repeats(tree):
    folder = tree / "a/results/one/resnet"
    ((found,), _) = find(folder / "result_10.txt", folder, folder / "result_2.txt")
    assert [log.name for log in found.logs] == ["result_0.txt", "result_2.txt", "result_10.txt"]


def test_single_logs_are_only_those(tree):
    folder = tree / "a/results/one/resnet"
    ((found,), _) = find(folder / "result_10.txt", folder / "result_2.txt")
    assert [log.name for log in found.logs] == ["result_2.txt", "result_10.txt"]


def test_what_is_beside_the_logs_does_not_count(tree):
    folder = tree / "a/results/one/resnet"
    for name in (".xxxresult_4.txt", "rcp_checker.log", "result_3.txt.bak", "notes.txt"):
        (folder / name).touch()
    (folder / "raw_logs").mkdir()
    (folder / "raw_logs" / "result_7.txt").touch()
    ((found,), _) = find(folder)
    assert [log.name for log in found.logs] == ["result_0.txt", "result_2.txt", "result_10.txt"]


def test_an_empty_benchmark_folder_is_a_result_without_runs(tree):
    (tree / "a/results/three/bert").mkdir(parents=True)
    (tree / "a/results/three/code").mkdir(parents=True)
    folders, _ = find(tree / "a/results/three")
    assert [(folder.path.name, folder.logs) for folder in folders] == [("bert", [])]


def test_logs_among_the_code_are_no_results(tree):
    write_log(tree / "a/benchmarks/resnet/implementations/x/results/sys/resnet/result_0.txt")
    write_log(tree / "a/code/resnet/result_0.txt")
    folders, skipped = find(tree)
    assert len(folders) == 3
    assert skipped == []


def test_v05_has_submissions_between_organisation_and_results(tmp_path):
    write_log(tmp_path / "v0.5.0/org/cloud/sub/results/sys/resnet/result_0.txt")
    ((found,), _) = find(tmp_path)
    assert (found.organisation.name, found.root) == ("org", tmp_path)


def test_a_submission_json_beside_the_results_makes_no_other_organisation(tmp_path):
    """As two submitters of v0.6 have it."""
    write_log(tmp_path / "round/org/results/sys/resnet/result_0.txt")
    (tmp_path / "round/org/submission.json").write_text('{"org": "org"}')
    ((found,), _) = find(tmp_path)
    assert (found.organisation.name, found.root) == ("org", tmp_path / "round")


def test_logs_may_lie_in_the_systems_folder(tmp_path):
    """As one submitter of v0.7 has it; the folders beside them are found too."""
    write_log(tmp_path / "org/results/sys/result_0.txt")
    write_log(tmp_path / "org/results/sys/bert/result_0.txt")
    write_log(tmp_path / "org/results/result_of_all.txt")
    folders, _ = find(tmp_path)
    assert [(folder.name, folder.system and folder.system.name) for folder in folders] == [
        ("results", None),
        ("org/results/sys", "sys"),
        ("org/results/sys/bert", "sys"),
    ]


def test_links_to_folders_are_not_followed(tree):
    folder = tree / "a/results/one"
    (folder / "loop").symlink_to(tree)
    (folder / "resnet" / "result_5.txt").symlink_to("result_5.txt")
    (folder / "resnet" / "result_6.txt").symlink_to("/dev/zero")
    (folder / "resnet" / "result_7.txt").mkdir()
    os.mkfifo(folder / "resnet" / "result_8.txt")
    folders, skipped = find(tree)
    assert names(folders, tree)[0] == "a/results/one/resnet"
    assert len(folders) == 3
    assert [log.name for log in folders[0].logs] == ["result_0.txt", "result_2.txt", "result_10.txt"]
    assert {each.path.name for each in skipped} == {"loop", "result_5.txt", "result_6.txt", "result_8.txt"}


def test_a_bottomless_tree_ends(tmp_path):
    path = tmp_path
    for _ in range(300):
        path = path / "d"
        path.mkdir()
    folders, skipped = find(tmp_path)
    assert folders == []
    assert [each.reason for each in skipped] == [f"deeper than {DEEPEST} levels"]


def test_a_folder_that_cannot_be_listed_is_skipped(tree, monkeypatch):
    """Faked, because the superuser may list everything."""
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "two":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    folders, skipped = find(tree)
    assert names(folders, tree) == ["a/results/one/resnet", "b/results/one/resnet"]
    assert [(each.path.name, each.reason) for each in skipped] == [
        ("two", "cannot be listed (Permission denied)")
    ]


def test_a_hundred_thousand_files_are_walked(tmp_path):
    first = tmp_path / "o/results/s/resnet/result_0.txt"
    write_log(first)
    for number in range(100):
        folder = tmp_path / f"o/results/s/junk{number}"
        folder.mkdir()
        for other in range(1000):
            os.mknod(folder / f"{other}.log")
    folders, skipped = find(tmp_path)
    assert ([folder.logs for folder in folders], skipped) == ([[first]], [])


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(OctathlonError, match="nowhere: not there"):
        find(tmp_path / "nowhere")
