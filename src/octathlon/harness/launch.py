"""Start a command as several ranks on this machine: torchrun, but for what it says when a rank fails."""

from __future__ import annotations

import logging
import shutil
import signal
import sys
from collections.abc import Sequence

from octathlon.errors import OctathlonError

GRACE_S = 5
"""To end by themselves after another rank failed; then the remaining ranks are killed."""


def launch(command: Sequence[str], ranks: int) -> None:
    """Run `command` as so many ranks, which find each other by torchrun's environment variables.

    Raises:
        OctathlonError: naming the rank, if a signal ended one; or if there is no such command.
        SystemExit: if one failed otherwise, of which its own message tells.
    """
    if not shutil.which(command[0]):
        raise OctathlonError(f"{command[0]!r}: no such program; correct the command")
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    logging.disable()  # a failure would be told three times
    options = [
        "--standalone",
        "--nproc-per-node",
        str(ranks),
        "--shutdown-timeout",
        str(GRACE_S),
        "--no-python",
    ]
    try:
        run.run(run.parse_args([*options, *command]))
    except SignalException as end:
        raise OctathlonError(
            f"{end.sigval.name} ended the launcher, and with it all ranks; rerun when nothing ends it"
        ) from None
    except ChildFailedError as end:
        killed: dict[int, ProcessFailure] = {
            rank: failure for rank, failure in end.failures.items() if failure.exitcode < 0
        }
        if not killed:
            sys.exit(1)
        rank, failure = min(killed.items(), key=lambda item: -item[1].exitcode == signal.SIGTERM)
        raise OctathlonError(
            f"rank {rank} (process {failure.pid}) was killed by {failure.signal_name()}: see whether memory ran out or "
            "who ended it, then rerun"
        ) from None
