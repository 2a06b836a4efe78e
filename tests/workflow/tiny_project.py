"""A copy of the project in which the workflow really runs, at a size that takes seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from octathlon import registry
from octathlon.config import merge

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "Makefile", "pyproject.toml", "profiles", "workflow", "envs", "src")
JOB = re.compile(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: ([^\s,]+)", re.MULTILINE)
TIMEOUT_S = 600


@dataclass
class Project:
    """A folder with the workflow, sources of its own, and what it has made so far."""

    folder: Path

    def command(self, *arguments: str, overlays: tuple[str, ...] = ("tiny.yaml",)) -> list[str]:
        """The command line of `snakemake` with the tiny sizes."""
        program = str(Path(sys.executable).with_name("snakemake"))
        return [program, "--cores", "2", *arguments, "--configfile", *overlays]

    @property
    def environment(self) -> dict[str, str]:
        """Sources and programs of this copy first; kernels as plain Python, since each copy would compile its own."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | {
            "PATH": path,
            "PYTHONPATH": str(self.folder / "src"),
            "NUMBA_DISABLE_JIT": "1",
            "PYTHONWARNINGS": "ignore:overflow encountered:RuntimeWarning",  # hashes of positions wrap around
        }

    def snakemake(self, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        """Run the workflow; what it printed is in `stdout`."""
        return subprocess.run(
            self.command(*arguments, **options),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def run(self, *arguments: str, **options) -> set[str]:
        """Run the workflow to its end; return what its jobs made, as `rule output`."""
        done = self.snakemake(*arguments, **options)
        assert done.returncode == 0, done.stdout[-5000:]
        return {" ".join(job) for job in JOB.findall(done.stdout)}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a piece of text that must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Merge changes into config.yaml."""
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(merge(yaml.safe_load(file.read_text()), changes)))

    def append(self, path: str, text: str) -> None:
        """Add text to a file's end."""
        with (self.folder / path).open("a") as file:
            file.write(text)

    @contextmanager
    def appended(self, path: str, text: str) -> Iterator[None]:
        """As `append`, until the block ends."""
        before = (self.folder / path).read_text()
        self.append(path, text)
        yield
        (self.folder / path).write_text(before)


def copy_of_sources(folder: Path) -> Project:
    """A new project: the sources, and nothing made yet."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(ROOT / part, folder / part)
    shutil.copy(Path(__file__).with_name("tiny.yaml"), folder)
    return Project(folder)


def pretend_archives(project: Project, scale: str) -> None:
    """Put empty files where a user would put the archives of a scale: for plans, not for runs."""
    for dataset in registry.datasets():
        folder = project.folder / "data" / scale / dataset / "downloads"
        for archive in registry.sources(dataset)["archives"]:
            path = folder / archive["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
