"""Each command in README and docs is run on tiny data; what takes days or a GPU is planned, or its options are read."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import yaml
from tiny_project import ROOT, pretend_archives

from octathlon import registry

PAGES = [ROOT / "README.md", ROOT / "docs/quickstart.md", *sorted(ROOT.glob("docs/*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
INDENTED = re.findall(r"^    ((?:make|snakemake|octathlon|python|source) .*)", TEXT, re.MULTILINE)
FENCED = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line]
COMMANDS = list(dict.fromkeys(FENCED + INDENTED))
REACHED = {"resnet": {"target": {"accuracy": 0}}, "dlrm": {"target": {"AUC": 0}}}
"""What is packaged needs a score, and what is tiny learns nothing."""
FILES = {block.split()[1]: block for kind, block in BLOCKS if kind == "yaml" and block.startswith("# ")}


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


def feasible(command: str) -> str:
    """What of a command can be done here, in seconds: it is planned, or its options are read."""
    if command.startswith("make"):  # this test is part of one
        return command.replace("make", "make --dry-run", 1)
    if re.match("podman|apptainer|srun|.*profiles/apptainer", command):
        # what these need is not here, but what they name is
        named = ["Snakefile", *re.findall(r"(?:envs|profiles)/\S+", command)]
        return " && ".join(f"test -e {path}" for path in named)
    if re.search("full.yaml|cluster.yaml", command):
        return command.replace("snakemake", "snakemake --dry-run", 1)
    if command.startswith(("octathlon rehearse", "octathlon launch")):
        return re.sub("(rehearse|launch)", r"\1 --help", command, count=1)
    if command.startswith("python docs/generate.py"):  # tests/unit/test_docs.py does what it does
        return f"test -f {ROOT}/docs/generate.py"
    if command.startswith("python"):
        return re.sub(r"(\S+\.py)", rf"{ROOT}/\1 --help", command, count=1)
    return command.replace("source .venv/bin/activate", "true")


def test_commands_are_found():
    assert {"make", "snakemake -n", "snakemake --cores all --configfile own.yaml"} <= set(COMMANDS)
    assert {"own.yaml", "full.yaml", "cluster.yaml"} <= set(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command(project, command):
    done = subprocess.run(
        ["bash", "-c", feasible(command)],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    if command.startswith("python benchmarks/"):  # argparse reads no further than --help
        assert set(re.findall(r"--[a-z-]+", command)) <= set(re.findall(r"--[a-z-]+", done.stdout))
