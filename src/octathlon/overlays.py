"""Configuration files as they were written: what YAML lets pass in silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from octathlon.errors import OctathlonError

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_keys(files: Iterable[str | Path]) -> None:
    """Look for keys that stand twice in one map, of which the first would be forgotten.

    Raises:
        OctathlonError: naming file, lines and key of all of them.
    """
    found = [f"{file}, {place}" for file in files for place in _repeated(Path(file))]
    if found:
        raise OctathlonError("\n  ".join(["keys that stand twice in one map; keep one of each:", *found]))


def _repeated(file: Path) -> Iterator[str]:
    try:
        waiting = [yaml.compose(file.read_text(encoding="utf-8"), Loader=Loader)]
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return  # whoever takes the values from it says what is wrong
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))  # aliases may go round in circles
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        waiting += [value for _, value in node.value]
        first: dict[tuple[str, str], yaml.Node] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            before = first.setdefault((key.tag, key.value), key)
            if before is not key:
                yield f"lines {before.start_mark.line + 1} and {key.start_mark.line + 1}: {key.value}"
