"""Extracted files -> sentences, one a line, articles parted by empty lines: the reference's clean-up.

The rules are those of mlcommons/training, language_model/tensorflow/bert/cleanup_scripts: cleanup_file.py, clean.sh,
do_sentence_segmentation.py and seperate_test_set.py, oddities included: a substitution sees one line, and a line that
it empties becomes a boundary of articles.

Lines can be as long as articles: each substitution takes time in proportion to the line. Where a pattern has a group
`end`, see `nesting.closed`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from octathlon.datasets.wikipedia.nesting import Span, without
from octathlon.datasets.wikipedia.sentences import SentenceSplitter

INNER = r"[^\]|\[\n]*"
"""What the substitutions below accept between square brackets."""

PART = re.compile("<(includeonly|graph)>")


def _substitution(pattern: str, replacement: str) -> Callable[[str], str]:
    """What replaces a pattern in a line."""
    compiled = re.compile(pattern)
    if "end" not in compiled.groupindex:
        return partial(compiled.sub, replacement)
    return partial(compiled.sub, lambda match: match.expand(replacement) if match["end"] else match[0])


def _without_parts(line: str) -> str:
    """The line without its parts <includeonly> and <graph>, of two that overlap without the first; what nothing closes
    stays."""
    last = {name: line.rfind(f"</{name}>") for name in ("includeonly", "graph")}
    spans: list[Span] = []
    for opening in PART.finditer(line):
        outside = not spans or opening.start() >= spans[-1][1]
        if outside and opening.end() <= last[opening[1]]:
            closing = f"</{opening[1]}>"
            spans.append((opening.start(), line.index(closing, opening.end()) + len(closing)))
    return without(line, spans)


DROPPED_LINES = re.compile(rf"</?doc[^>]*>\s*|.*\[\[Category:{INNER}\]\].*")
SUBSTITUTIONS = [
    step if callable(step) else _substitution(*step)
    for step in [
        *[(rf"\[\[({INNER})\]\]", r"\1")] * 2,
        *[(rf"\[\[{INNER}\|({INNER})\]\]", r"\1")] * 2,
        (rf"\[\[:*[Ff]ile:{INNER}\]\]", ""),
        (rf"\[\[[Mm]edia:{INNER}\]\]", ""),
        (rf"\[\[[Ii]mage:{INNER}\]\]", ""),
        (rf"\[({INNER})\]", r"\1"),
        (r"\[\[.*?(?:(?P<end>\]\])|\Z)", ""),
        (r"alt=", ""),
        (r"</doc>", "\r"),
        (r"<chem(.*?)(?:(?P<end></chem>)|\Z)", r"\1"),
        (r"<ins(.*?)(?:(?P<end></ins>)|\Z)", r"\1"),
        (r"<, ref .*?(?:(?P<end></ref>)|\Z)", ""),
        _without_parts,
        (r"<(?:section|meta|hr)(?:[^\\]*(?P<end>/>)|[^\\]*)", ""),
        (r"<gallery[^>]*(?P<end>>)?", ""),
        (r"<ref[^>]*(?:>.*?(?:(?P<end></ref>)|\Z)|\Z)", ""),
        (r"<(?:ref|http|Ref)[^>]*(?P<end>>)?", ""),
        (r"</?mapframe[^>]*(?P<end>>)?", ""),
        (r"</?(?:poem|math|ref|sup|br|BR|Br|del|nowiki|NOWIKI|onlyinclude|includeonly)>", ""),
        (r"</?(?:small|chem|noinclude|gallery)>", ""),
        (r"(?:<div[^>]*|</div(?: style)?)(?P<end>>)?", ""),
        (r"<graph>\{?|\}?</graph>", ""),
        (r"(?:</references|<poem [^>]*)(?P<end>>)?", ""),
    ]
]  # fmt: skip


def clean_lines(extracted: Iterable[str]) -> Iterator[str]:
    """Lines of an extracted file -> lines of text, an empty one before each article."""
    skip_title = False
    for line in extracted:
        if skip_title:
            skip_title = False
        elif "<doc" in line:
            skip_title = True
            yield ""
        elif line and "</doc>" not in line and (cleaned := _substituted(line)) is not None:
            yield cleaned


def _substituted(line: str) -> str | None:
    """The line after all substitutions; None if it is dropped."""
    if "<" not in line and "[" not in line and "alt=" not in line:
        return line
    if DROPPED_LINES.fullmatch(line):
        return None
    for substitute in SUBSTITUTIONS:
        line = substitute(line)
    return line


def articles(extracted: Iterable[str], splitter: SentenceSplitter) -> list[str]:
    """The articles of an extracted file, a sentence per line, and the empty piece that its end leaves."""
    lines: list[str] = []
    for line in clean_lines(extracted):
        lines.extend(splitter.sentences(line) if line else [""])
    return ("\n".join(lines) + "\n\n").split("\n\n")


def evaluation_articles(file: int, files: int, wanted: int, candidates: int) -> list[int]:
    """Which of a file's articles are taken for the evaluation set, in increasing order.

    Args:
        file, files: the file's number and how many there are.
        wanted: evaluation articles of all files together.
        candidates: articles of this file, the empty piece at its end included: the reference can draw it, too.
    """
    count = (file + 1) * wanted // files - file * wanted // files
    rng = random.Random(12345 + 13 * file)
    taken: set[int] = set()
    while len(taken) < min(count, candidates):
        taken.add(int(rng.random() * candidates))
    return sorted(taken)
