"""The log of a timed run, written through the official mlperf_logging package."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mlperf_logging.mllog.mllog import MLLogger

import octathlon
from octathlon.harness.clock import Clock

SOURCE_ROOT = re.escape(str(Path(octathlon.__file__).parent.parent))
"""Cut off the file names in the log; mllog takes a regular expression."""

CALLER = 3
"""Frames between mllog and the line that logs: its own default of 1, and two for `_log` and the method below."""


class Events:
    """Writes events to `outputs`, each line at once. Without outputs (on ranks but the first) it writes nothing."""

    def __init__(self, outputs: Iterable[TextIO], clock: Clock) -> None:
        self._clock = clock
        self.behind = 0.0
        """Seconds that the log's time stood still."""
        logger = logging.Logger(
            "octathlon.events", logging.INFO
        )  # not registered: no other handler can get at it
        for output in outputs:
            logger.addHandler(_Strict(output))
        self._silent = not logger.handlers
        self._mllog = MLLogger(logger, root_dir=SOURCE_ROOT)

    def start(self, key: str, value: Any = None, **metadata: Any) -> float:
        """Log the start of an interval; return its time in seconds."""
        return self._log(self._mllog.start, key, value, metadata)

    def stop(self, key: str, value: Any = None, **metadata: Any) -> float:
        """Log the end of an interval; return its time in seconds."""
        return self._log(self._mllog.end, key, value, metadata)

    def point(self, key: str, value: Any = None, **metadata: Any) -> float:
        """Log an event without a length; return its time in seconds."""
        return self._log(self._mllog.event, key, value, metadata)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the log's time stand still in the block, and go on from there after it."""
        clock, began = self._clock, self._clock()
        self._clock = lambda: began
        yield
        self._clock = clock
        self.behind += clock() - began

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Write nothing in the block."""
        before, self._silent = self._silent, True
        yield
        self._silent = before

    def _log(self, write: Any, key: str, value: Any, metadata: dict[str, Any]) -> float:
        now = self._clock() - self.behind
        if not self._silent:
            write(key, value, metadata, time_ms=int(now * 1000), stack_offset=CALLER)
        return now


class _Strict(logging.StreamHandler):
    """A log with a line missing would be a false result: what mllog only reports ends the run."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno > logging.INFO:
            if isinstance(fault := sys.exception(), OSError):
                raise fault  # a full disk, say, which mllog takes for a value that can't be written
            raise ValueError(record.getMessage().strip())
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - logging calls this while it handles the exception
