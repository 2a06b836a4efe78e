"""Start a command as several ranks on this machine, which end together.

As torchrun does, under the same environment variables; but a failure is told in one sentence, a stopped rank is killed
within seconds, and no rank outlives the launcher, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from subprocess import Popen
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.nn.processes import ENDING, end_with_parent, ending

GRACE_S = 3
"""For ranks to end by themselves after another one failed, and again after SIGTERM; then they are killed."""
LOOK_S = 0.1


def launch(command: Sequence[str], ranks: int) -> None:
    """Run `command` as so many ranks.

    Raises:
        OctathlonError: naming the rank, if a signal ended one; or if there is no such command.
        SystemExit: if one failed otherwise, of which its own message tells; or after SIGTERM and SIGUSR1, which the
            ranks are told and may take their time to end after, see `checkpoints`.
    """
    if not (program := shutil.which(command[0])):
        raise OctathlonError(f"{command[0]!r}: no such program; correct the command")
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    port = _free_port()
    processes: list[Popen[bytes]] = []
    try:
        for rank in range(ranks):
            environment = _environment(rank, ranks, port)
            processes.append(
                Popen([program, *command[1:]], env=environment, preexec_fn=end_with_parent)  # noqa: PLW1509 - no threads
            )
        told = _pass_signals_on(processes)
        failed = _first_failures(processes)
    finally:
        _end(processes)
    if told:
        sys.exit(128 + told[0])
    for rank, code in failed.items():
        if code < 0:
            raise OctathlonError(
                f"rank {rank} (process {processes[rank].pid}) {ending(code)}: see whether memory ran out or who ended "
                "it, then rerun"
            )
    if failed:
        sys.exit(1)


def _pass_signals_on(processes: Sequence[Popen[bytes]]) -> list[int]:
    """Tell the ranks that their time ends; those signals so far, then and later."""
    told: list[int] = []

    def tell(number: int, _frame: Any) -> None:
        told.append(number)
        for process in processes:
            process.send_signal(number)

    for each in ENDING:
        signal.signal(each, tell)
    return told


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    values = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "MASTER_PORT": port,
    }
    defaults = {
        "OMP_NUM_THREADS": "1",  # else each rank would take all cores
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # else ranks warn, with traces, that another one has gone
    }
    return (
        defaults
        | os.environ
        | {"MASTER_ADDR": "127.0.0.1"}
        | {name: str(value) for name, value in values.items()}
    )


def _first_failures(processes: Sequence[Popen[bytes]]) -> dict[int, int]:
    """Wait for the end of all, or until some have failed: their ranks and exit codes."""
    while True:
        codes = [process.poll() for process in processes]
        if failed := {rank: code for rank, code in enumerate(codes) if code}:
            return failed
        if None not in codes:
            return {}
        time.sleep(LOOK_S)


def _end(processes: Sequence[Popen[bytes]]) -> None:
    """Wait a moment for those that still run, then ask them to end, then kill them."""
    for act in (Popen.poll, Popen.terminate, Popen.kill):
        deadline = time.monotonic() + GRACE_S
        for process in processes:
            act(process)
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
