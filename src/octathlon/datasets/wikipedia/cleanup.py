"""Extracted files -> sentences, one a line, articles parted by empty lines: the reference's clean-up.

The rules are those of mlcommons/training, language_model/tensorflow/bert/cleanup_scripts: cleanup_file.py, clean.sh,
do_sentence_segmentation.py and seperate_test_set.py, oddities included: a substitution sees one line, and a line that
it empties becomes a boundary of articles.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator

from octathlon.datasets.wikipedia.sentences import SentenceSplitter

INNER = r"[^\]|\[\n]*"
"""What the substitutions below accept between square brackets."""

DROPPED_LINES = re.compile(rf"</?doc\s*[^>]*>\s*|.*\[\[Category:{INNER}\]\].*")
SUBSTITUTIONS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        *[(rf"\[\[({INNER})\]\]", r"\1")] * 2,
        *[(rf"\[\[{INNER}\|({INNER})\]\]", r"\1")] * 2,
        (rf"\[\[:*[Ff]ile:{INNER}\]\]", ""),
        (rf"\[\[[Mm]edia:{INNER}\]\]", ""),
        (rf"\[\[[Ii]mage:{INNER}\]\]", ""),
        (rf"\[({INNER})\]", r"\1"),
        (r"\[\[.*?\]\]", ""),
        (r"alt=", ""),
        (r"</doc>", "\r"),
        (r"<chem(.*?)</chem>", r"\1"),
        (r"<ins(.*?)</ins>", r"\1"),
        (r"<, ref .*?</ref>", ""),
        (r"<includeonly>.*?</includeonly>|<graph>.*?</graph>", ""),
        (r"<section[^\\]*/>|<meta[^\\]*/>|<hr[^\\]*/>", ""),
        (r"<gallery[^>]*>", ""),
        (r"<ref[^>]*>.*?</ref>", ""),
        (r"<(?:ref|http|Ref)[^>]*>", ""),
        (r"</?mapframe[^>]*>", ""),
        (r"</?(?:poem|math|ref|sup|br|BR|Br|del|nowiki|NOWIKI|onlyinclude|includeonly)>", ""),
        (r"</?(?:small|chem|noinclude|gallery)>", ""),
        (r"<div[^>]*>|</div(?: style)?>", ""),
        (r"<graph>\{?|\}?</graph>", ""),
        (r"</references>|<poem [^>]*>", ""),
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
    for pattern, replacement in SUBSTITUTIONS:
        line = pattern.sub(replacement, line)
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
