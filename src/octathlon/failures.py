"""Which of a workflow's jobs failed, and why: the end of what a scheduler said of days of work, in a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TIME = "its time limit was reached; give its system a larger runtime_min"
MEMORY = "it took more memory than it had asked for; give its system a larger memory_mb"
NODE = "its node failed"
STATES = {
    "TIMEOUT": TIME,
    "DEADLINE": TIME,
    "OUT_OF_MEMORY": MEMORY,
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": NODE,
    "BOOT_FAIL": NODE,
}
"""Slurm's states of jobs that ended before their time."""

MARKS = {
    "DUE TO TIME LIMIT": TIME,
    "[Ee]xceeded (?:job )?memory limit|oom[-_ ]kill|out-of-memory handler": MEMORY,
    "DUE TO NODE FAILURE": NODE,
    "told to (?:end by|stop after)": "it was told to end, for its time limit was near or somebody cancelled it",
}
"""What logs say of jobs of which Slurm only knows that they failed: the commands in them came first to their end."""

TAIL = 1 << 16
"""Bytes of a log's end that are looked at."""

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
        logs = said.get("log", "").split(" (check ")[0]
        where = f"; see {logs}" if logs else ""
        yield f"{rule} {output}: {_reason(said.get('message', ''), logs.split(', '))}{where}"


def _reason(message: str, logs: list[str]) -> str:
    """Why, by what the executor says of the job (None for a command that failed) and what its logs say."""
    state = re.search(r"SLURM status is: '(\w+)'", message)
    if not state and message not in ("", "None"):
        return message.rstrip(".")
    if state and state[1] in STATES:
        return STATES[state[1]]
    ends = "".join(map(_end_of, logs))
    return next((reason for mark, reason in MARKS.items() if re.search(mark, ends)), "it ended with an error")


def _end_of(log: str) -> str:
    """Nothing, where there is none."""
    with suppress(OSError), Path(log).open("rb") as file:
        file.seek(max(Path(log).stat().st_size - TAIL, 0))
        return file.read().decode(errors="replace")
    return ""
