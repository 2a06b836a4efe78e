"""Whatever stands for an argument or option of any command: right, or a sentence that names it."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from octathlon.cli import octathlon
from octathlon.errors import OctathlonError
from octathlon.options import MAPPING, Writable

GOOD = {  # what each required parameter is, where another one is wrong; {} is a folder
    "dataset": "imagenet",
    "archive": "ILSVRC2012_devkit_t12.tar.gz",
    "step": "manifest",
    "benchmark": "dlrm",
    "name": "box",
    "paths": "{}/tree",
    "scores": "{}/scores.json",
    "folder": "{}/new",
    "archives": "{}/tree",
    "out": "{}/new",
    "output": "{}/new.txt",
    "html": "{}/new.html",
    "data": "{}/data",  # not required, but dlrm has no other
    "weights": "{}/scores.json",
    "ranks": "2",
    "command": "octathlon",
    "benchmarks": "dlrm",  # nor is this, but else it would be all of them
}
NAMES = ["", "../x", ".x", "-x", "a/b", "a{b}", "ü" * 101, "\N{SNOWMAN}"]
BAD = {  # texts that a command itself has to refuse
    "dataset": ["", "nope", "../imagenet", "imagenet/"],
    "archive": ["", "nope", "../x", "x" * 300],
    "step": ["", "nope", "../x"],
    "benchmark": ["", "nope", "../dlrm"],
    "benchmarks": ["", "nope", "../dlrm"],
    "source": ["", "ftp://a/b", "~nobody-of-that-name/x", "a\nb", "upsteam"],
    "submitter": NAMES,
    "platform": [*NAMES, "a b", "a\nb"],
    "name": [*NAMES, "a b", "a\nb"],
    "command": ["", "nope", "./scores.json"],
    "paths": ["{}/missing", "x" * 300],
    "round_name": ["v9.9", "../rounds/v1.1", "x" * 300],
    "runs": ["", "0", "-1", "x", "nope=3", "dlrm=0", "9" * 5000],
    "with_unused": [],  # it takes no value
    "identity": [],  # any text: it is only kept
    "config": [],  # any mapping: it is only kept
    "alone": [],  # a flag
    "overrides": ['{"no_such_key": 1}', '{"no_such_key": ' + "9" * 4000 + "}", '{"loader_workers": -1}'],
    "fields": ['{"no_such_field": 1}'],
}


def commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands of the tree, with the words that call them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def wrong_by_type(kind: click.ParamType) -> list[str] | None:
    """Values that no parameter of a type takes; None where the type says nothing."""
    if isinstance(kind, click.IntRange):
        numbers = [kind.min - 1] if kind.max is None else [kind.min - 1, kind.max + 1]
        return ["", "x", "1.5", "nan", "9" * 5000, *map(str, numbers)]
    if isinstance(kind, click.Choice):
        return ["", "nowhere"]
    if kind is MAPPING:
        return [
            "",
            "{",
            "[]",
            "3",
            "null",
            "NaN",
            '{"a": NaN}',
            '{"a": -Infinity}',
            "[" * 100_000,
            "9" * 5000,
        ]
    if isinstance(kind, click.Path) and (kind.exists or isinstance(kind, Writable)):
        other = "{}/scores.json" if kind.dir_okay else "{}/tree"
        return [other, "{}/missing"] if kind.exists else [other, "{}/scores.json/x", "x" * 300]
    return None


CASES = [
    pytest.param(words, command, parameter, id=f"{' '.join(words)}-{parameter.name}")
    for words, command in commands(octathlon)
    for parameter in command.params
]


def arguments(parameter: click.Parameter, value: str) -> list[str]:
    return [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with something of every kind."""
    for name in ("tree", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "scores.json").write_text("{}")
    (tmp_path / "data/manifest.json").write_text(json.dumps({"dataset": "click_logs"}))
    return tmp_path


@pytest.mark.parametrize(("words", "command", "parameter"), CASES)
def test_a_wrong_value_is_named(words, command, parameter, folder, monkeypatch):
    monkeypatch.chdir(folder)
    of_type = wrong_by_type(parameter.type)
    assert of_type is not None or parameter.name in BAD, f"{words} {parameter.name}: say what is wrong for it"
    before = sorted(folder.rglob("*"))
    for value in [*(of_type or []), *BAD.get(parameter.name, [])]:
        options, positional = [], []
        for each in command.params:
            if each is parameter or each.required or each.name in ("data", "benchmarks"):
                text = value if each is parameter else GOOD[each.name]
                given = arguments(each, text.replace("{}", str(folder)))
                (options if isinstance(each, click.Option) else positional).extend(given)
        done = CliRunner().invoke(octathlon, [*words, *options, "--", *positional])
        case = f"{words} {parameter.name} {value[:60]!r}"
        assert isinstance(done.exception, SystemExit | OctathlonError), f"{case}: {done.exception!r}"
        said = f"{done.output} {done.exception}"
        assert done.exit_code, f"{case}: taken: {said}"
        telling = {
            *(parameter.name, parameter.human_readable_name, *parameter.opts),
            *(repr(value), *re.findall(r"\w{4,}", value[:60])),
        }
        assert any(word in said for word in telling), f"{case}: {said}"
        assert "Traceback" not in said
        assert sorted(folder.rglob("*")) == before, case


def test_a_command_without_arguments_says_what_it_wants():
    for words, command in commands(octathlon):
        if words == ("rehearse",):
            continue  # it wants nothing, and rehearses everything
        done = CliRunner().invoke(octathlon, words)
        wants = any(each.required for each in command.params)
        assert (done.exit_code == 2 and "Missing" in done.output) if wants else done.exit_code == 0, words


def test_a_miniature_that_cannot_be_written_is_named():
    done = CliRunner().invoke(
        octathlon, ["miniature", GOOD["dataset"], GOOD["archive"], "--folder", "/proc/x"]
    )
    assert isinstance(done.exception, OctathlonError)
    assert f"/proc/x/{GOOD['archive']}: cannot write it" in str(done.exception)


def test_a_benchmark_is_not_trained_on_other_data(folder):
    for options in ([], ["--data", str(folder / "data")]):
        done = CliRunner().invoke(octathlon, ["train", "resnet", "--output", str(folder / "a.txt"), *options])
        assert "resnet trains on prepared data of imagenet, not on" in str(done.exception)


def test_garbage_is_collected_again_after_the_imports(folder):
    options = ["--data", str(folder / "data"), "--output", str(folder / "a.txt")]
    assert CliRunner().invoke(octathlon, ["train", "dlrm", *options]).exception
    assert gc.isenabled()


def test_what_is_printed_never_stops_a_command(tmp_path):
    """A log's encoding may lack the letters of a name."""
    description = tmp_path / "東京/systems/box.json"
    description.parent.mkdir(parents=True)
    description.write_text("[]")
    program = [sys.executable, "-m", "octathlon.cli", "check", str(description)]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert "\\u6771\\u4eac/systems/box.json" in done.stdout
    assert done.stderr == ""
