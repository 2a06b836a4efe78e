"""What a tree says of a system: `systems/SYSTEM.json`, or `entry.json` in the oldest submissions.

Read leniently: the published ones hold typing errors, and some of v0.6 are not JSON but the log's lines.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octathlon.scoring.tree import Folder, is_file

LARGEST = 1 << 20
"""Bytes of a description that are read; real ones have a few thousand."""

AVAILABILITY = {
    "Available on-premise": ("onprem", "on-prem", "on-premise", "available", "available on-premise"),
    "Available cloud": ("cloud", "available cloud"),
    "Preview": ("preview",),
    "Research, Development, or Internal (RDI)": (
        "research",
        "development",
        "internal",
        "rdi",
        "research, development, or internal (rdi)",
    ),
}
"""Display name -> the words of descriptions and logs for it."""


@dataclass(frozen=True, slots=True)
class Description:
    """A system. Empty or None where its description does not say."""

    division: str = ""
    """closed, open, or the word that stands there."""
    status: str = ""
    """The word that stands there; see `availability`."""
    accelerator: str = ""
    nodes: int | None = None
    accelerators: int | None = None
    """Of all nodes together."""
    framework: str = ""
    submitter: str = ""
    system_name: str = ""
    problem: str = ""
    """What is wrong with the description, in words."""


def availability(*words: str) -> str:
    """The display name of the first known word; else the first word."""
    for word in words:
        for name, spellings in AVAILABILITY.items():
            if word.lower() in spellings:
                return name
    return next((word for word in words if word), "")


def division(word: str) -> str:
    """closed or open, of any spelling that occurs; another word stays as it is."""
    lowered = word.strip().lower()
    return "closed" if lowered == "close" else lowered


def read_description(folder: Folder) -> Description:
    """The description of a benchmark folder's system. Never raises: `problem` says what is wrong."""
    if folder.system is None:
        return Description()
    system = folder.system
    paths = (folder.results.parent / "systems" / f"{system.name}.json", system / "entry.json")
    path = next((path for path in paths if is_file(path)), None)
    if path is None:
        return Description(problem=f"no systems/{system.name}.json")
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST).decode("utf-8-sig", errors="replace")
    except OSError as error:
        return Description(problem=f"{path.name} cannot be read ({error.strerror})")
    fields, problem = _parse(text, path.name)
    return _nodes_description(fields, problem) if "nodes" in fields else _flat_description(fields, problem)


def _parse(text: str, name: str) -> tuple[dict[str, Any], str]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = _parse_log_lines(text)
        return fields, f"{name} is not JSON" + ("" if fields else ", and not readable")
    return (fields, "") if isinstance(fields, dict) else ({}, f"{name} is not a JSON object")


def _parse_log_lines(text: str) -> dict[str, Any]:
    """`status: {"value": "onprem", ...}` lines, of which `entry` holds Python text (v0.6)."""
    fields: dict[str, Any] = {}
    for line in text.splitlines():
        key, separator, rest = line.partition(": ")
        try:
            fields[key] = json.loads(rest)["value"] if separator else None
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    entry = _literal(fields.pop("entry", None))
    if isinstance(entry, dict):
        fields |= entry | {"nodes": [_literal(entry.get("nodes"))]}
    return fields


def _literal(text: Any) -> Any:
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _flat_description(fields: Mapping[str, Any], problem: str) -> Description:
    nodes, per_node = _count(fields.get("number_of_nodes")), _count(fields.get("accelerators_per_node"))
    return Description(
        division=division(_text(fields.get("division") or fields.get("divison"))),
        status=_text(fields.get("status")),
        accelerator=_text(fields.get("accelerator_model_name")),
        nodes=nodes,
        accelerators=nodes * per_node if nodes is not None and per_node is not None else None,
        framework=_text(fields.get("framework")),
        submitter=_text(fields.get("submitter")),
        system_name=_text(fields.get("system_name")),
        problem=problem,
    )


def _nodes_description(fields: Mapping[str, Any], problem: str) -> Description:
    """The shape of v0.5: a list of kinds of nodes."""
    listed = fields["nodes"] if isinstance(fields["nodes"], list) else [fields["nodes"]]
    kinds = [kind for kind in listed if isinstance(kind, dict)]
    counts = [(_count(kind.get("num_nodes")), _count(kind.get("num_accelerators"))) for kind in kinds]
    known = bool(counts) and all(None not in pair for pair in counts)
    names = dict.fromkeys(_text(kind.get("accelerator")) for kind in kinds)
    return Description(
        division=division(_text(fields.get("division"))),
        status=_text(fields.get("status")),
        accelerator=", ".join(name for name in names if name),
        nodes=sum(nodes for nodes, _ in counts) if known else None,
        accelerators=sum(nodes * each for nodes, each in counts) if known else None,
        framework=_text(fields.get("framework")),
        problem=problem,
    )


def _text(value: Any) -> str:
    return " ".join(str(value).split())[:300] if isinstance(value, str | int | float) else ""


def _count(value: Any) -> int | None:
    """A count, written as a number or a string, of which "1.0" is one too; N/A and the like count nothing."""
    text = _text(value)
    if match := re.fullmatch(r"(\d{1,9})(\.0{1,9})?", text, re.ASCII):
        return int(match[1])
    return 0 if text.upper() in ("N/A", "NA", "NONE", "-") else None
