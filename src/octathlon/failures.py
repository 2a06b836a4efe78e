"""Which of a workflow's jobs failed, and why: the end of what a scheduler said of days of work, in a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator

REASONS = {
    "TIMEOUT": "its time limit was reached; give its system a larger runtime_min",
    "DEADLINE": "its time limit was reached; give its system a larger runtime_min",
    "OUT_OF_MEMORY": "it took more memory than it had asked for; give its system a larger memory_mb",
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node failed",
}
"""Slurm's states of jobs that ended before their time."""

BLOCK = re.compile(r"^Error in rule (\w+):\n((?:(?: {4}|For further error details).*\n)+)", re.MULTILINE)
"""Of Snakemake's log; logs of jobs that are shown within have such blocks of the same outputs after it."""


def failures(log: str) -> Iterator[str]:
    """A sentence for each job of which Snakemake's log says that it failed, and not that a later try succeeded."""
    finished = set(re.findall(r"^Finished jobid: (\d+) \(Rule: (\w+)\)", log, re.MULTILINE))
    told = set()
    for rule, block in BLOCK.findall(log):
        said = dict(re.findall(r"^ {4}(\w+): (.*)", block, re.MULTILINE))
        output = said.get("output", "")
        if (said.get("jobid"), rule) in finished or output in told:
            continue
        told.add(output)
        where = said.get("log", "what Snakemake says above").split(" (check ")[0]
        yield f"{rule} {output}: {_reason(said.get('message', ''))}; see {where}"


def _reason(message: str) -> str:
    """Why, by what the executor says of the job, which is None for a command that failed."""
    if state := re.search(r"SLURM status is: '(\w+)'", message):
        return REASONS.get(state[1], "it ended with an error")
    return "it ended with an error" if message in ("", "None") else message.rstrip(".")
