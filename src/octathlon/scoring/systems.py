"""Is a system description complete? 33 fields, nearly all strings (mlperf_logging's system_desc_checker)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from octathlon.scoring import rule_data
from octathlon.scoring.descriptions import AVAILABILITY, LARGEST, division
from octathlon.scoring.findings import Finding
from octathlon.scoring.tree import is_file

NO_STRING = "other_software_stack"
"""The one field that may be an object or a list."""


def check_description(path: Path) -> list[Finding]:
    """What is wrong with a description: errors are what the official checker refuses."""
    if not is_file(path):
        return [Finding("error", "description.file", "not a regular file")]
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(LARGEST))
    except OSError as error:
        return [Finding("error", "description.file", f"cannot be read ({error.strerror})")]
    except (ValueError, RecursionError) as error:
        return [Finding("error", "description.json", f"not JSON ({error})")]
    if not isinstance(fields, dict):
        return [Finding("error", "description.json", "not a JSON object")]
    return [*_missing(fields), *_odd(fields)]


def _missing(fields: dict[str, Any]) -> Iterator[Finding]:
    for name in rule_data.load("system_description_v1.1")["required"]:
        if name not in fields:
            yield Finding("error", f"{name}.count", "missing")


def _odd(fields: dict[str, Any]) -> Iterator[Finding]:
    """What no published checker tests, but readers stumble over."""
    rules = rule_data.load("system_description_v1.1")
    for name in rules["required"]:
        value = fields.get(name, "N/A")
        if not isinstance(value, str) and name != NO_STRING:
            yield Finding("warning", f"{name}.value", f"{value!r:.60} is not a string")
        elif value == "":
            yield Finding("warning", f"{name}.value", "empty; write N/A where there is nothing to say")
        elif name in rules["integers"] and value != "N/A" and not value.strip().isdecimal():
            yield Finding("warning", f"{name}.value", f"{value!r:.60} is not an integer")
    if division(str(fields.get("division", "closed"))) not in ("closed", "open"):
        yield Finding("warning", "division.value", f"{fields['division']!r:.60} is neither closed nor open")
    status = str(fields.get("status", "onprem")).lower()
    if not any(status in spellings for spellings in AVAILABILITY.values()):
        yield Finding("warning", "status.value", f"{fields['status']!r:.60} is no known availability")
