"""The small language in which `rounds/compliance_*.yaml` says what a logged value must be.

A constraint is a mapping of operators to operands, e.g. `{at_least: 0.759, below: 1}`: all must be satisfied.
A value of the wrong type, or a NaN, satisfies no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

TOLERANCE = 1e-5
"""How far from an integer a quotient may be, as in mlperf_logging's checker."""


def problem(value: Any, constraint: Mapping[str, Any]) -> str | None:
    """What `value` fails to be, in words; None if it satisfies the constraint."""
    return next(_problems(value, constraint), None)


def keeps(value: Any, constraint: Mapping[str, Any]) -> bool:
    """Whether `value` satisfies the constraint."""
    try:
        for operator, operand in constraint.items():
            if not HOLDS[operator](value, operand):
                return False
    except (TypeError, ValueError, ArithmeticError):
        return False
    return True


def fits(metadata: Mapping[str, Any], constraints: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an event's metadata have certain names, with values that satisfy their constraints."""
    for name, constraint in constraints.items():
        if name not in metadata or (constraint and not keeps(metadata[name], constraint)):
            return False
    return True


def fits_one(metadata: Mapping[str, Any], choices: Iterable[Mapping[str, Mapping[str, Any]]]) -> bool:
    """Whether an event's metadata fit one of several choices."""
    for each in choices:  # noqa: SIM110 (a generator takes longer than what it goes through)
        if fits(metadata, each):
            return True
    return False


def describe(constraint: Mapping[str, Any]) -> str:
    """A constraint in words, e.g. "at least 0.759 and below 1.0"."""
    nested = (f"{name} {describe(inner)}" for name, inner in constraint.get("fields", {}).items())
    plain = (WORDS[operator].format(operand) for operator, operand in constraint.items() if operator in WORDS)
    return " and ".join([*plain, *nested])


def holds(expression: str, value: Any, others: Mapping[str, Any]) -> bool:
    """Whether an expression in Python holds of a value and those of other keys, by name."""
    names = {
        "__builtins__": {},
        "close": _close,
        "whole": _whole,
        "ceil": math.ceil,
        **others,
        "value": value,
    }
    try:
        return bool(eval(expression, names))  # noqa: S307 (an expression of rounds/*.yaml)
    except (TypeError, ValueError, ArithmeticError, NameError):
        return False


def _problems(value: Any, constraint: Mapping[str, Any]) -> Iterator[str]:
    for operator, operand in constraint.items():
        if operator in NESTED:
            yield from NESTED[operator](value, operand)
        elif not keeps(value, {operator: operand}):
            yield f"{_short(value)} is not {WORDS[operator].format(operand)}"


def _fields(value: Any, constraints: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Problems of an object that must have certain fields."""
    for name, constraint in constraints.items():
        if not isinstance(value, dict) or name not in value:
            yield f"{_short(value)} has no {name}"
        elif wrong := problem(value[name], constraint):
            yield f"{name} {wrong}"


def _items(value: Any, constraints: list[Mapping[str, Any]]) -> Iterator[str]:
    """Problems of a list whose first items are constrained."""
    if not isinstance(value, list) or len(value) < len(constraints):
        yield f"{_short(value)} is not a list of {len(constraints)} or more"
        return
    for number, constraint in enumerate(constraints):
        if wrong := problem(value[number], constraint):
            yield f"item {number + 1}, {wrong}"


def _whole(value: float) -> bool:
    return abs(round(value) - value) < TOLERANCE


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


NESTED: dict[str, Callable[[Any, Any], Iterator[str]]] = {"fields": _fields, "items": _items}

HOLDS: dict[str, Callable[[Any, Any], object]] = {
    "fields": lambda value, operand: isinstance(value, dict) and fits(value, operand),
    "items": lambda value, operand: not any(_items(value, operand)),
    "filled": lambda value, _: value != "",
    "equals": lambda value, operand: value == operand,
    "in": lambda value, operand: value in operand,
    "at_least": lambda value, operand: value >= operand,
    "not_below": lambda value, operand: value >= operand,
    "at_most": lambda value, operand: value <= operand,
    "above": lambda value, operand: value > operand,
    "below": lambda value, operand: value < operand,
    "integer": lambda value, _: isinstance(value, int),
    "length": lambda value, operand: len(value) == operand,
    "multiple_of": lambda value, operand: _whole(value / operand),
    "power_of_two_times": lambda value, operand: _whole(math.log2(value / operand)),
}

WORDS = {
    "filled": "filled in",
    "equals": "{}",
    "in": "one of {}",
    "at_least": "at least {}",
    "not_below": "not below {}",
    "at_most": "at most {}",
    "above": "above {}",
    "below": "below {}",
    "integer": "an integer",
    "length": "of length {}",
    "multiple_of": "a multiple of {}",
    "power_of_two_times": "{} times a power of two",
}
