"""Where nested brackets and elements begin and end, by the rules of WikiExtractor 2.75.

The rules for templates, links, tables and elements differ where some are not closed: there they decide how much of an
article is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

BRACES = re.compile(r"\{{2,}|\}{2,}")
LINK_BRACKETS = re.compile(r"\[\[|\]\]")

Span = tuple[int, int]
"""The first character of a piece of text, and the one behind it."""


def closed(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """The matches of a pattern that have what closes them, its group `end`.

    Such a pattern also matches a piece that nothing closes, up to where no other that begins in it could be closed:
    trying each of those by itself takes time that grows with the square of the text.
    """
    return (match for match in pattern.finditer(text) if match["end"])


def without(text: str, spans: Iterable[Span]) -> str:
    """The text without the given spans; where two overlap, the one that begins first goes."""
    kept, position = [], 0
    for start, stop in sorted(spans):
        if start >= position:
            kept.append(text[position:start])
            position = stop
    return "".join(kept) + text[position:]


def templates(text: str) -> Iterator[Span]:
    """The outermost `{{...}}` and `{{{...}}}`; none from the first braces on that nothing closes."""
    start, opened = 0, []
    for braces in BRACES.finditer(text):
        count = len(braces[0])
        if braces[0][0] == "{":
            start = start if opened else braces.start()
            opened.append(count)
        elif opened:
            while opened and count > 1:
                left = opened.pop() - count
                count = max(-left, 0)
                opened += [left] if left > 0 else []
            if not opened:
                yield start, braces.end() - count
            elif opened == [1]:  # as in {{{a}}: neither a template nor a parameter
                opened = []


def links(text: str) -> Iterator[Span]:
    """The outermost `[[...]]`; none from the first brackets on that nothing closes."""
    start = depth = 0
    for brackets in LINK_BRACKETS.finditer(text):
        if brackets[0] == "[[":
            start = start if depth else brackets.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield start, brackets.end()


def elements(text: str, openings: Iterable[re.Match[str]], closing: re.Pattern[str]) -> list[Span]:
    """The outermost pieces from an opening, of which all are given, to its closing.

    An opening that lacks its closing takes a later one's. Where none is left for a later piece, all from the first
    opening of the text to the last closing is one piece.
    """
    spans: list[Span] = []
    start, depth, stop = 0, 0, -1
    for mark in openings:
        while depth > 1 and stop < mark.start():
            depth -= 1
            found = closing.search(text, stop)
            if not found:
                return [(spans[0][0] if spans else start, stop)]
            stop = found.end()
        if depth and stop >= mark.start():
            depth += 1
            continue
        if depth:
            spans.append((start, stop))
        found = closing.search(text, mark.end())
        if not found:
            return spans
        start, depth, stop = mark.start(), 1, found.end()
    while depth > 1 and (found := closing.search(text, stop)):
        depth -= 1
        stop = found.end()
    return [*spans, (start, stop)] if depth else spans
