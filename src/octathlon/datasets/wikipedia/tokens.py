"""Text -> numbers of WordPieces, equal to the BERT reference's tokenization.py, lower case.

A line is normalised in Python, as the reference does it and with Python's Unicode tables, then cut into words and
punctuation; each different word is split once. The model of the library `tokenizers` finds the same pieces, but tries
each part of a word, however long: two milliseconds for a word of 190 letters, of which a text may hold any number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.errors import OctathlonError

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 200
"""Characters; longer ones are [UNK] by the reference's rule."""
LONGEST_PIECE = 32
"""Characters; the uncased BERT's longest is telecommunications. So many are looked at for each character of a word."""
BLOCK = 4096
"""Lines that are cut into words at a time: memory is needed for these words only."""

PIECE = ""
"""Under what a node of the tree of pieces has the number of the piece that ends there."""
Node = dict[str, Any]

CJK = [
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
]
"""Blocks whose characters are words of their own."""


def read_vocabulary(path: Path) -> list[str]:
    """The pieces; a piece's number is its line.

    Raises:
        OctathlonError: if a special token is missing, a piece stands twice, or numbers don't fit into 16 bits.
    """
    try:
        pieces = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise OctathlonError(f"{path}: cannot read the vocabulary ({error}); fetch it again") from error
    pieces = [piece.strip() for piece in pieces[:-1]]
    if missing := set(SPECIALS) - set(pieces):
        raise OctathlonError(f"{path}: {min(missing)} is missing; use the vocabulary of the uncased BERT")
    if pieces[0] != "[PAD]" or len(set(pieces)) < len(pieces) or len(pieces) > 1 << 15:
        raise OctathlonError(
            f"{path}: not a vocabulary of at most 32,768 different pieces that begins with [PAD]; fetch it again"
        )
    if len(longest := max(pieces, key=len)) > LONGEST_PIECE:
        raise OctathlonError(
            f"{path}: a piece of more than {LONGEST_PIECE} characters, {longest[:20]}…; fetch it again"
        )
    return pieces


class Tokenizer:
    """Splits texts with one vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        self._unknown = vocabulary.index("[UNK]")
        self._first = _tree(vocabulary)
        self._later = self._first.get("#", {}).get("#", {})  # no word begins with ##: that is punctuation

    def documents(self, lines: Iterable[str]) -> tuple[Ragged, np.ndarray]:
        """The sentences of a text, one a line, with an empty line between documents.

        Sentences without a piece and documents without a sentence are left out.

        Returns:
            the sentences' pieces, int16, and the documents' bounds in sentences, int64.
        """
        words = _Words()
        numbers, counts, documents = [], [], []
        lines, document = iter(lines), 0
        while block := list(islice(lines, BLOCK)):
            for line in block:
                document += not line or line.isspace()
                documents.append(document)
            found = words.cut("\n".join(map(normalise, block)))
            breaks = np.flatnonzero(found == _Words.NEWLINE)
            counts.append(np.diff(breaks, prepend=-1, append=len(found)) - 1)
            numbers.append(found[found != _Words.NEWLINE])
        pieces = self._pieces(list(words)).take(_joined(numbers))
        per_line = np.concatenate([[0], np.cumsum(_joined(counts))])
        sentences = np.diff(pieces.bounds[per_line])
        kept = sentences > 0
        bounds = np.concatenate([[0], np.cumsum(sentences[kept])])
        ends = np.flatnonzero(np.diff(np.array(documents, dtype=np.int64)[kept], append=-1)) + 1
        return Ragged(pieces.flat, bounds), np.concatenate([[0], ends])

    def _pieces(self, words: list[str]) -> Ragged:
        split = [[] if word == "\n" else self._split(word) for word in words]
        return Ragged.of([np.array(pieces, dtype=np.int16) for pieces in split], "<i2")

    def _split(self, word: str) -> list[int]:
        """The longest piece that the word begins with, then of what is left, and so on."""
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        start, node = 0, self._first
        while start < len(word):
            number = None
            for position in range(start, len(word)):
                if (node := node.get(word[position])) is None:
                    break
                if PIECE in node:
                    number, end = node[PIECE], position + 1
            if number is None:
                return [self._unknown]
            found.append(number)
            start, node = end, self._later
        return found


def _tree(vocabulary: list[str]) -> Node:
    """The pieces' characters, one below the other; below the last one of a piece, its number."""
    root: Node = {}
    for number, piece in enumerate(vocabulary):
        node = root
        for character in piece:
            node = node.setdefault(character, {})
        node[PIECE] = number
    return root


class _Words(dict[str, int]):
    """Numbers the different words of a text as they come."""

    NEWLINE = 0

    def __init__(self) -> None:
        super().__init__({"\n": self.NEWLINE})
        self._pattern = _word_pattern()

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number

    def cut(self, text: str) -> np.ndarray:
        """The numbers of the words of a normalised text, line ends among them."""
        found = self._pattern.findall(text)
        return np.fromiter(map(self.__getitem__, found), dtype=np.int32, count=len(found))


def normalise(line: str) -> str:
    """The line in lower case and without accents and control characters, ideographs set apart."""
    if line.isascii():
        return line.translate(ASCII)
    line = line.translate(_cleaning())
    return unicodedata.normalize("NFD", line.lower()).translate(_accents())


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)


def _is_punctuation(character: str) -> bool:
    ascii_symbol = (
        character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    )
    return ascii_symbol or unicodedata.category(character).startswith("P")


def _characters() -> Iterator[str]:
    """All characters of planes 0 to 3 and 14; the others are private or not assigned."""
    return map(chr, chain(range(0x40000), range(0xE0000, 0xF0000)))


@cache
def _word_pattern() -> re.Pattern[str]:
    """A line end, a punctuation character, or a run of other characters that aren't white space.

    Plain words and marks come first: ten times as fast as the large sets of characters behind them. Spaces with none of
    these behind them are tried from the first one only, not from each.
    """
    punctuation = re.escape("".join(filter(_is_punctuation, _characters())))
    plain = r"[a-z0-9]++(?![^\x00-\x7f])|[!-/:-@\[-`{-~\n]"
    return re.compile(rf"(?<! ) *({plain}|[^\s{punctuation}]+|[{punctuation}])")


@cache
def _cleaning() -> dict[int, str | None]:
    """What happens to characters before lower case: white space, control characters, ideographs."""
    table: dict[int, str | None] = {0xFFFD: None}
    for character in _characters():
        category = unicodedata.category(character)
        if category == "Zs" or character in "\t\n\r":
            table[ord(character)] = " "
        elif category in ("Cc", "Cf"):
            table[ord(character)] = None
    for first, last in CJK:
        table |= {number: f" {chr(number)} " for number in range(first, last + 1)}
    return table


@cache
def _accents() -> dict[int, None]:
    return {ord(character): None for character in _characters() if unicodedata.category(character) == "Mn"}


ASCII = {
    **{number: None for number in [*range(32), 127]},
    **{ord(character): " " for character in "\t\n\r"},
    **{number: chr(number).lower() for number in range(65, 91)},
}
"""`_cleaning` and lower case for ASCII, where `str.translate` is fast."""
