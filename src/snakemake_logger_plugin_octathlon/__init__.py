"""What `snakemake` shows on a terminal: `--logger octathlon`, which profiles/default has.

Snakemake finds the package by its name. Where nobody looks (no terminal), or asks for everything (--verbose), Snakemake
logs as it does without; and all that it logs is in the file under .snakemake/log, too.
"""

from __future__ import annotations

import logging
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_octathlon.view import Plan, View


class LogHandler(LogHandlerBase):
    """Hands the events of a workflow to what draws them."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        stream = sys.stdout if settings.dryrun else sys.stderr
        self.writes_to_stream = stream.isatty() and not (settings.verbose or settings.quiet)
        self.view = Plan(stream) if settings.dryrun else View(stream, self.lock)

    def emit(self, record: logging.LogRecord) -> None:
        if not self.writes_to_stream:
            return
        try:
            self._show(record)
        except Exception:  # a display must not end a workflow
            self.handleError(record)

    def _show(self, record: logging.LogRecord) -> None:
        match getattr(record, "event", None):
            case LogEvent.RUN_INFO:
                self.view.planned(record.stats)
            case LogEvent.JOB_INFO:
                self.view.started(record)
            case LogEvent.JOB_FINISHED:
                self.view.finished(record.job_id)
            case LogEvent.JOB_ERROR:
                self.view.failed(record)
            case LogEvent.ERROR | None:
                self.view.told(record.getMessage(), record.levelno)

    def close(self) -> None:
        if self.writes_to_stream:
            with self.lock:  # which logging holds while it has a record emitted
                self.view.close()
        super().close()
