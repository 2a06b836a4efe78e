"""`octathlon train` as a rule or a user calls it, alone and as several ranks."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from octathlon.harness.rundir import owned_log
from octathlon.scoring.checker import check_log

BIN = Path(sys.executable).parent
TINY = {
    "resnet": {"cadence": {"first": 1, "every": 1, "limit": 2}, "image_size": 32, "global_batch_size": 8},
    "dlrm": {"cadence": {"first": 0.5, "every": 0.25, "limit": 1}, "global_batch_size": 32},
}
DATA = {"resnet": "imagenet", "dlrm": "click_logs"}


def train(project, benchmark, name, *options, ranks=1, settings=None):
    """Train on the tiny data; returns the finished process and the path of the log."""
    output = project.folder / name / "result_0.txt"
    launch = (
        [f"{BIN}/torchrun", "--standalone", "--nproc-per-node", str(ranks), "--no-python"]
        if ranks > 1
        else []
    )
    command = [
        *launch,
        *(f"{BIN}/octathlon", "train", benchmark, "--output", str(output)),
        *("--data", f"data/mini/{DATA[benchmark]}/prepared"),
        *("--settings", json.dumps(TINY[benchmark] | (settings or {})), *options),
    ]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done, output


def events(path, key):
    lines = (json.loads(line.removeprefix(":::MLLOG ")) for line in path.read_text().splitlines())
    return [line for line in lines if line["key"] == key]


def qualities(path):
    return [event["value"] for event in events(path, "eval_accuracy")]


def test_missed_target_is_a_result(project):
    done, log = train(project, "resnet", "missed", settings={"target": {"accuracy": 0.999}})
    assert done.returncode == 0, done.stderr
    assert events(log, "run_stop")[0]["metadata"]["status"] == "aborted"
    assert len(qualities(log)) == 2


def test_log_of_the_open_division_keeps_the_rules(project):
    for benchmark in TINY:
        done, log = train(project, benchmark, f"open-{benchmark}")
        assert done.returncode == 0, done.stderr
        assert [finding for finding in check_log(log, "v1.1") if finding.severity == "error"] == []
        assert (
            f":::MLLOG {json.dumps(events(log, 'run_stop')[0])}" in done.stdout
        )  # also for the job's log file


def test_same_seed_same_qualities_other_seed_others(project):
    logs = [train(project, "resnet", f"seed-{n}", "--seed", str(seed))[1] for n, seed in enumerate((3, 3, 4))]
    assert qualities(logs[0]) == qualities(logs[1])
    assert [event["value"] for event in events(logs[2], "seed")] == [4]
    losses = [train(project, "dlrm", f"seed-{n}", "--seed", str(seed))[1] for n, seed in enumerate((3, 3, 4))]
    assert qualities(losses[0]) == qualities(losses[1]) != qualities(losses[2])


def test_two_ranks_with_the_same_global_batch_learn_the_same(project):
    alone = train(project, "dlrm", "alone")[1]
    done, both = train(project, "dlrm", "both", ranks=2)
    assert done.returncode == 0, done.stderr
    assert len(qualities(both)) == len(qualities(alone)) == 3
    assert qualities(both) == pytest.approx(qualities(alone), abs=1e-6)
    assert len(events(both, "run_stop")) == 1  # one log, whatever the number of ranks


def test_two_ranks_of_resnet_share_one_evaluation(project):
    done, log = train(project, "resnet", "ranks", ranks=2)
    assert done.returncode == 0, done.stderr
    samples = events(log, "eval_samples")[0]["value"]
    assert all((value * samples) == pytest.approx(round(value * samples)) for value in qualities(log))
    assert events(log, "model_bn_span")[0]["value"] == 4


def test_crash_leaves_no_log(project):
    index = next(project.folder.glob("data/mini/imagenet/prepared/train-000.jpegs"))
    index.write_bytes(b"")
    done, log = train(project, "resnet", "crash")
    assert done.returncode == 1
    assert "train-000.jpegs: cannot read image" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(log.parent.iterdir()) == []


def test_second_writer_is_refused(project):
    log = project.folder / "owned" / "result_0.txt"
    with owned_log(log):
        done, _ = train(project, "dlrm", "owned")
        assert done.returncode == 1
        assert "is writing it" in done.stderr
    assert log.read_text() == ""  # the owner's


def test_data_that_are_not_prepared_are_named(project):
    (project.folder / "data/mini/imagenet/prepared/manifest.json").unlink()
    done, _ = train(project, "resnet", "unprepared")
    assert done.returncode == 1
    assert "data/mini/imagenet/prepared/manifest.json: not there" in done.stderr


def test_batch_that_does_not_divide_is_named(project):
    done, _ = train(project, "dlrm", "odd", ranks=2, settings={"global_batch_size": 33})
    assert done.returncode != 0
    assert "global_batch_size 33 does not divide into 2 ranks" in done.stderr


def test_max_blocks_is_a_smoke_test(project):
    done, log = train(project, "dlrm", "smoke", "--max-blocks", "1")
    assert done.returncode == 0, done.stderr
    assert len(qualities(log)) == 1


def test_progress_line_where_a_terminal_is_attached(project):
    main, terminal = pty.openpty()
    command = [f"{BIN}/octathlon", "train", "resnet", "--output", "seen/result_0.txt"]
    command += ["--data", "data/mini/imagenet/prepared", "--settings", json.dumps(TINY["resnet"])]
    with subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=subprocess.PIPE, stderr=terminal
    ) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while block := os.read(main, 4096):
                shown += block
        assert process.stdout.read() == b""  # the line replaces the events
    os.close(main)
    assert process.returncode == 0, shown
    text = shown.decode()
    quality = qualities(project.folder / "seen/result_0.txt")[-1]
    assert f"accuracy {quality:.4f} of 0.9" in text
    assert "resnet, seed 1" in text
    assert "of at most 2 epochs" in text
