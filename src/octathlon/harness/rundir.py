"""The place of one run's log: owned by one process, and published only when the run has ended.

While a run goes on, its log is `.<name>.part`, locked by the process that writes it (flock, which the kernel releases
when that process dies in whatever way). A second writer is refused; a crash leaves no `<name>`.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from octathlon.errors import OctathlonError, unwritable


@contextmanager
def owned_log(path: Path) -> Iterator[TextIO]:
    """A text file that becomes `path` when the block ends well, and vanishes when it doesn't.

    Raises:
        OctathlonError: naming the owner, if another process is writing it; or if it can't be written.
    """
    part, owner = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a", encoding="utf-8") as log:
            _lock(log, part, path, owner)
            try:
                owner.write_text(_myself())
                yield log
                log.flush()
                os.fsync(log.fileno())
                part.replace(path)
            finally:
                discard(path)
    except OSError as error:
        raise unwritable(path, error, part, owner) or error from error


def discard(path: Path) -> None:
    """Remove what its owner has written for `path` so far."""
    for each in reversed(_beside(path)):
        each.unlink(missing_ok=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """Where the log is until it is published, and the text that says who owns it."""
    return path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.owner")


def _lock(log: TextIO, part: Path, path: Path, owner: Path) -> None:
    """Become the owner of `part`, emptied of what a killed run left there."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = part.exists() and os.path.samestat(os.fstat(log.fileno()), part.stat())
    except BlockingIOError:
        mine = False
    if not mine:  # held, or just published or given up by another one
        who = owner.read_text() if owner.exists() else "another process"
        raise OctathlonError(f"{path}: {who} is writing it; wait for that run or end it")
    log.truncate(0)


def _myself() -> str:
    job = f", Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    return f"process {os.getpid()} on {socket.gethostname()}{job}"
