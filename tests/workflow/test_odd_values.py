"""Values of the configuration that a shell, a pattern or a format string could misread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny_project import copy_of_sources

from octathlon.miniatures import click_logs

ODD = "a {b} 'c' $HOME `false` *;"


def overlay(project, name="odd.yaml", **keys):
    """Write an overlay; returns what `--configfile` is told."""
    (project.folder / name).write_text(yaml.safe_dump(keys, allow_unicode=True), encoding="utf-8")
    return "tiny.yaml", name


@pytest.fixture
def project(tmp_path):
    """The sources, and nothing made yet."""
    (tmp_path / "project").mkdir()
    return copy_of_sources(tmp_path / "project")


@pytest.mark.slow
def test_odd_names_go_all_the_way(project):
    """Only the sources may have braces: Snakemake knows no way to write them in an output."""
    sizes = yaml.safe_load((project.folder / "tiny.yaml").read_text())["datasets"]["click_logs"]["miniature"]
    for day in range(3):
        click_logs.draw(f"day_{day}.gz", project.folder / ODD, seed=1, **sizes)
    results = ODD.replace("{b}", "")
    overlays = overlay(
        project,
        benchmarks=["dlrm"],
        runs=3,
        submitter="Universität Zürich",
        results=results,
        systems={"local": {"accelerators_per_node": 0, "description": {"framework": ODD}}},
        datasets={"click_logs": {"source": ODD}},
        overrides={"dlrm": {"target": {"AUC": 0}}},
    )
    project.run(overlays=overlays)
    organisation = project.folder / results / "mini" / "Universität_Zürich"
    log = (organisation / "results/local/dlrm/result_2.txt").read_text(encoding="utf-8")
    (line,) = [line for line in log.splitlines() if '"submission_org"' in line]
    assert json.loads(line.removeprefix(":::MLLOG "))["value"] == "Universität Zürich"
    description = json.loads((organisation / "systems/local.json").read_text(encoding="utf-8"))
    assert (description["submitter"], description["framework"]) == ("Universität Zürich", ODD)
    assert project.run(overlays=overlays) == set()
    planned = project.snakemake("-n", "package", overlays=overlays)
    assert planned.returncode == 0, planned.stdout[-3000:]


def test_the_home_folder_is_found_in_every_path(project, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    sources = {"source": "~/own", "archive_sources": {"day_1.gz": "~/other"}}
    overlays = overlay(
        project, benchmarks=["dlrm"], data="~/data", results="~/res", datasets={"click_logs": sources}
    )
    done = project.snakemake("-n", overlays=overlays)
    assert f"click_logs: 2 archives are not in {tmp_path}/own (day_0.gz … day_2.gz" in done.stdout, (
        done.stdout
    )
    assert f"{tmp_path}/other/day_1.gz: not there" in done.stdout, done.stdout
    for path in ("own/day_0.gz", "other/day_1.gz", "own/day_2.gz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    done = project.snakemake("-n", overlays=overlays)
    assert done.returncode == 0, done.stdout
    assert f"output: {tmp_path}/data/mini/click_logs/archives/day_0.gz.json" in done.stdout
    assert f"output: {tmp_path}/res/mini/octathlon/results/local/dlrm/result_0.txt" in done.stdout
    assert "~" not in {path.name for path in Path(project.folder).iterdir()}


def test_a_project_where_snakemake_cannot_work_says_so(tmp_path):
    (tmp_path / "a{b}").mkdir()
    done = copy_of_sources(tmp_path / "a{b}").snakemake("-n")
    assert done.returncode == 1
    assert "a{b}: has braces in its path, which Snakemake takes for names; move" in done.stdout
    assert "Traceback" not in done.stdout and "NameError" not in done.stdout


def test_what_runs_cannot_have_is_said_before_they_begin(project):
    """Braces in folders, a typo in the only system, an unknown field, a key that stands twice."""
    overlays = overlay(
        project,
        data="a{b}",
        systems={"local": None, "gpu": {"processes_per_nodes": 8}},
        results="config.yaml/x",
    )
    done = project.snakemake("-n", overlays=overlays)
    assert done.returncode == 1
    assert "data: 'a{b}' has braces in it" in done.stdout
    assert "results: 'config.yaml/x' can't be a folder" in done.stdout
    assert "systems.gpu.processes_per_nodes: unknown key; did you mean processes_per_node?" in done.stdout
    assert "Traceback" not in done.stdout
    done = project.snakemake(
        "-n", overlays=overlay(project, systems={"local": {"description": {"framwork": "x"}}})
    )
    assert done.returncode == 1
    assert "description of system local: framwork is no field" in done.stdout
    (project.folder / "twice.yaml").write_text("seed: 1\nruns: 5\nseed: 2\n")
    done = project.snakemake("-n", overlays=("tiny.yaml", "twice.yaml"))
    assert done.returncode == 1
    assert "twice.yaml, lines 1 and 3: seed" in done.stdout


@pytest.mark.parametrize(("runs", "without"), [(1, "dlrm"), (3, None)])
def test_too_few_runs_for_a_score_are_said_at_the_start(project, runs, without):
    done = project.snakemake("-n", overlays=overlay(project, benchmarks=["dlrm"], runs=runs))
    assert done.returncode == 0
    words = f"no score will come of {without}: too few runs ({runs}) to drop 1 at each end"
    assert ("no score will come" in done.stdout) == (without is not None)
    if without:
        assert done.stdout.index(words) < done.stdout.index("Building DAG of jobs")


def test_a_description_is_made_on_a_node_like_the_runs(project):
    """It asks for one of their nodes; how many accelerators it has, the configuration says."""
    box = {
        "nodes": 2,
        "processes_per_node": 2,
        "cores_per_node": 2,
        "accelerators_per_node": 8,
        "launcher": "srun",
    }
    overlays = overlay(
        project, benchmarks=["dlrm"], systems={"local": None, "box": box | {"memory_mb": 5000}}
    )
    done = project.snakemake("-n", overlays=overlays)
    assert done.returncode == 0, done.stdout
    job = next(
        part
        for part in done.stdout.split("\n\n")
        if part.startswith("rule system:") or "rule system:" in part
    )
    for words in ("threads: 2", "mem_mb=5000", "nodes=1", "gpu=8", "--nodes 2 --accelerators 8"):
        assert words in job, job
    assert "mpi" not in job
