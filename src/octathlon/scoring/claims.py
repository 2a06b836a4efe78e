"""What was announced of a round, recomputed from its logs: `rounds/claims_<round>.yaml`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from octathlon.scoring import rule_data
from octathlon.scoring.results import Result, best_results
from octathlon.scoring.rules import Round
from octathlon.scoring.text import Table


@dataclass(frozen=True, slots=True)
class Measured:
    """A claim's value as recomputed."""

    value: float
    """NaN: it cannot be computed."""
    evidence: str


def claims_table(results: Sequence[Result], rules: Round) -> Table:
    """Each announced claim of a round with its evidence and a verdict; without rows if none are known."""
    name = f"claims_{rules.name}"
    known = (rule_data.ROUNDS / f"{name}.yaml").is_file()
    rows = []
    for claim in rule_data.load(name) if known else ():
        measured = _MEASURES[claim["measure"]](results, rules.name, **claim["arguments"])
        low, high = claim["claimed"]
        verdict = "reproduced" if low <= measured.value <= high else "not reproducible from these logs"
        rows.append([claim["words"], claim["source"], verdict, measured.evidence])
    return Table(f"What was announced of {rules.name}", ["announced", "by", "verdict", "evidence"], rows)


def fastest_in(results: Sequence[Result], round_name: str, org: str) -> Measured:
    """In how many benchmarks of the closed division `org` has the best result."""
    best = _best_closed(results, round_name)
    won = [benchmark for benchmark, result in best.items() if result.org == org]
    others = ", ".join(f"{name} by {result.org}" for name, result in best.items() if result.org != org)
    evidence = f"{len(won)} of {len(best)}: {', '.join(won) or 'none'}" + (f"; {others}" if others else "")
    return Measured(len(won), evidence)


def greatest_speedup(
    results: Sequence[Result], round_name: str, since: str, org: str | None = None
) -> Measured:
    """The greatest ratio of best results of the closed division to those of an earlier round, of one `org`
    or all."""
    chosen = [result for result in results if org is None or result.org == org]
    old, new = _best_closed(chosen, since), _best_closed(chosen, round_name)
    ratios = {name: old[name].minutes / new[name].minutes for name in old.keys() & new.keys()}
    if not ratios:
        return Measured(
            math.nan, f"no benchmark with results of {org or 'anyone'} in both {since} and {round_name}"
        )
    name = max(ratios, key=lambda each: (ratios[each], each))
    before, after = (f"{best[name].minutes:.3f} ({best[name].org})" for best in (old, new))
    return Measured(ratios[name], f"{ratios[name]:.2f} times, {name}: {before} to {after} minutes")


def organisations(results: Sequence[Result], round_name: str) -> Measured:
    """How many organisations have a result."""
    names = sorted({result.org for result in results if result.round == round_name})
    return Measured(len(names), f"{len(names)} in these logs: {', '.join(names)}")


def results_filed(results: Sequence[Result], round_name: str) -> Measured:
    """How many folders of a system and a benchmark there are."""
    divisions = Counter(result.division for result in results if result.round == round_name)
    words = ", ".join(f"{count} {division}" for division, count in sorted(divisions.items()))
    return Measured(divisions.total(), f"{divisions.total()} in these logs: {words}")


def _best_closed(results: Sequence[Result], round_name: str) -> dict[str, Result]:
    """Benchmark -> best result of the closed division."""
    best = best_results(
        result for result in results if (result.round, result.division) == (round_name, "closed")
    )
    return {benchmark: by_round[round_name] for (benchmark, _), by_round in best.items()}


_MEASURES: Mapping[str, Callable[..., Measured]] = {
    "fastest_in": fastest_in,
    "greatest_speedup": greatest_speedup,
    "organisations": organisations,
    "results": results_filed,
}
