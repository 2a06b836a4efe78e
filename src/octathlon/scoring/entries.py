"""Entries: one system's result on one benchmark, scored by the rules of its round."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError
from octathlon.scoring.descriptions import availability, division
from octathlon.scoring.energy import joules_of
from octathlon.scoring.filing import Filing, identity, read_filed
from octathlon.scoring.olympic import Score, needed_runs, score_runs
from octathlon.scoring.outcomes import Run, judge
from octathlon.scoring.rules import Bounds, Round, Task, all_rounds, load_round
from octathlon.scoring.runs import Log
from octathlon.scoring.scaling import FILE, committed_factor, score_models
from octathlon.scoring.tasks import facts
from octathlon.scoring.telling import Told, rounds_of
from octathlon.scoring.throughput import samples_per_second
from octathlon.scoring.tree import Folder, Skipped, find_folders, natural

NONE_CHOSEN: Mapping[str, int] = {}
NONE_KNOWN: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """One system's result on one benchmark. Empty, None or an empty list: not known."""

    round: str
    org: str
    system: str
    division: str
    status: str
    """As the system's description has it."""
    availability: str
    """The display name of `status`, or of the logs' status."""
    accelerator: str
    nodes: int | None
    accelerators: int | None
    """Of all nodes."""
    framework: str
    benchmark: str
    runs_needed: int | None
    score: Score
    unscaled_minutes: float | None
    """The score before `scaling_factor`."""
    scaling_factor: float | None
    """Of the RCP normalisation, as committed; None: not known, or not a thing of the round."""
    energy_joules: float | None
    """Mean of the runs that count, where it was measured."""
    runs: tuple[Run, ...]
    """In natural order of their files."""
    global_batch_size: float | None
    epochs_to_target: float | None
    """Mean over the converged runs, in the round's `epoch_num`; None where that counts something else."""
    samples_to_target: float | None
    samples_per_second: float | None
    """Of all accelerators, while it trains; see `throughput`."""
    target: Mapping[str, Bounds]
    """Metric -> bounds: the round's (closed division), or what the logs say that they were trained to."""
    quality: float | None
    """Open division: geometric mean over the converged runs of the final quality."""
    convergence: tuple[str, ...]
    """The test against reference convergence points, where it is not passed: it never removes a result."""
    anomalies: tuple[str, ...]
    """What is odd about the logs and the description."""
    task: Task | None
    filing: Filing

    @property
    def folder(self) -> str:
        """Path in the tree."""
        return self.filing.folder.name

    @property
    def flags(self) -> tuple[str, ...]:
        """What the rules question without removing the result."""
        contested = self.filing.rules.contested.get(self.folder, "")
        return (*self.convergence, *_waived(self.filing), *([f"contested: {contested}"] if contested else []))

    @property
    def samples_per_second_and_accelerator(self) -> float | None:
        known = self.samples_per_second is not None and self.accelerators
        return self.samples_per_second / self.accelerators if known else None

    @property
    def converged(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.converged)

    @property
    def reason(self) -> str:
        """Why there is no score; empty if there is one."""
        failures = Counter(run.reason for run in self.runs if run.reason)
        words = "; ".join(
            f"{reason} ({count})" if count > 1 else reason for reason, count in failures.items()
        )
        return f"{self.score.reason}: {words}" if self.score.reason and words else self.score.reason


def score_paths(
    paths: Iterable[Path],
    round_name: str | None = None,
    runs: Mapping[str, int] = NONE_CHOSEN,
    processes: int | None = None,
) -> tuple[list[Entry], list[Skipped]]:
    """Score every benchmark folder under `paths`.

    Args:
        paths: results trees, any part of one, or logs; see `tree.find_folders`.
        round_name: whose rules hold; default: told from the logs, for each tree.
        runs: how many runs a result needs, where not as many as the round says; see `olympic.needed_runs`.
        processes: how many processes read; default: as many as there are cores, 1 for few logs.

    Returns:
        The entries in order of their folders, and what was skipped.

    Raises:
        OctathlonError: if a path does not exist, there is no such round, or nothing to score.
    """
    folders, skipped = find_folders(paths, is_benchmark)
    if not folders:
        raise OctathlonError(
            "nothing to score: no result*.txt in a benchmark folder; give a results tree or logs"
        )
    entries = score_folders(folders, round_name, runs, processes)
    unreadable = [log for entry in entries for log in entry.filing.logs if log.unreadable]
    return entries, skipped + [Skipped(log.path, log.unreadable) for log in unreadable]


def score_folders(
    folders: Sequence[Folder],
    round_name: str | None = None,
    runs: Mapping[str, int] = NONE_CHOSEN,
    processes: int | None = None,
    *,
    check: bool = False,
) -> list[Entry]:
    """Score folders; see `score_paths`. `check`: check the logs also where that does not decide a run."""
    fixed = {folder.root: Told(load_round(round_name)) for folder in folders} if round_name else None
    told = rounds_of(folders) if fixed is None else fixed
    return [score_filing(filing, runs) for filing in read_filed(folders, told, processes, check=check)]


def is_benchmark(name: str) -> bool:
    """Whether a round has a benchmark of this name."""
    return any(each.task(name) for each in all_rounds())


def score_filing(filing: Filing, runs: Mapping[str, int] = NONE_CHOSEN) -> Entry:
    """Score one folder by the rules of its round."""
    folder, logs, rules, task = filing.folder, filing.logs, filing.rules, filing.task
    description, word = filing.description, filing.division
    found = filing.findings
    judged = tuple(judge(log, rules, task, word, found.get(log.path, ())) for log in logs) if task else ()
    needed, drop = needed_runs(runs, task.name, task.runs, task.drop) if task else (None, 0)
    raw = _score(judged, task, needed, drop, folder) if task else Score(None, _no_task(filing))
    score, factor = _scaled(raw, filing) if rules.scaled else (raw, None)
    converged = [run for run in judged if run.converged]
    batch_size = _common(log.numbers.get("global_batch_size") for log in logs)
    return Entry(
        round=rules.name,
        org=folder.organisation.name if folder.organisation else identity(logs, "org"),
        system=folder.system.name if folder.system else identity(logs, "platform"),
        division=word,
        status=description.status,
        availability=availability(description.status, identity(logs, "status")),
        accelerator=description.accelerator,
        nodes=description.nodes,
        accelerators=description.accelerators,
        framework=description.framework,
        benchmark=":".join(filter(None, (task.name if task else folder.path.name, folder.mode))),
        runs_needed=needed,
        score=score,
        unscaled_minutes=raw.minutes,
        scaling_factor=factor,
        energy_joules=_energy(raw, judged, factor),
        runs=judged,
        global_batch_size=batch_size,
        epochs_to_target=_mean(run.epoch for run in converged)
        if task and task.progress == "epochs"
        else None,
        samples_to_target=_mean(samples_to_target(run, task) for run in converged) if task else None,
        samples_per_second=_throughput(converged, filing),
        target=_target(task, word, batch_size, logs),
        quality=_geometric_mean(converged, task) if task and word == "open" else None,
        convergence=_convergence_flags(judged, rules, task, word, batch_size, factor)
        if score.minutes is not None
        else (),
        anomalies=tuple(_anomalies(filing, judged)),
        task=task,
        filing=filing,
    )


def _no_task(filing: Filing) -> str:
    """Why a folder has no rules to score it by."""
    if filing.rules.name:
        return f"not a benchmark of {filing.rules.name}"
    return f"{filing.guess}: choose the rules with --round"


def _scaled(raw: Score, filing: Filing) -> tuple[Score, float | None]:
    """The score as published, and its committed factor."""
    factor = committed_factor(filing.folder.path)
    if factor is None:
        return Score(None, f"{FILE} has no scaling_factor above 0: the published score is not known"), None
    return (raw if raw.minutes is None else replace(raw, minutes=raw.minutes * factor)), factor


def _energy(raw: Score, judged: Sequence[Run], factor: float | None) -> float | None:
    """Scaled as the minutes are."""
    joules = joules_of(raw, judged)
    return joules * factor if joules is not None and factor is not None else None


def _throughput(converged: Sequence[Run], filing: Filing) -> float | None:
    """Not of weak scaling, where each model has a part of the system."""
    if filing.task is None or filing.folder.mode == "weak":
        return None
    samples = [trained_samples(run, filing.task, filing.rules) for run in converged]
    return samples_per_second(converged, samples, filing.description.accelerators)


def _score(judged: Sequence[Run], task: Task, needed: int, drop: int, folder: Folder) -> Score:
    """The score of all runs; indices refer to `judged`."""
    if folder.mode == "weak":
        return score_models(judged, needed)
    order = sorted(
        range(len(judged)), key=lambda index: (judged[index].log.start_ms, natural(judged[index].log.path))
    )
    if task.first_converged and len(judged) > needed:
        order = [index for index in order if judged[index].converged][:needed]
    minutes = [judged[index].minutes if judged[index].converged else math.inf for index in order]
    score = score_runs(minutes, needed, drop)
    low, high, kept = (
        tuple(order[place] for place in places) for places in (score.low, score.high, score.kept)
    )
    return Score(score.minutes, score.reason, low, high, kept)


def trained_samples(run: Run, task: Task, rules: Round) -> float | None:
    """Training samples of a run, by what is known of its task where logs err; None: not known."""
    known = NONE_KNOWN if run.log.target else facts(task.name, rules)
    if run.epoch is None:
        return None
    if task.checkpoint == "step_num":
        batch_size = run.log.numbers.get("global_batch_size")
        return run.epoch * batch_size if batch_size is not None else None
    if "epoch_samples" not in known:
        return samples_to_target(run, task)
    if run.epoch > known.get("longest", math.inf):
        return run.epoch
    return (run.epoch - known.get("first", 0)) * known["epoch_samples"]


def samples_to_target(run: Run, task: Task) -> float | None:
    """Training samples that a run took to its target.

    Where `epoch_num` counts samples (bert) but is 1, the log's train_samples is the number trained until
    convergence.
    """
    train_samples = run.log.numbers.get("train_samples")
    if run.epoch is None or task.progress == "other":
        return None
    if task.progress == "samples_count":
        return run.epoch
    if task.progress == "samples":
        return run.epoch if run.epoch > 1 else train_samples
    return run.epoch * train_samples if train_samples is not None else None


def _common(values: Iterable[float | None]) -> float | None:
    """The one value that all known ones have."""
    different = {value for value in values if value is not None}
    return different.pop() if len(different) == 1 else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _target(
    task: Task | None, word: str, batch_size: float | None, logs: Iterable[Log]
) -> Mapping[str, Bounds]:
    if task is not None and word == "closed":
        return task.target_at(batch_size)
    return next((log.target for log in logs if log.target), {})


def _geometric_mean(converged: Iterable[Run], task: Task) -> float | None:
    metric = next(iter(task.target))
    values = [run.quality.get(metric, math.nan) for run in converged]
    if not values or not all(value > 0 for value in values):
        return None
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def _convergence_flags(
    judged: Sequence[Run],
    rules: Round,
    task: Task | None,
    word: str,
    batch_size: float | None,
    committed: float | None,
) -> tuple[str, ...]:
    """The test against reference convergence points: a flag with its numbers, never a filter. Where results are scaled,
    whether the committed factor is the one that follows."""
    if task is None or word != "closed" or batch_size is None or len(judged) != task.runs:
        return ()
    from octathlon.scoring import rcp  # takes time to load

    points = [_convergence_point(run, task) if run.converged else math.inf for run in judged]
    if None in points or not rcp.has_points(rules.name):
        return ()
    if not rules.scaled:
        verdict = rcp.check_convergence(task.name, int(batch_size), points, task.drop)
        return (f"RCP {verdict.flag}: {verdict.words}",) if verdict.flag in ("fail", "missing") else ()
    factor = rcp.normalisation(rules.name, task.name, int(batch_size), points, task.drop)
    if None in (factor, committed) or math.isclose(factor, committed, rel_tol=rcp.ROUNDING):
        return ()
    return (f"scaling_factor {committed:.6g} is committed; by the reference convergence points {factor:.6g}",)


def _convergence_point(run: Run, task: Task) -> float | None:
    """In the unit of the reference points; epochs have three decimals there, and in mlperf_logging's test."""
    if task.progress == "samples":
        return samples_to_target(run, task)
    return None if run.epoch is None else round(run.epoch, 3)


def _waived(filing: Filing) -> list[str]:
    """The checks that logs broke and that the round waived."""
    broken = [{finding.waived for finding in found} - {""} for found in filing.findings.values()]
    names = Counter(name for each in broken for name in each)
    return [f"waived: {name} ({count} of {len(broken)} runs)" for name, count in sorted(names.items())]


def _anomalies(filing: Filing, judged: Sequence[Run]) -> list[str]:
    description, logs = filing.description, filing.logs
    found = [description.problem] if description.problem else []
    words = {division(log.identity["division"]) for log in logs if "division" in log.identity}
    if description.division and words - {description.division}:
        found.append(
            f"division: {description.division} in the description, {', '.join(sorted(words))} in the logs"
        )
    batch_sizes = {log.numbers["global_batch_size"] for log in logs if "global_batch_size" in log.numbers}
    if len(batch_sizes) > 1:
        found.append(
            f"different global batch sizes: {', '.join(f'{size:g}' for size in sorted(batch_sizes)[:5])}"
        )
    clocks = Counter((log.start_ms, log.stop_ms) for log in logs if log.starts and log.stops)
    if repeated := sum(count for count in clocks.values() if count > 1):
        found.append(f"{repeated} runs have the same clock: copies of one log?")
    odd = Counter(anomaly for run in judged for anomaly in run.anomalies)
    failed = Counter(run.reason for run in judged if run.reason)
    return found + [f"{words} ({count} of {len(judged)} runs)" for words, count in (failed + odd).items()]
