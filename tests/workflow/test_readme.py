"""Every command in the README is run, on tiny data, and what the README shows is what they print."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml
from tiny_project import ROOT, pretend_archives

from octathlon import registry

TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
REACHED = {"resnet": {"target": {"accuracy": 0}}, "dlrm": {"target": {"AUC": 0}}}
"""What is packaged needs a score, and what is tiny learns nothing."""
FILES = {block.split()[1]: block for kind, block in BLOCKS if kind == "yaml"}


def reduced(tiny):
    """The tiny sizes of two benchmarks, with runs enough for a score."""
    datasets = map(registry.dataset_of, REACHED)
    return {
        "benchmarks": list(REACHED),
        "runs": 5,
        "datasets": {name: tiny["datasets"][name] for name in datasets},
        "overrides": {name: tiny["overrides"][name] | target for name, target in REACHED.items()},
    }


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    """A finished project whose config.yaml has the tiny sizes, with the README's files and the data they name."""
    folder = tmp_path_factory.mktemp("readme") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    project = type(finished)(folder)
    project.configure(reduced(yaml.safe_load((folder / "tiny.yaml").read_text())))
    for results in folder.glob("results/mini/octathlon/results/local/*"):
        if results.name not in REACHED:
            shutil.rmtree(results)
    (folder / "own/imagenet").mkdir(parents=True)
    for path in folder.glob(
        "data/mini/imagenet/archives/ILSVRC*[!n]"
    ):  # all but the receipts, which are .json
        shutil.copy(path, folder / "own/imagenet")
    for name, text in FILES.items():
        (folder / name).write_text(text.replace("/data/imagenet", "own/imagenet"))
    pretend_archives(project, "full")
    return project


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(project, command):
    if command.startswith("make"):  # this test is part of one
        command = command.replace("make", "make --dry-run", 1)
    elif "full.yaml" in command:  # needs a cluster: planned only
        command = command.replace("snakemake", "snakemake --dry-run", 1)
    done = subprocess.run(
        ["bash", "-c", command.replace("source .venv/bin/activate", "true")],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
