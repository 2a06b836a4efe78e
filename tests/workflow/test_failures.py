"""What a run does about mistakes and accidents."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
from tiny_project import copy_of_sources

from octathlon import registry
from octathlon.receipts import file_digest

STAGES = {  # stage -> (a word of its command lines, the beginnings of its rules' names)
    "archive": ("miniature", ("archive",)),
    "prepare": ("prepare", tuple(f"{dataset}_" for dataset in registry.datasets())),
    "train": ("train", ("train",)),
    "score": ("score", ("score",)),
    "report": ("report", ("report_page",)),
}


def prepared_digests(project):
    manifests = sorted(project.folder.glob("data/mini/*/prepared/manifest.json"))
    shards = {
        path.parent / name: facts["sha256"]
        for path in manifests
        for name, facts in json.loads(path.read_text())["shards"].items()
    }
    assert all(file_digest(path) == digest for path, digest in shards.items())
    return {path.relative_to(project.folder): digest for path, digest in shards.items()}


def files_of(project):
    """All that the workflow has made, hidden files, too."""
    return {
        path for top in ("data", "results") for path in (project.folder / top).rglob("*") if path.is_file()
    }


def rules(project, beginnings):
    text = "".join(path.read_text() for path in project.folder.glob("workflow/rules/*.smk"))
    return [name for name in re.findall(r"rule (\w+)", text) if name.startswith(beginnings)]


def kill_one_job(project, word, again, moment):
    """Run the rules `again`, for two benchmarks; kill their first job `moment` seconds after it began. Returns the exit
    code."""
    snakemake = subprocess.Popen(
        project.command("--config", "benchmarks=[resnet,dlrm]", "--forcerun", *again),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    parent = psutil.Process(snakemake.pid)
    while snakemake.poll() is None:
        for process in parent.children(recursive=True):
            try:
                command = process.cmdline()
                if any(part.endswith("/octathlon") for part in command) and word in command:
                    time.sleep(moment)
                    process.kill()
                    return snakemake.wait()
            except psutil.NoSuchProcess:
                continue
    return snakemake.returncode


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_job_loses_nothing_and_the_rerun_completes(project, stage):
    word, beginnings = STAGES[stage]
    before, files = prepared_digests(project), files_of(project)
    for moment in (0, random.Random(stage).uniform(0, 0.7)):
        code = kill_one_job(project, word, [*rules(project, beginnings)], moment)
        assert code == (0 if stage == "archive" else 1) or moment > 0  # archives are tried again at once
        project.run()
        assert prepared_digests(project) == before
        assert files_of(project) == files
    assert project.run() == set()


@pytest.mark.slow
def test_killed_workflow_is_taken_up_again(project):
    before = prepared_digests(project)
    snakemake = subprocess.Popen(
        project.command("--forcerun", "train"),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        text=True,
        stderr=subprocess.STDOUT,
    )
    for line in snakemake.stdout:
        if line.startswith("rule train:"):
            break
    for process in [*psutil.Process(snakemake.pid).children(recursive=True), psutil.Process(snakemake.pid)]:
        process.kill()
    snakemake.wait()
    snakemake.stdout.close()
    assert project.snakemake("--unlock").returncode == 0
    project.run()
    assert prepared_digests(project) == before


def test_all_configuration_errors_at_once_without_a_traceback(project):
    (project.folder / "bad.yaml").write_text(
        "scale: medium\nbenchmrks: [resnet]\nruns: {dlm: 3}\n"
        "overrides: {resnet: {global_batchsize: 3, cadence: {evry: 2}}}\nsystems: {a/b: {}}\n"
    )
    done = project.snakemake("-n", overlays=("tiny.yaml", "bad.yaml"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    for words in (
        "scale",
        "benchmrks: unknown key; did you mean benchmarks?",
        "runs.dlm: unknown name; did you mean dlrm?",
        "global_batchsize: unknown key; did you mean global_batch_size?",
        "evry: unknown key; did you mean every?",
        "a/b",
    ):
        assert words in done.stdout, done.stdout


def test_missing_archives_are_all_named_before_anything_runs(project):
    (project.folder / "full.yaml").write_text(
        "datasets: {imagenet: {source: upstream}, click_logs: {source: nowhere}}\n"
    )
    done = project.snakemake(overlays=("tiny.yaml", "full.yaml"))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    for words in (
        "imagenet: 3 archives are missing (ILSVRC2012_img_train.tar … ILSVRC2012_devkit_t12.tar.gz; about",
        "image-net.org",
        "put them into data/mini/imagenet/downloads\n",
        "click_logs: 3 archives are not in nowhere (day_0.gz … day_2.gz; about 49,400,250,368 bytes)",
    ):
        assert words in done.stdout
    assert "rule archive:" not in done.stdout


def test_a_list_that_names_none_of_the_archives_is_told_before_anything_runs(project):
    own = project.folder / "own"
    own.mkdir()
    for path in project.folder.glob("data/mini/imagenet/archives/ILSVRC*"):
        if path.suffix != ".json":
            (own / path.name).write_bytes(path.read_bytes())
    (own / "SHA256SUMS").write_text(f"{'0' * 64}  ILSVRC2012_img_test.tar\n")
    (project.folder / "own.yaml").write_text("datasets: {imagenet: {source: own}}\n")
    for options in (("-n",), ()):
        done = project.snakemake(*options, "data", overlays=("tiny.yaml", "own.yaml"))
        assert done.returncode == 0, done.stdout[-5000:]
        assert done.stdout.count("own/SHA256SUMS: names none of the archives, so none is checked") == 1
    log = project.folder / "logs/archive/imagenet/ILSVRC2012_img_val.tar.log"
    assert "own/SHA256SUMS: names none of the archives" in log.read_text()


def test_damaged_archive_stops_its_own_data_set_with_a_sentence(project):
    own = project.folder / "own"
    own.mkdir()
    for path in project.folder.glob("data/mini/imagenet/archives/ILSVRC*"):
        if path.suffix != ".json":
            (own / path.name).write_bytes(path.read_bytes())
    train = own / "ILSVRC2012_img_train.tar"
    train.write_bytes(train.read_bytes()[:-20_000])
    (project.folder / "own.yaml").write_text("datasets: {imagenet: {source: own}}\n")
    done = project.snakemake(overlays=("tiny.yaml", "own.yaml"))
    assert done.returncode == 1
    assert "octathlon: " in done.stdout
    assert "ILSVRC2012_img_train.tar: truncated or damaged" in done.stdout
    assert "Traceback" not in done.stdout


LONG = """\
benchmarks: [dlrm]
overrides:
  dlrm:
    cadence: {first: 200, every: 200, limit: 400}
    target: {AUC: 2}
    checkpoint_minutes: 0.0001
"""


def test_a_run_goes_on_after_all_processes_of_its_job_were_told_to_end_or_killed(tmp_path):
    project = copy_of_sources(tmp_path)
    (project.folder / "long.yaml").write_text(LONG)
    log = "results/mini/octathlon/results/local/dlrm/result_0.txt"
    options = {"overlays": ("tiny.yaml", "long.yaml")}
    told = project.folder / "logs/train/local/dlrm/0.log"
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(
            project.command("--nolock", log, **options),
            cwd=project.folder,
            env=project.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as snakemake:
            while not (told.exists() and "block_start" in told.read_text()):
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"ended with {snakemake.wait(0.1)}")
            os.killpg(snakemake.pid, number)
        assert snakemake.returncode and not (project.folder / log).exists()
        assert ("a checkpoint was written" in told.read_text()) == (number == signal.SIGTERM)
        told.unlink()
    project.run("--nolock", log, **options)
    assert '"key": "resumed"' in (project.folder / log).read_text()
