"""What reruns after which change: every case is a real run of the workflow."""

from __future__ import annotations

import gzip
import json
import os
import shutil

from octathlon import registry

SCORES = {"score results/mini/scores.csv", "report_page results/mini/report.html"}
BENCHMARKS = registry.benchmarks()


def trainings(*benchmarks, numbers=range(1)):
    folder = "results/mini/octathlon/results/local"
    return {f"train {folder}/{benchmark}/result_{n}.txt" for benchmark in benchmarks for n in numbers}


def archives_of(project, dataset):
    folder = project.folder / "data" / "mini" / dataset / "archives"
    return sorted(
        path for path in folder.iterdir() if path.suffix != ".json" and not path.name.startswith(".")
    )


def shards(jobs, dataset):
    return {job for job in jobs if job.startswith(f"{dataset}_")}


def test_nothing_changed_nothing_runs(project):
    assert project.run() == set()


def test_a_rehearsal_comes_onto_the_page_and_reruns_no_run(project):
    rehearsal = "results/mini/rehearsals/local/dlrm.json"
    assert project.run(rehearsal) == {f"rehearse {rehearsal}"}
    assert project.run() == {"report_page results/mini/report.html"}
    page = (project.folder / "results/mini/report.html").read_text()
    assert '<section id="rehearsals">' in page and '<th scope="row">dlrm</th>' in page
    assert project.run() == set()


def test_why_a_benchmark_cannot_be_rehearsed_comes_onto_the_page(project):
    project.configure(
        {
            "systems": {"local": {"environment": {"CXX": "no-compiler"}}},
            "overrides": {"dlrm": {"compile": "default"}},
        }
    )
    rehearsal = "results/mini/rehearsals/local/dlrm.json"
    made = project.run("rehearsal", "--config", "benchmarks=[dlrm]")
    assert made >= {f"rehearse {rehearsal}"}
    project.run("results/mini/report.html", "--rerun-triggers", "mtime")  # the runs are of other settings
    page = (project.folder / "results/mini/report.html").read_text()
    assert '<p class="fail">dlrm: compile: no-compiler is not there' in page


def test_touched_archives_and_sources_rerun_nothing(project):
    for path in [*archives_of(project, "imagenet"), *archives_of(project, "click_logs")]:
        path.touch()
    for path in [*project.folder.glob("src/**/*.py"), *project.folder.glob("data/**/*.json")]:
        path.touch()
    assert project.run() == set()


def test_archives_written_anew_with_the_same_content_rerun_nothing(project):
    for path in archives_of(project, "imagenet"):
        shutil.copyfile(path, path.with_suffix(".copy"))
        os.replace(path.with_suffix(".copy"), path)  # noqa: PTH105
    assert project.run() == set()


def test_deleted_archives_rerun_nothing(project):
    for path in archives_of(project, "click_logs"):
        path.unlink()
    assert project.run() == set()


def test_comments_and_docstrings_rerun_nothing(project):
    for path in (
        "benchmarks/resnet/model.py",
        "datasets/click_logs/prepare.py",
        "harness/loop.py",
        "scoring/entries.py",
    ):
        project.append(f"src/octathlon/{path}", "\n\n# A remark.\n")
    project.edit("src/octathlon/harness/loop.py", '"""The timed loop', '"""The well timed loop')
    assert project.run() == set()


def test_edited_model_reruns_its_own_runs_and_the_scores(project):
    project.append("src/octathlon/benchmarks/resnet/model.py", "\n\nUNUSED = 1\n")
    assert project.run() == trainings("resnet") | SCORES
    assert project.run() == set()


def test_each_benchmarks_runs_depend_on_its_own_code(project):
    """By the plan: the jobs are those that would run."""
    for benchmark in BENCHMARKS:
        with project.appended(f"src/octathlon/benchmarks/{benchmark}/benchmark.py", "\n\nUNUSED = 1\n"):
            assert project.run("-n") == trainings(benchmark) | SCORES


def test_edited_harness_reruns_all_runs(project):
    """By the plan."""
    project.append("src/octathlon/harness/loop.py", "\n\nUNUSED = 1\n")
    assert project.run("-n") == trainings(*BENCHMARKS) | SCORES


def test_edited_scoring_reruns_scores_only(project):
    project.append("src/octathlon/scoring/olympic.py", "\n\nUNUSED = 1\n")
    assert project.run() == SCORES


def test_edited_rules_of_the_round_rerun_scores_only(project):
    project.append("src/octathlon/rounds/v1.1.yaml", "\n# A remark in data counts: bytes are compared.\n")
    assert project.run() == SCORES


def test_edited_preparation_reruns_one_data_set_and_its_benchmarks(project):
    project.append("src/octathlon/datasets/click_logs/prepare.py", "\n\nUNUSED = 1\n")
    check_prepared(project.run(), "click_logs")
    assert project.run() == set()


def test_each_data_set_depends_on_its_own_preparation(project):
    """By the plan."""
    for dataset in registry.datasets():
        with project.appended(f"src/octathlon/datasets/{dataset}/prepare.py", "\n\nUNUSED = 1\n"):
            check_prepared(project.run("-n"), dataset)


def check_prepared(jobs, dataset):
    """All of one data set's preparation, of two kinds at least, its manifest, its benchmarks' runs and the scores."""
    assert len(shards(jobs, dataset)) >= 3
    trained = [name for name in BENCHMARKS if registry.dataset_of(name) == dataset]
    assert jobs - shards(jobs, dataset) == trainings(*trained) | SCORES


def test_preparation_first_spares_the_training_when_it_makes_the_same(project):
    project.append("src/octathlon/datasets/imagenet/images.py", "\n\nUNUSED = 1\n")
    assert len(shards(project.run("data"), "imagenet")) == 4
    assert project.run() == set()


def test_one_changed_record_reruns_its_data_set_and_benchmark(project):
    day = archives_of(project, "click_logs")[1]
    lines = gzip.decompress(day.read_bytes()).splitlines(keepends=True)
    lines[5] = (b"0" if lines[5].startswith(b"1") else b"1") + lines[5][1:]
    day.write_bytes(gzip.compress(b"".join(lines)))
    own = project.folder / "own"
    shutil.copytree(day.parent, own, ignore=shutil.ignore_patterns("*.json", ".*"))
    (project.folder / "own.yaml").write_text("datasets: {click_logs: {source: own}}\n")
    jobs = project.run(overlays=("tiny.yaml", "own.yaml"))
    others = {job for job in jobs if not job.startswith(("archive ", "click_logs_"))}
    assert others == trainings("dlrm") | SCORES
    assert f"archive data/mini/click_logs/archives/{day.name}.json" in jobs
    assert not any("imagenet" in job for job in jobs)
    assert project.run(overlays=("tiny.yaml", "own.yaml")) == set()


def test_one_changed_archive_of_an_own_folder_is_fetched_alone(project):
    own = project.folder / "own"
    shutil.copytree(
        archives_of(project, "click_logs")[0].parent, own, ignore=shutil.ignore_patterns("*.json", ".*")
    )
    (project.folder / "own.yaml").write_text("datasets: {click_logs: {source: own}}\n")
    overlays = ("tiny.yaml", "own.yaml")
    project.run("data", overlays=overlays)
    assert project.run(overlays=overlays) == set()  # the same content from another place
    day = own / "day_1.gz"
    lines = gzip.decompress(day.read_bytes()).splitlines(keepends=True)
    day.write_bytes(gzip.compress(b"".join(lines[:-1])))
    jobs = project.run(overlays=overlays)
    assert {job for job in jobs if job.startswith("archive ")} == {
        "archive data/mini/click_logs/archives/day_1.gz.json"
    }
    assert {job for job in jobs if job.startswith("train ")} == trainings("dlrm")
    assert any(job.startswith("click_logs_scan") and "scan-1" in job for job in jobs)
    assert not any(job.startswith("click_logs_scan") and "scan-0" in job for job in jobs)


def test_an_archive_of_another_source_is_fetched_alone_and_the_others_stay_drawn(project):
    own = project.folder / "one"
    own.mkdir()
    day = archives_of(project, "click_logs")[1]
    lines = gzip.decompress(day.read_bytes()).splitlines(keepends=True)
    (own / day.name).write_bytes(gzip.compress(b"".join(lines[:-1])))
    (project.folder / "one.yaml").write_text(
        f"datasets: {{click_logs: {{archive_sources: {{{day.name}: one}}}}}}\n"
    )
    jobs = project.run("data", overlays=("tiny.yaml", "one.yaml"))
    assert {job for job in jobs if job.startswith("archive ")} == {
        f"archive data/mini/click_logs/archives/{day.name}.json"
    }
    assert day.samefile(own / day.name)
    assert "click_logs_scan data/mini/click_logs/prepared/receipts/scan-1.json" in jobs
    assert project.run("data", overlays=("tiny.yaml", "one.yaml")) == set()


def test_one_more_run_is_one_run_and_a_score(project):
    more, overlays = project.folder / "more.yaml", ("tiny.yaml", "more.yaml")
    more.write_text("runs: 2\n")
    assert project.run("-n", overlays=overlays) == trainings(*BENCHMARKS, numbers=[1]) | SCORES
    more.write_text(json.dumps({"runs": dict.fromkeys(BENCHMARKS, 1) | {"dlrm": 2}}))
    assert project.run(overlays=overlays) == trainings("dlrm", numbers=[1]) | SCORES
    fewer = project.run()  # back to one: the second is not scored, and nothing is trained
    assert fewer == SCORES


def test_kernels_that_are_missing_are_compiled_and_rerun_no_run(project):
    """By the plan; not even the runs of their own benchmark, of which one is missing, too."""
    kernels, (lost,) = "data/mini/kernels/minigo", trainings("minigo")
    (project.folder / kernels).unlink()
    assert project.run("-n") == {f"kernels {kernels}"}
    (project.folder / lost.removeprefix("train ")).unlink()
    assert project.run("-n") == {f"kernels {kernels}", lost} | SCORES


def test_other_hyperparameter_reruns_its_benchmark(project):
    (project.folder / "over.yaml").write_text("overrides: {resnet: {base_learning_rate: 2.0}}\n")
    assert project.run(overlays=("tiny.yaml", "over.yaml")) == trainings("resnet") | SCORES


def test_other_seed_of_the_runs_redraws_the_miniatures_too(project):
    jobs = project.run("-n", "--config", "seed=2")
    assert trainings(*BENCHMARKS) <= jobs
    assert {job for job in jobs if job.startswith("archive ")}
