"""The descriptions of the systems, grouped for readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octathlon.report.results import text
from octathlon.scoring import rule_data
from octathlon.scoring.descriptions import LARGEST
from octathlon.scoring.tree import is_file

GROUPS = {"host_": "Host", "accelerator": "Accelerators"}
"""What a field's name begins with -> its group."""
SOFTWARE = ("framework", "other_software_stack", "operating_system", "sw_notes", "python_version")
NOTHING = ("", "n/a", "none")


@dataclass(frozen=True, slots=True)
class System:
    """One system; `problem` says why there is no description."""

    name: str
    groups: Mapping[str, Sequence[tuple[str, str]]]
    """Group -> (field, value), in the order of the format."""
    silent: tuple[str, ...]
    """Fields that say nothing."""
    problem: str


def read_systems(folder: Path | None, names: Sequence[str]) -> list[System]:
    """The descriptions `<name>.json` in a folder. Never raises: a system says what is wrong with its own."""
    return [_read(folder, name) for name in names] if folder else []


def _read(folder: Path, name: str) -> System:
    path = folder / f"{name}.json"
    if Path(name).name != name or not is_file(path):
        return System(name, {}, (), "no description")
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(LARGEST))
    except (OSError, ValueError, RecursionError):
        return System(name, {}, (), "the description cannot be read as JSON")
    if not isinstance(fields, dict):
        return System(name, {}, (), "the description is not a JSON object")
    return _system(name, fields)


def _system(name: str, fields: Mapping[str, Any]) -> System:
    known = rule_data.load("system_description_v1.1")["required"]
    order = [*known, *sorted(field for field in fields if field not in known)]
    values = {field: _value(fields.get(field)) for field in order}
    groups: dict[str, list[tuple[str, str]]] = {}
    for field, value in values.items():
        if value.lower() not in NOTHING:
            group, label = _placed(field)
            groups.setdefault(group, []).append((label, value))
    silent = tuple(_words(field) for field, value in values.items() if value.lower() in NOTHING)
    return System(name, groups, silent, "")


def _placed(field: str) -> tuple[str, str]:
    """A field's group, and its name in words within it."""
    for begin, group in GROUPS.items():
        if field.startswith(begin):
            return group, _words(field.removeprefix(begin).removeprefix("_").removeprefix("s_"))
    return ("Software" if field in SOFTWARE else "Submission"), _words(field)


def _words(field: str) -> str:
    return text(field.replace("_", " "))


def _value(value: Any) -> str:
    """A value as text; an object or a list as its parts."""
    if isinstance(value, Mapping):
        return ", ".join(f"{text(key)} {text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(text(part) for part in value)
    return text(value).strip()
