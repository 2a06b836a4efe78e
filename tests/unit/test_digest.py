"""A digest changes with the code that a stage runs, and with nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from octathlon import digest

MODULES = {
    "__init__": "",
    "stage": '"""A stage."""\nfrom octathlon.helper import double\n\n'
    'def run(x):\n    """Run."""\n    return double(x)\n',
    "helper": "def double(x):\n    from octathlon.lazy import two\n    return two * x\n",
    "lazy": "two = 2\n",
    "other": "import octathlon.lazy\n",
    "package.__init__": "",
    "package.inner": "from octathlon import stage\n",
}


class Package:
    """A package called octathlon in a folder of its own, digested in a fresh process."""

    def __init__(self, root: Path) -> None:
        self.root = root / "octathlon"
        for name, text in MODULES.items():
            self.write(name, text)
        self.write("digest", Path(digest.__file__).read_text())

    def write(self, module: str, text: str) -> None:
        path = self.root.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def ask(self, expression: str) -> str:
        code = f"from octathlon.digest import *; print({expression})"
        environment = os.environ | {"PYTHONPATH": str(self.root.parent), "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def digests(self) -> tuple[str, ...]:
        modules = ("stage", "helper", "lazy", "other", "package.inner")
        expression = ", ".join(f"code_digest('octathlon.{name}')" for name in modules)
        return tuple(eval(self.ask(f"({expression},)")))


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


def changed(package: Package, module: str, text: str) -> list[bool]:
    """Which digests an edit changes: of stage, helper, lazy, other, package.inner."""
    before = package.digests()
    package.write(module, text)
    return [old != new for old, new in zip(before, package.digests(), strict=True)]


SAME = {
    "comment": "# A comment.\n" + MODULES["stage"],
    "docstrings": MODULES["stage"].replace("A stage.", "Another text.").replace("Run.", "Walk."),
    "no docstrings": MODULES["stage"].replace('"""A stage."""\n', "").replace('    """Run."""\n', ""),
    "format": MODULES["stage"].replace("(x)", "( x  )").replace("\n\n", "\n\n\n\n"),
}
OTHER = {
    "name": MODULES["stage"].replace("(x)", "(y)"),
    "string": MODULES["stage"] + 'TEXT = "a"\n',
    "default": MODULES["stage"].replace("run(x)", "run(x=1)"),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME.keys())
def test_comments_docstrings_and_format_change_nothing(package: Package, text: str) -> None:
    assert text != MODULES["stage"]
    assert changed(package, "stage", text) == [False] * 5


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER.keys())
def test_code_changes_those_that_import_it(package: Package, text: str) -> None:
    assert changed(package, "stage", text) == [True, False, False, False, True]


def test_imports_inside_functions_count(package: Package) -> None:
    assert changed(package, "lazy", "two = 3\n") == [True] * 5


def test_imports_for_type_checkers_alone_do_not_count(package: Package) -> None:
    package.write(
        "typed", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from octathlon import stage\n"
    )
    assert package.ask("import_closure('octathlon.typed')") == "{'octathlon.typed'}"


def test_a_module_that_nobody_imports_changes_only_itself(package: Package) -> None:
    assert changed(package, "other", "import octathlon.lazy as l\n") == [False, False, False, True, False]


def test_a_package_init_counts(package: Package) -> None:
    package.write("user", "import octathlon.package.inner\nfrom octathlon.package import inner\n")
    before = package.ask("code_digest('octathlon.user')")
    package.write("package.__init__", "x = 1\n")
    assert package.ask("code_digest('octathlon.user')") != before


def test_the_order_of_modules_does_not_matter(package: Package) -> None:
    assert (
        package.ask(
            "code_digest('octathlon.stage', 'octathlon.other') == code_digest('octathlon.other', 'octathlon.stage')"
        )
        == "True"
    )


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"octathlon.stage": ["x"]}', '{"octathlon.stage": 3}'])
def test_what_was_kept_is_used_and_a_damaged_file_of_it_replaced(package: Package, damage: str) -> None:
    before = package.ask("code_digest('octathlon.stage')")
    (kept,) = package.root.glob("__pycache__/digests.*.json")
    found = kept.read_text()
    kept.write_text(found.replace(json.loads(found)["octathlon.lazy"][2], "x"))
    assert package.ask("code_digest('octathlon.stage')") != before
    kept.write_text(damage)
    assert package.ask("code_digest('octathlon.stage')") == before
    assert kept.read_text() == found


def test_a_circle_of_imports_ends(package: Package) -> None:
    package.write("lazy", "import octathlon.stage\ntwo = 2\n")
    closure = eval(package.ask("sorted(import_closure('octathlon.lazy'))"))
    assert closure == ["octathlon.helper", "octathlon.lazy", "octathlon.stage"]


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"no module octathlon\.nothing"):
        digest.code_digest("octathlon.nothing")


def test_the_closure_of_a_real_stage() -> None:
    closure = digest.import_closure("octathlon.datasets.imagenet.prepare")
    assert {
        "octathlon.formats.tars",
        "octathlon.datasets.imagenet.devkit",
        "octathlon.receipts",
    } <= closure
    assert not {name for name in closure if "loader" in name or "benchmarks" in name or "miniatures" in name}


def test_data_files_count_by_name_and_content(package: Package) -> None:
    def ask() -> str:
        return package.ask("data_digest('rounds/*.yaml', 'stage.py')")

    rounds = package.root / "rounds"
    rounds.mkdir()
    (rounds / "a.yaml").write_text("x: 1\n")
    (rounds / "note.txt").write_text("not data\n")
    seen = [ask()]
    (rounds / "note.txt").write_text("changed\n")
    assert ask() == seen[0]
    (rounds / "a.yaml").touch()
    assert ask() == seen[0]
    (rounds / "a.yaml").write_text("x: 2\n")
    seen.append(ask())
    (rounds / "a.yaml").rename(rounds / "b.yaml")
    seen.append(ask())
    (rounds / "c.yaml").write_text("")
    seen.append(ask())
    assert len(set(seen)) == 4


def test_a_pattern_without_files_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"no file rounds/\*\.xml"):
        digest.data_digest("rounds/*.xml")


def test_values_are_digested_whatever_the_order_of_keys() -> None:
    assert digest.value_digest({"a": 1, "b": [1, 2]}) == digest.value_digest({"b": [1, 2], "a": 1})
    assert digest.value_digest({"a": 1}) != digest.value_digest({"a": 2})
    assert digest.value_digest([1, 2]) != digest.value_digest([2, 1])


def test_the_rules_digest_data_and_neither_code_nor_folders():
    """Python keeps folders of its own beside modules, and an edited comment must rerun nothing."""
    rules = "".join(path.read_text() for path in (digest.ROOT.parents[1] / "workflow/rules").glob("*.smk"))
    calls = re.findall(r"data_digest\(([^)f]*)\)", rules)
    patterns = {pattern for call in calls for pattern in re.findall(r'"([^"]+)"', call)}
    assert {"rounds/*.yaml", "rounds/*.csv", "report/*.html"} <= patterns
    for pattern in patterns:
        assert Path(pattern).suffix not in ("", ".py"), pattern
        assert list(digest.ROOT.glob(pattern)), pattern
