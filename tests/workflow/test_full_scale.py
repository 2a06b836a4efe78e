"""The whole round at full scale, planned with all archives pretended to be there, and with none."""

from __future__ import annotations

import re

import pytest
from tiny_project import copy_of_sources, pretend_archives

from octathlon import registry
from octathlon.scoring.rules import load_round

JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """(rule, description) of each planned job."""
    project = copy_of_sources(tmp_path_factory.mktemp("full"))
    (project.folder / "full.yaml").write_text("scale: full\n")
    pretend_archives(project, "full")
    done = project.snakemake("-n", overlays=("full.yaml",))
    assert done.returncode == 0, done.stdout[-5000:]
    return JOB.findall(done.stdout)


def test_every_benchmark_has_the_rounds_number_of_runs(jobs):
    runs = [re.search(r"benchmark=(\w+), n=(\d+)", text).groups() for rule, text in jobs if rule == "train"]
    rules = load_round("v1.1")
    assert sorted(runs) == sorted(
        (name, str(n)) for name in registry.benchmarks() for n in range(rules.task(name).runs)
    )


def test_every_archive_is_fetched_and_every_shard_prepared(jobs):
    fetched = {re.search(r"archive=(\S+)", text)[1] for rule, text in jobs if rule == "archive"}
    full = {
        dataset: registry.dataset_settings(dataset)(**registry.defaults("datasets", dataset, "full"))
        for dataset in registry.datasets()
    }
    # Not all that is declared: a data set may have two ways in.
    assert fetched == {
        name for dataset, settings in full.items() for name in registry.preparer(dataset).archives(settings)
    }
    for dataset, settings in full.items():
        steps = [step for names in registry.preparer(dataset).steps(settings).values() for step in names]
        planned = {
            step
            for rule, text in jobs
            if rule.startswith(dataset)
            for step in re.findall(r"receipts/(\S+)\.json\n", text)
        }
        assert set(steps) <= planned


def test_every_job_asks_for_memory_and_time(jobs):
    assert len(jobs) > 100
    for rule, text in jobs:
        resources = re.search(r"resources: (.*)", text)[1]
        assert re.search(r"mem_mb=\d+", resources), (rule, resources)
        assert re.search(r"runtime=\d+", resources), (rule, resources)


WITHOUT = """
scale: full
benchmarks: [resnet, bert]
datasets: {wikipedia: {source: nowhere}}
"""
TOLD = [  # one sentence a source
    "before anything can run:",
    "  imagenet: 3 archives are missing (ILSVRC2012_img_train.tar … ILSVRC2012_devkit_t12.tar.gz; about "
    "154,644,901,280 bytes): get them from https://image-net.org/challenges/LSVRC/2012/2012-downloads.php "
    "(free account, acceptance of the terms) and put them into data/full/imagenet/downloads",
    "  wikipedia: 504 archives are not in nowhere (vocab.txt … model.ckpt-28252.data-00000-of-00001; about "
    "17,558,782,614 bytes); put them there, or name their folder in datasets.wikipedia.source or .archive_sources",
]


@pytest.fixture(scope="module")
def without_archives(tmp_path_factory):
    project = copy_of_sources(tmp_path_factory.mktemp("none"))
    (project.folder / "without.yaml").write_text(WITHOUT)
    return project


def test_without_archives_the_plan_is_shown_and_what_is_missing_after_it(without_archives):
    done = without_archives.snakemake("-n", overlays=("without.yaml",))
    assert done.returncode == 0, done.stdout[-5000:]
    plan, told = done.stdout.split("This was a dry-run (flag -n).")
    planned = [rule for rule, _ in JOB.findall(plan)]
    assert planned.count("archive") == 3 + 504
    assert planned.count("train") == 5 + 10
    assert told.splitlines()[1:] == TOLD


def test_without_archives_nothing_runs(without_archives):
    done = without_archives.snakemake(overlays=("without.yaml",))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert JOB.findall(done.stdout) == []
    assert not (without_archives.folder / "data").exists()
    lines = done.stdout.splitlines()
    begin = lines.index(TOLD[0])
    assert lines[begin : begin + len(TOLD)] == TOLD
