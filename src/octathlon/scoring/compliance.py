"""The rules that a log must keep, which `checker` applies.

They are data (`rounds/compliance_<round>.yaml`), after the official checker of that time; rounds without
such a file have no rules for logs here. What published results broke and were accepted all the same is listed
as `waived` in `rounds/<round>.yaml`, and is a warning.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from octathlon.scoring import rule_data
from octathlon.scoring.findings import Finding
from octathlon.scoring.logs import Event
from octathlon.scoring.rules import load_round

Rules = Mapping[str, dict[str, Any]]
MOST_RIGHT = 10_000
"""Events that are remembered; the tensors and the blocks of a log are fewer."""
BY_VALUE = {"value", "reached", "tensors", "advice", "within", "holds", "joined"}
"""What a rule asks about the values of an event, not only whether and when there is one."""


@dataclass(frozen=True, slots=True)
class Filed:
    """Where a log is filed; empty: not known."""

    entry: str = ""
    """Its folder's path in the tree."""
    division: str = ""
    benchmark: str = ""


def has_rules(round_name: str) -> bool:
    """Whether there are rules for the logs of a round."""
    return (rule_data.ROUNDS / f"compliance_{round_name}.yaml").is_file()


def waive(finding: Finding, round_name: str, entry: str) -> Finding:
    """A finding about an entry, as a warning if it is an error that the round waived."""
    name = load_round(round_name).waiver(finding.rule, entry) if finding.severity == "error" else ""
    if not name:
        return finding
    return replace(
        finding, severity="warning", words=f"{finding.words} (waived in {round_name})", waived=name
    )


@cache
def layers(round_name: str) -> Mapping[str, Rules]:
    """The rules of a round: those of its `base`, if it has one, with its own in place of them."""
    data = rule_data.load(f"compliance_{round_name}")
    base = layers(data["base"]) if "base" in data else {}
    own = data["layers"]
    return {name: {**base.get(name, {}), **own.get(name, {})} for name in (*base, *own)}


@cache
def either(round_name: str) -> list[list[str]]:
    """Keys of which a log must have one, by its round."""
    data = rule_data.load(f"compliance_{round_name}")
    return data["either"] if "either" in data else either(data["base"])


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """The rules for the logs of one benchmark, and what is known of such logs' lines."""

    by_key: Rules
    ignored: dict[bytes, Any] = field(default_factory=dict)
    """Outlines of lines (see `shapes`) that no rule is about."""
    right: dict[bytes, Event] = field(default_factory=dict)
    """Lines without their times -> events that break no rule, whenever they are logged."""

    def remember(self, content: bytes, event: Event) -> None:
        """Take an event that breaks no rule."""
        if len(self.right) < MOST_RIGHT:
            self.right[content] = event


def rules_of(round_name: str, division: Any, benchmark: Any, optimizer: Any) -> RuleSet:
    """The rules for a log: all layers that apply, later entries in place of earlier ones."""
    return _rules_of(round_name, f"{division}", f"{benchmark}", f"{optimizer}")


@cache
def _rules_of(round_name: str, division: str, benchmark: str, optimizer: str) -> RuleSet:
    numbers = rule_data.load(round_name)
    names = ["common", division]
    if benchmark in numbers["benchmarks"]:
        names += [f"{division}_{benchmark}", f"{division}_{benchmark}_{optimizer}"]
    rules = {key: rule for name in names for key, rule in layers(round_name).get(name, {}).items()}
    full = {key: _with_numbers(rule, benchmark, numbers) for key, rule in rules.items() if rule is not None}
    timed = {key for rule in full.values() for key in rule.get("within", ())}
    return RuleSet({key: rule | _effort(key, rule, timed) for key, rule in full.items()})


def _choices(rule: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the metadata must have, of which one is enough."""
    metadata = rule.get("metadata", {})
    return metadata if isinstance(metadata, list) else [metadata]


def _effort(key: str, rule: Mapping[str, Any], timed: set[str]) -> dict[str, Any]:
    """How little must be known of a rule's events.

    by_shape: the `names` in their metadata only; by_content: what one is, but not when; repeats: not how many there
    are; counted: whether they are not all that come before; timed: when the first was; ordered: what came before it.
    """
    by_shape = not BY_VALUE & rule.keys() and not any(any(each.values()) for each in rule["metadata"])
    once = rule.get("count") == "one"
    return {
        "by_shape": by_shape and not once,
        "by_content": not {"reached", "joined", "within"} & rule.keys(),
        "repeats": not once,
        "counted": "before" in rule or key in timed,
        "timed": key in timed,
        "names": [each.keys() for each in rule["metadata"]],
        "ordered": "after" in rule or "before" in rule,
    }


def _with_numbers(rule: dict[str, Any], benchmark: Any, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """A rule that names numbers of the round (target, limits), or patterns, with what they stand for in place."""
    changes: dict[str, Any] = {"metadata": _choices(rule)}
    if "joined" in rule:
        changes["joined"] = {**rule["joined"], "metrics": list(numbers["benchmarks"][benchmark]["target"])}
    if rule.get("value") == {"in": "benchmarks"}:
        changes["value"] = {"in": list(numbers["benchmarks"])}
    if rule.get("reached") == "target":
        target = numbers["benchmarks"][benchmark]["target"]
        changes["reached"] = {"fields": target} if len(target) > 1 else next(iter(target.values()))
    if "tensors" in rule:
        changes["tensors"] = Counter(name for pattern in rule["tensors"] for name in expand(pattern))
    if "within" in rule:
        changes["within"] = {key: numbers[limit] for key, limit in rule["within"].items()}
    return rule | changes


def expand(pattern: str) -> list[str]:
    """The names that a pattern stands for: `{a,b}` and `{0..9}` as in a shell."""
    parts = [_alternatives(part) for part in re.split(r"(\{[^{}]*\})", pattern)]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _alternatives(part: str) -> list[str]:
    if not part.startswith("{"):
        return [part]
    if match := re.fullmatch(r"\{(\d+)\.\.(\d+)\}", part):
        return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]
    return part[1:-1].split(",")
