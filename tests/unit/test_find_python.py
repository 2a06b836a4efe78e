"""`make` takes the newest Python that the lock holds for, and can say which one to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "envs/find-python"
OF_VERSION = "import sys; sys.version_info = {version}; exec(sys.argv[1])"
COMPILES = "import os, shutil; os.path.exists = shutil.which = lambda name: True; " + OF_VERSION
WITHOUT_COMPILER = (
    "import os, shutil; os.path.exists = lambda path: True; shutil.which = lambda name: None; " + OF_VERSION
)
WITHOUT_HEADERS = (
    "import os, shutil; os.path.exists = lambda path: False; shutil.which = lambda name: name; " + OF_VERSION
)
WITHOUT_VENV = "import sys; sys.modules['ensurepip'] = None; exec(sys.argv[1])"
"""As Debian's python3 is until python3-venv is installed."""
SHIM = "#!/bin/sh\nexit 127\n"
"""What a version manager leaves on the PATH for each Python that some project has."""


def python(version: tuple[int, int, int], code: str = OF_VERSION) -> str:
    """A program that is this Python but for what is asked here."""
    code = code.format(version=version)
    return f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n'


def found(path: Path, programs: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    for name, text in programs.items():
        (path / name).write_text(text)
        (path / name).chmod(0o755)
    environment = {"PATH": str(path)} | environment
    return subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=False)


THREE = {f"python3.{minor}": python((3, minor, 1)) for minor in (11, 12, 13)}


@pytest.mark.parametrize(
    ("programs", "newest"),
    [
        (THREE, "python3.13"),
        (THREE | {"python3.13": SHIM}, "python3.12"),
        (THREE | {"python3.13": python((3, 13, 1), WITHOUT_VENV), "python3.12": SHIM}, "python3.11"),
        ({"python3": python((3, 12, 4))}, "python3"),
        (THREE | {"python3.14": python((3, 14, 0), COMPILES)}, "python3.14"),
        (THREE | {"python3.14": python((3, 14, 0), WITHOUT_COMPILER)}, "python3.13"),
        (THREE | {"python3.14": python((3, 14, 0), WITHOUT_HEADERS)}, "python3.13"),
        (THREE | {"python3": python((3, 15, 0), COMPILES)}, "python3.13"),
    ],
)
def test_the_newest_that_works_is_taken(tmp_path, programs, newest):
    done = found(tmp_path, programs)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/{newest}\n")


def test_a_named_one_is_taken_or_refused(tmp_path):
    assert found(tmp_path, THREE, PYTHON="python3.11").stdout == f"{tmp_path}/python3.11\n"
    old = str(tmp_path / "old")
    refused = found(tmp_path, THREE | {"old": python((3, 10, 9))}, PYTHON=old)
    assert refused.returncode == 1 and refused.stderr.startswith(f"{old}: not a Python 3.11, 3.12 or 3.13")


@pytest.mark.parametrize(
    "programs",
    [
        {},
        {"python3.13": SHIM},
        {"python3": python((3, 10, 9))},
        {"python3": python((3, 15, 0), COMPILES)},
        {"python3": python((3, 14, 0), WITHOUT_COMPILER)},
    ],
)
def test_where_there_is_none_one_sentence_says_what_to_install(tmp_path, programs):
    done = found(tmp_path, programs)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "install one" in done.stderr and "make PYTHON=" in done.stderr
