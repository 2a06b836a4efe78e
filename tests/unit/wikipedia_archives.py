"""Wikipedia archives and texts, miniature or made by hand, for the tests of their readers."""

from __future__ import annotations

import bz2
import random
from pathlib import Path
from typing import Any

from preparing import draw_all, run_steps

from octathlon import config
from octathlon.datasets.wikipedia.settings import Settings

VOCABULARY = [
    *(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "cat",
        "dog",
        "sat",
        "ran",
        "on",
        "mat",
        "road",
        "a",
    ),
    *("red", "old", ".", "##s"),
]
TEXT = """\
The cat sat on the mat.
A dog ran on the old road.
The cats ran.

The red dogs sat.
A cat ran on the road.

The old dog sat on a red mat.
The dog ran.
A cat sat.
The cats sat on the road.""".splitlines()

SIZES = {"articles": 60, "layers": 1, "hidden": 16, "inner": 32}
OPENING = b"<mediawiki>\n  <siteinfo>\n  </siteinfo>\n"
CLOSING = b"</mediawiki>\n"


def settings(**over: Any) -> Settings:
    """A miniature's settings, smaller than those of the mini scale."""
    sizes = {"file_bytes": 8000, "part_bytes": 30_000, "eval_articles": 12, "eval_samples": 40}
    return config.resolve("datasets", "wikipedia", "mini", {"miniature": SIZES, **sizes, **over})


def draw(folder: Path, seed: int = 1) -> Path:
    """All archives of a miniature in `folder`."""
    return draw_all("wikipedia", folder, seed, **SIZES)


def prepare_all(archives: Path, out: Path, chosen: Settings | None = None) -> Path:
    """Run every step."""
    return run_steps("wikipedia", archives, out, chosen or settings())


def page(number: int, text: str, title: str = "A", namespace: int = 0, redirect: bool = False) -> bytes:
    """One page as MediaWiki exports it; `text` is XML."""
    target = '    <redirect title="B" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{title}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{target}"
        f"    <revision>\n      <id>1</id>\n      <contributor><username>x</username><id>7</id></contributor>\n"
        f'      <text xml:space="preserve">{text}</text>\n    </revision>\n  </page>\n'
    ).encode()


def write_dump(path: Path, *streams: bytes) -> Path:
    """A dump of the given bz2 streams."""
    path.write_bytes(b"".join(map(bz2.compress, streams)))
    return path


def made_up_text(documents: int) -> tuple[list[str], list[str]]:
    """Lines of made-up text, and a vocabulary that covers most of it."""
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 7))) for _ in range(300)]
    pieces = [*sorted(set(words[:200])), *(f"##{letter}" for letter in "abcdefg"), ".", ",", "a", "b"]
    vocabulary = [*dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces])]
    lines = []
    for _ in range(documents):
        for _ in range(rng.choice([1, 1, 2, 5, 40])):
            lines.append(" ".join(rng.choices(words, k=rng.choice([1, 3, 12, 60]))).capitalize() + ".")
        lines.append("")
    return lines, vocabulary
