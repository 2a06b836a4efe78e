"""`octathlon score` and `octathlon compare` on the command line."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner
from training_logs import write_folder

from octathlon.errors import OctathlonError
from octathlon.report.commands import compare
from octathlon.scoring.commands import score


@pytest.fixture
def tree(tmp_path):
    write_folder(tmp_path / "tree/Us/results/box/resnet", [30, 29, 31, 28, 27])
    return tmp_path / "tree"


def run(command, *arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments], catch_exceptions=False)


def test_score_says_what_is_odd(tree):
    (tree / "Us/results/box/resnet/result_4.txt").write_bytes(
        (tree / "Us/results/box/resnet/result_3.txt").read_bytes()
    )
    assert (
        "note Us/results/box/resnet: 2 runs have the same clock: copies of one log?"
        in run(score, tree).stderr
    )


def test_score_says_that_a_result_is_there_twice(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "copy")
    done = run(score, tree, tmp_path / "copy")
    assert done.stdout.count("29.000") == 2
    assert "note Us/results/box/resnet: the same result 2 times" in done.stderr


def test_score_prints_a_table_and_writes_files(tree, tmp_path):
    files = {name: tmp_path / f"out/scores.{name}" for name in ("csv", "json", "markdown")}
    result = run(score, tree, *(part for name, path in files.items() for part in (f"--{name}", path)))
    assert result.exit_code == 0
    assert result.stdout == files["markdown"].read_text()
    assert "| Us | box | closed |  |  | resnet | 5 | 5 | 29.000 |" in result.stdout
    assert files["csv"].read_text().count("\n") == 2
    assert json.loads(files["json"].read_text())["entries"][0]["score_minutes"] == 29
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "scores.csv",
        "scores.json",
        "scores.markdown",
    ]


def test_equal_results_give_equal_files(tree, tmp_path):
    for name in ("a", "b"):
        run(score, tree, "--json", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_score_says_why_there_is_no_number_and_what_it_skipped(tree):
    (tree / "Us/results/box/resnet/result_0.txt").unlink()
    (tree / "Us/results/box/resnet/result_9.txt").symlink_to("nowhere")
    result = run(score, tree)
    assert result.exit_code == 0
    assert "4 of 5 runs" in result.stdout
    assert "result_9.txt: not a regular file" in result.stderr
    assert "28.500" in run(score, tree, "--runs", 4).stdout


def test_the_number_of_runs_is_chosen_for_all_or_for_each_benchmark(tree):
    write_folder(tree / "Us/results/box/unet3d", [9, 7, 8], benchmark="unet3d", quality=[0.95])
    (tree / "Us/results/box/resnet/result_0.txt").unlink()
    by_name = run(score, tree, "--runs", "resnet=4", "--runs", "unet3d=3").stdout
    assert "28.500" in by_name
    assert "8.000" in by_name
    mixed = run(score, tree, "--runs", "3", "--runs", "resnet=5").stdout
    assert "4 of 5 runs" in mixed
    assert "8.000" in mixed


@pytest.mark.parametrize("words", ["resnt=5", "resnet=", "resnet=0", "-1", "resnet=5.0", "five", "=5=", ""])
def test_a_wrong_number_of_runs_is_named(tree, words):
    result = run(score, tree, "--runs", words)
    assert result.exit_code == 2
    assert "Invalid value for '--runs'" in result.stderr


def test_an_output_cannot_take_the_place_of_a_log(tree):
    log = tree / "Us/results/box/resnet/result_0.txt"
    before = log.read_text()
    with pytest.raises(OctathlonError, match="has the name of a log"):
        run(score, tree, "--csv", log)
    assert log.read_text() == before


def test_a_wrong_round_is_one_sentence(tree):
    with pytest.raises(OctathlonError, match="unknown round 'v7'"):
        run(score, tree, "--round", "v7")


def screen_of(screen):
    """What was printed on a terminal, until it is closed."""
    with suppress(OSError), open(screen, "rb", buffering=0) as file:  # noqa: PTH123 (a descriptor)
        while chunk := file.read(1 << 16):
            yield chunk


@pytest.mark.parametrize(
    ("command", "words"),
    [("score", "29.000"), ("compare", "29.000 (0)"), ("check", "systems.missing")],
)
def test_on_a_terminal_a_table_is_drawn(tree, command, words):
    code = f"from octathlon.cli import main; import sys; sys.argv = ['octathlon', '{command}', sys.argv[1]]; main()"
    screen, terminal = os.openpty()
    environment = os.environ | {"COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code, str(tree)], stdout=terminal, env=environment)
    os.close(terminal)
    shown = b"".join(screen_of(screen)).decode()
    process.wait()
    assert words in shown
    assert any(line in shown for line in "─━")


def test_scoring_starts_without_heavy_libraries(tree):
    code = (
        "import sys; from octathlon.scoring.commands import score; "
        "score([sys.argv[1]], standalone_mode=False); "
        "print(sorted({'torch', 'pandas', 'numpy', 'scipy', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tree)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_not_used_is_listed_with_its_reason(tree):
    (folder,) = {path.parent for path in tree.rglob("result_0.txt")}
    (folder / "notes.md").write_text("")
    (folder / ".result_1.txt").write_text("")
    (folder.parent / "bert").mkdir()
    (folder.parents[1] / "old").mkdir()
    systems = folder.parents[2] / "systems"
    systems.mkdir(exist_ok=True)
    (systems / "other.json").write_text("{}")
    shown = run(score, tree, "--unused").stdout
    for words in (
        f"unused {folder / 'notes.md'}: not called like a log",
        f"unused {folder / '.result_1.txt'}: hidden",
        f"unused {folder.parent / 'bert'}: no logs",
        f"unused {folder.parents[1] / 'old'}: in no benchmark's folder",
        f"unused {systems / 'other.json'}: describes a system that has no results",
    ):
        assert words in shown
    assert "unused" not in run(score, tree).stdout
    assert run(score, folder, "--unused").stdout.count("unused") == 2  # what is outside was not asked for
    assert f"unused {folder / 'result_0.txt'}" not in shown


def test_compare_reads_trees_and_tables(tree, tmp_path):
    run(score, tree, "--csv", tmp_path / "ours.csv")
    from_tree, from_table = run(compare, tree, "--alone"), run(compare, tmp_path / "ours.csv", "--alone")
    assert from_tree.exit_code == 0
    assert from_tree.stdout == from_table.stdout
    assert "| resnet | closed | 29.000 (Us, 0) |" in from_tree.stdout


def test_compare_adds_trees_to_what_was_published(tree):
    done = run(compare, tree)
    assert "| Us | resnet | closed |  |  |  |  | 29.000 (0) |" in done.stdout
    assert "| v1.1 | 2021-12-01 | 184 | 186 |" in done.stdout
    with pytest.raises(OctathlonError, match="--alone: nothing to compare"):
        run(compare, "--alone")


def test_compare_gives_each_of_several_rounds_in_a_folder_its_own(tmp_path):
    for name, minutes in (("v3.0", 30), ("training_results_v3.1", 20), ("v4.0", 10)):
        write_folder(tmp_path / "all" / name / "Us/results/box/resnet", [minutes] * 5)
    done = run(compare, tmp_path / "all", "--alone")
    assert "| resnet | v3.0 | v4.0 | 30.000 | 10.000 | 3.00 | 1.40 |  |" in done.stdout
    assert "| benchmark | division | v3.0 | v3.1 | v4.0 |" in done.stdout


def test_compare_says_what_it_guesses_and_what_it_leaves_out(tree, tmp_path):
    write_folder(tmp_path / "v8.0/Us/results/box/resnet", [30] * 5)
    done = run(compare, tmp_path, "--alone")
    assert f"note {tree}: taken for v1.1: the newest logs are of 2021-10" in done.stderr
    assert (
        "note Us/results/box/resnet: left out: the folder is called v8.0, whose rules are not known"
        in done.stderr
    )
    assert "| v3.0 | 2023-06-27 | 1 | 260 |" in run(compare, tmp_path, "--alone", "--round", "v3.0").stdout


def test_compare_writes_what_it_prints(tmp_path):
    files = {name: tmp_path / f"rounds.{name}" for name in ("markdown", "csv")}
    result = run(compare, *(part for name, path in files.items() for part in (f"--{name}", path)))
    assert files["markdown"].read_text() == result.stdout
    assert files["csv"].read_text().startswith("benchmark,division,round,published,org,")
