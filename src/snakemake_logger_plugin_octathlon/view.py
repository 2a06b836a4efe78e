"""A workflow on a terminal: a line for each rule, the quality of the runs as they come, and the time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from threading import Event, Thread
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

TIMED = "train"
"""The rule that a round's time goes to: before one of its jobs is done, nobody knows how long the others take."""
REPEATS = ("RuleException:\nCalledProcessError", "failed (")
"""What Snakemake says of a shell command that failed, before it names the job, and the workflow's own list of failures:
both are told by the jobs' logs."""
EVENT = ":::MLLOG"
"""A run's log repeats its events among what it says."""
NO_WORD = "It left no word: it was ended from outside, by hand or as memory ran out."
REFRESH_S = 0.5
TELLING = ("Nothing to be done", "Complete log", "This was a dry-run")
"""What else Snakemake says in passing is in its log file."""


@dataclass
class Rule:
    """How far the jobs of a rule are."""

    total: int
    done: int = 0
    seconds: float = 0.0
    """That its finished jobs took."""

    def average(self, unknown: float) -> float:
        """Seconds that a job took; `unknown` before one is done."""
        return self.seconds / self.done if self.done else unknown


@dataclass
class Job:
    """A job that has begun."""

    rule: str
    wildcards: Mapping[str, str]
    output: list[str]
    log: list[str]
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began


class Plan:
    """A dry run: a line for each job that would run, with the reason."""

    def __init__(self, stream: TextIO) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=True)
        self.stats: Mapping[str, int] = {}

    def planned(self, stats: Mapping[str, int]) -> None:
        """How many jobs of each rule there are; said before the jobs, and once more after them."""
        self.stats = stats

    def started(self, job: Any) -> None:
        """A job that would run."""
        if job.output:
            reason = shorten(job.reason, 120, placeholder=" ...")
            self.console.print(Text.assemble((job.rule_name, "bold"), f" {' '.join(job.output)}: {reason}"))

    def told(self, message: str, level: int) -> None:
        """What Snakemake says beside that."""
        if level >= logging.WARNING or message.startswith(TELLING):
            self.console.print(Text(message))

    def close(self) -> None:
        """Count the jobs: where a reader looks first, the end."""
        if self.stats:
            counts = [f"{count} {rule}" for rule, count in self.stats.items() if rule != "total"]
            self.console.print(Text(f"{self.stats['total']} jobs: {', '.join(counts)}"))
            self.stats = {}


class View:
    """A run: a rule at work has a bar, a finished one leaves a line, and what failed is told at the end."""

    def __init__(self, stream: TextIO, lock: AbstractContextManager[Any]) -> None:
        """`lock` is held while a method is called, and by the thread that redraws. rich's own thread would draw in the
        midst of a line's printing as well, and then wipe lines that should stay."""
        self.console = Console(file=stream, highlight=False)
        self.rules: dict[str, Rule] = {}
        self.running: dict[int, Job] = {}
        self.failures: dict[int, Job] = {}
        self.runs: dict[str, list[str]] = {}
        self.began = time.monotonic()
        self.live = Live(console=self.console, get_renderable=self._now, auto_refresh=False, transient=True)
        self.lock, self.ended = lock, Event()

    def planned(self, stats: Mapping[str, int]) -> None:
        """How many jobs of each rule will run."""
        self.rules = {rule: Rule(total) for rule, total in stats.items() if rule != "total"}
        if not self.live.is_started:
            self.live.start()
            Thread(target=self._redraw, daemon=True).start()

    def started(self, job: Any) -> None:
        """A job has begun."""
        self.running[job.jobid] = Job(job.rule_name, job.wildcards, job.output, job.log)

    def finished(self, jobid: int) -> None:
        """A job has ended well, perhaps after a failure."""
        self.failures.pop(jobid, None)
        if (job := self.running.pop(jobid, None)) is None:
            return
        rule = self.rules[job.rule]
        rule.done += 1
        rule.seconds += job.seconds
        if job.rule == TIMED:
            wanted, reached = _quality(Path(job.output[0]))
            self.runs.setdefault(f"{job.wildcards['benchmark']}, {wanted}:", []).append(reached)
        if rule.done == rule.total and job.log:
            self.console.print(self._line(job.rule, bar=False))
            if job.rule == TIMED:
                self.console.print(*self._qualities(), sep="\n")

    def failed(self, job: Any) -> None:
        """A job has ended badly."""
        ran = self.running.pop(job.jobid, None)
        self.failures[job.jobid] = Job(job.rule_name, ran.wildcards if ran else {}, job.output, job.log)

    def told(self, message: str, level: int) -> None:
        """What Snakemake says beside the jobs; how a job failed is told at the end."""
        if (level >= logging.WARNING or message.startswith(TELLING)) and not message.startswith(REPEATS):
            self.console.print(Text(message), soft_wrap=True)

    def close(self) -> None:
        """Tell how far it came and what failed: Snakemake closes twice, so once."""
        self.ended.set()
        self.live.stop()
        if self.rules:
            self.console.print(self._total(ended=True))
            self.rules = {}
        for job in self.failures.values():
            self.console.print(Text("\n".join(_failure(job)), "red"), soft_wrap=True)
        self.failures = {}

    def _redraw(self) -> None:
        while not self.ended.wait(REFRESH_S):
            with self.lock:
                self.live.refresh()

    def _now(self) -> Group:
        names = dict.fromkeys(job.rule for job in self.running.values())
        runs = list(self._qualities()) if TIMED in names else []
        return Group(*(self._line(name, bar=True) for name in names), *runs, self._total())

    def _line(self, name: str, bar: bool) -> Table:
        rule = self.rules[name]
        line = Table.grid(padding=(0, 2))
        line.add_column(width=28)
        line.add_column(width=12, justify="right")
        line.add_column()
        shown = ProgressBar(rule.total, rule.done, width=30) if bar else Text(_clock(rule.seconds))
        line.add_row(name, f"{rule.done} of {rule.total}", shown)
        return line

    def _qualities(self) -> Iterator[Text]:
        """A line for each benchmark: the quality that each finished run has reached."""
        for benchmark, qualities in sorted(self.runs.items()):
            yield Text(f"  {benchmark} {'  '.join(qualities)}")

    def _total(self, ended: bool = False) -> Text:
        done = sum(rule.done for rule in self.rules.values())
        total = sum(rule.total for rule in self.rules.values())
        left = None if ended else self._left()
        ending = "" if left is None else f", about {_clock(left)} left"
        return Text(f"{done} of {total} jobs in {_clock(time.monotonic() - self.began)}{ending}", "bold")

    def _left(self) -> float | None:
        """Seconds: what the jobs of each rule took on average (where none is done, those of all rules), at as many side
        by side as until now."""
        rules, timed = self.rules.values(), self.rules.get(TIMED)
        done, finished = sum(rule.done for rule in rules), sum(rule.seconds for rule in rules)
        if not done or timed and not timed.done:
            return None
        running = sum(job.seconds for job in self.running.values())
        ahead = sum((rule.total - rule.done) * rule.average(finished / done) for rule in rules)
        elapsed = time.monotonic() - self.began
        return max(0.0, ahead - running) * elapsed / max(finished + running, 1e-9)


def _quality(log: Path) -> tuple[str, str]:
    """The target of a run, and the last quality that it logged; how it ended, where that was no success."""
    from octathlon.scoring.runs import read_log

    found = read_log(log)
    wanted = ", ".join(
        f"{metric} {'≥' if bounds.higher_is_better else '≤'} {bounds.threshold:g}"
        for metric, bounds in found.target.items()
    )
    quality = found.evaluations[-1].quality if found.evaluations else {}
    values = quality.values() if isinstance(quality, Mapping) else [quality]
    reached = "/".join(f"{value:.4g}" for value in values) or "not evaluated"
    ending = "" if found.statuses == ["success"] else f" ({'/'.join(found.statuses)})"
    return wanted, reached + ending


def _failure(job: Job) -> list[str]:
    """What failed, in its own words: the last that it said."""
    lines = [f"{job.rule} failed: {', '.join(job.output)}"]
    for log in map(Path, job.log):
        text = log.read_text(errors="replace") if log.exists() else ""
        said = [line for line in text.splitlines() if line.strip() and not line.startswith(EVENT)]
        lines += [f"  {said[-1] if said else NO_WORD}", f"  log: {log}"]
    return lines


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
