"""What a terminal shows of a run."""

from __future__ import annotations

import io
import re
import sys
from itertools import count

from toy_benchmark import SAMPLES, toy

from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.harness.progress import display


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, benchmark) -> str:
    """What a run writes on a terminal of 80 columns while each of its steps takes a second."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    ticks = count(1_000_000)
    with display("toy", benchmark, clock=lambda: next(ticks)) as line:
        timed_run(benchmark, Events([io.StringIO()], lambda: next(ticks)), display=line)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())


def test_the_line_has_name_progress_quality_rate_and_time_left(monkeypatch):
    cadence = {"unit": "epochs", "first": 2, "every": 2, "limit": 4}
    written = shown(monkeypatch, toy(cadence=cadence, target={"error": 0.0}))
    assert re.search(r"toy, seed 1 .* · at most 0:00:0\d left", written)
    bar, last = written.splitlines()[-2:]
    assert "4 of at most 4 epochs" in bar and re.search(r"error \d\.\d{4} of 0  8 samples/s", last)


def test_samples_are_counted_where_the_cadence_does(monkeypatch):
    cadence = {"unit": "samples", "first": SAMPLES, "every": SAMPLES, "limit": 40 * SAMPLES}
    bar, last = shown(monkeypatch, toy(cadence=cadence, target={"error": 1e9})).splitlines()[-2:]
    assert f"{SAMPLES} of at most 2,560 samples" in bar and "of 1e+09" in last
