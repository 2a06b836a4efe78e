"""The jobs that failed, from what Snakemake logged of them."""

from __future__ import annotations

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
    assert "'sbatch: error: Invalid account'; see what Snakemake says above" in next(failures(REFUSED))
