"""What can be said of the scores before anything has run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from octathlon.scoring.olympic import needed_runs, score_runs
from octathlon.scoring.rules import OURS, load_round


def without_score(runs: Mapping[str, int]) -> Iterator[str]:
    """A sentence for each reason why planned runs can't make a score, whatever comes of them.

    Args:
        runs: benchmark -> number of runs; one that is in no round has no score anyway.
    """
    reasons: dict[str, list[str]] = {}
    for benchmark, count in runs.items():
        if task := load_round(OURS).task(benchmark):
            score = score_runs([0] * count, *needed_runs(runs, benchmark, task.runs, task.drop))
            reasons.setdefault(score.reason, []).append(benchmark)
    reasons.pop("", None)
    for reason, benchmarks in reasons.items():
        yield f"no score will come of {', '.join(benchmarks)}: {reason}; raise `runs` if you want one"
