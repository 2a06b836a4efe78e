"""Strangers' words in tables stay words, whatever opens them."""

from __future__ import annotations

import csv
import html
import io
import re

import pytest
from markdown_it import MarkdownIt

from octathlon.scoring.text import markdown_table, spreadsheet_cell

WORDS = [
    "=cmd|' /C calc'!A0",
    "@SUM(1+9)*cmd",
    "+1",
    "-2+3",
    " =1+1",
    "a|b",
    "a\\|b",
    "back\\slash",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[here](javascript:alert(1))",
    "![](http://tracker.example/x.png)",
    "http://evil.example/",
    "www.evil.example",
    "`code`",
]


@pytest.mark.parametrize("words", WORDS)
def test_a_markdown_table_shows_them_as_they_are(words: str) -> None:
    """By a renderer: one cell with these words, and no element in it."""
    table = markdown_table(["name", "other"], [[words, "next"]])
    rendered = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(table)
    cells = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)
    assert [html.unescape(cell) for cell in cells] == [words.strip(), "next"]
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|th|td)\b)", rendered)


@pytest.mark.parametrize("words", ["https://evil.example/", "www.evil.example"])
def test_a_markdown_table_has_no_bare_links(words: str) -> None:
    """What makes one of them: `://` after a scheme, or `www.` (GitHub Flavored Markdown, autolinks)."""
    cell = markdown_table(["name"], [[words]]).splitlines()[2]
    assert "://" not in cell and "www." not in cell


@pytest.mark.parametrize("words", WORDS)
def test_a_spreadsheet_computes_nothing(words: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerow([spreadsheet_cell(words), spreadsheet_cell(-1.5)])
    (cells,) = csv.reader(io.StringIO(text.getvalue()))
    assert cells[0].lstrip()[0] not in "=+-@" and cells[0].removeprefix("'") == words
    assert cells[1] == "-1.5"
