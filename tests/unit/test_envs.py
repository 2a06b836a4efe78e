"""The lock names what was asked for, and the recipes of images install the lock: the same base, the same commands."""

from __future__ import annotations

import re
from pathlib import Path

ENVS = Path(__file__).parents[2] / "envs"


def test_the_lock_has_what_was_asked_for():
    lock = {line.lower() for line in (ENVS / "requirements.lock").read_text().splitlines()}
    wanted = [line for line in (ENVS / "requirements.in").read_text().splitlines() if "==" in line]
    assert len(wanted) > 20
    assert {line.lower() for line in wanted} <= lock


def test_both_recipes_take_one_base_and_let_one_script_install():
    docker = [line.split(None, 1) for line in (ENVS / "Containerfile").read_text().splitlines()[1:]]
    recipe = (ENVS / "apptainer.def").read_text()
    base, environment = dict(docker)["ARG"].removeprefix("BASE="), dict(docker)["ENV"].split()
    assert docker[1:-1] == [["FROM", "${BASE}"], ["COPY", "envs /envs"], ["RUN", "/envs/install-image"]]
    assert re.search(r"BASE=(.*)", recipe)[1] == base and base.endswith("/debian:12-slim")
    sections = {part.split()[0]: part.split()[1:] for part in recipe.split("\n%")}
    assert sections["files"] == ["envs", "/envs"] and sections["post"] == ["/envs/install-image"]
    exported = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", each).replace('"', "") for each in sections["environment"]]
    assert exported == ["export", *environment]


def test_an_image_has_the_locks_packages_and_no_others():
    script = (ENVS / "install-image").read_text()
    (arguments,) = re.findall(r"pip install (.*)", script)
    assert arguments.split() == ["--no-cache-dir", "--no-deps", "--requirement", "/envs/requirements.lock"]
