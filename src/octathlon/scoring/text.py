"""Text for readers: strangers' words made harmless, and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octathlon.receipts import publish


def clean(value: Any) -> Any:
    """Text from strangers' files and names without what a terminal or a file cannot bear."""
    if isinstance(value, list):
        return [clean(each) for each in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in value)


def some(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:5]) + (", ..." if names[5:] else "")


FORMULAS = ("=", "+", "-", "@")
MARKUP = str.maketrans({sign: f"\\{sign}" for sign in "\\|[]`"} | {"<": "&lt;"})


def spreadsheet_cell(value: Any) -> Any:
    """What a spreadsheet shows and does not compute: text that begins as a formula gets an apostrophe before it."""
    is_formula = isinstance(value, str) and value.lstrip().startswith(FORMULAS)
    return f"'{value}" if is_formula else value


def markdown_cell(text: str) -> str:
    """Text that stays text in a Markdown table: no markup, no HTML, no links, not even bare ones."""
    return text.translate(MARKUP).replace("://", ":\\//").replace("www.", "www\\.")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> str:
    """A Markdown table; the columns named in `numbers` are aligned to the right."""
    lines = [
        "| " + " | ".join(header) + " |",
        "|" + "".join(" ---: |" if name in numbers else " --- |" for name in header),
    ]
    lines += ["| " + " | ".join(map(markdown_cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title, for Markdown or a page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[str] = ()
    """The columns of numbers."""

    def markdown(self) -> str:
        """With the title as a heading."""
        return f"## {self.title}\n\n{markdown_table(self.header, self.rows, self.numbers)}"


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with publish(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
