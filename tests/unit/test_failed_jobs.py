"""The jobs that failed, from what Snakemake logged of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from octathlon.failures import failures

KILLED = """\
[Fri Nov 27 19:33:26 2026]
Error in rule train:
    message: SLURM-job '15' failed, SLURM status is: '{state}'. Detailed failure reason unavailable.
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 88
    output: results/two/result_{n}.txt
    log: logs/two/{n}.log (check log file(s) for error details)
    shell:
        octathlon train
        (command exited with non-zero exit code)
    external_jobid: 15
Logfile logs/two/{n}.log:
================================================================================
Error in rule train:
    message: None
    jobid: 0
    output: results/two/result_{n}.txt
    log: logs/two/{n}.log (check log file(s) for error details)
================================================================================
"""
REFUSED = """\
Error in rule system:
    message: SLURM sbatch failed. The error message was 'sbatch: error: Invalid account'.
    sbatch call:
        sbatch --parsable
For further error details see the cluster/cloud log and the log files of the involved rule(s).
    jobid: 3
    output: systems/two.json
"""
AGAIN = """\
Error in rule archive:
    message: None
    jobid: 7
    output: a.json
    log: logs/a.log (check log file(s) for error details)
Trying to restart job 7.
Finished jobid: 7 (Rule: archive)
"""


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("TIMEOUT", "its time limit was reached; give its system a larger runtime_min"),
        ("OUT_OF_MEMORY", "it took more memory than it had asked for; give its system a larger memory_mb"),
        ("CANCELLED", "it was cancelled"),
        ("FAILED", "it ended with an error"),
    ],
)
def test_a_job_that_slurm_ended_is_named_once_with_the_reason(state: str, words: str) -> None:
    assert list(failures(KILLED.format(state=state, n=4))) == [
        f"train results/two/result_4.txt: {words}; see logs/two/4.log"
    ]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "slurmstepd: error: *** JOB 8 ON n1 CANCELLED AT 2026-11-27T19:42:12 DUE TO TIME LIMIT ***",
            "its time limit",
        ),
        ("slurmstepd: error: Exceeded job memory limit", "it took more memory"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=8.0.", "it took more memory"),
        (
            "octathlon: r.txt: told to stop after 1,200 samples, a checkpoint was written",
            "it was told to end",
        ),
        ("octathlon: r.txt: told to end by SIGTERM: its job was cancelled", "it was told to end"),
        ("octathlon: the data are not prepared", "it ended with an error; see"),
    ],
)
def test_of_what_only_failed_the_logs_say_why(tmp_path: Path, said: str, words: str) -> None:
    path = tmp_path / "4.log"
    path.write_bytes(b"\xff" * (1 << 17) + said.encode())
    block = KILLED.format(state="FAILED", n=4).replace("logs/two/4.log (", f"logs/absent.log, {path} (")
    assert next(failures(block)).startswith(f"train results/two/result_4.txt: {words}")


def test_all_that_failed_are_named_but_those_that_a_later_try_finished() -> None:
    log = KILLED.format(state="TIMEOUT", n=1) + AGAIN + REFUSED + KILLED.format(state="CANCELLED", n=2)
    outputs = [line.split(": ")[0] for line in failures(log)]
    assert outputs == [
        "train results/two/result_1.txt",
        "system systems/two.json",
        "train results/two/result_2.txt",
    ]


def test_what_slurm_refused_is_told_in_its_words() -> None:
    assert next(failures(REFUSED)).startswith(
        "system systems/two.json: SLURM sbatch failed. The error message"
    )
    assert next(failures(REFUSED)).endswith("'sbatch: error: Invalid account'")
