"""Text to pieces: equal to a plain implementation of the reference's tokenizer, whatever the text."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import plain_bert
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wikipedia_archives import TEXT, VOCABULARY

from octathlon.datasets.wikipedia.tokens import CJK, Tokenizer, read_vocabulary
from octathlon.errors import OctathlonError

LETTERS = [chr(number) for number in range(33, 127)] + list("äσςхк漢中\u3402\U0002b820😀\ue000")
WIDE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##the", *LETTERS, *(f"##{c}" for c in LETTERS)]
WIDE = list(dict.fromkeys(WIDE))


def split(line: str, vocabulary: list[str] = WIDE) -> list[str]:
    sentences, _ = Tokenizer(vocabulary).documents([line])
    return [vocabulary[number] for number in sentences.flat]


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("The the.", "the the ."),
        ("ΟΔΟΣ Σ", "[UNK] σ"),  # a capital sigma at the end of a word becomes ς, alone σ
        ("[MASK] [SEP]", "[ m ##a ##s ##k ] [ s ##e ##p ]"),
        ("x" * 101, " ".join(["x", *["##x"] * 100])),
        ("x" * 200, " ".join(["x", *["##x"] * 199])),
        ("x" * 201, "[UNK]"),
        ("a\ue000", "a ##\ue000"),  # private use
        ("a\U0002b820b", "a \U0002b820 b"),  # CJK extension E
        ("中a漢", "中 a 漢"),
        ("ÄÉ n\u0303", "a [UNK]" if "##e" not in WIDE else "a ##e n"),
        ("a\u00adb\u200bc\x00d\ufffd", "a ##b ##c ##d"),  # format and control characters vanish
        ("a\u00a0b\u2003c\td", "a b c d"),
        ("a\u2028b", "a b"),
        ("don't—stop", "d ##o ##n ' t [UNK] s ##t ##o ##p"),
        ("a$b^c`d~e", "a $ b ^ c ` d ~ e"),
        ("日本", "[UNK] [UNK]"),
    ],
)
def test_lines_are_split_as_the_reference_does(line: str, pieces: str) -> None:
    assert split(line) == pieces.split(" ")


ODD = "aA. ,'[]\t\r\x00\x1f\x7f\x85\xa0\u00adßİŊΣσς́̃\u2028\u3000漢\U0002b820\ue000\ufffd—$€ﬁ\U0001f600"


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from(ODD) | st.characters(codec="utf-8", exclude_characters="\n"), max_size=40))
def test_any_line_is_split_as_the_plain_implementation_does(line: str) -> None:
    numbers = {piece: number for number, piece in enumerate(WIDE)}
    sentences, _ = Tokenizer(WIDE).documents([line])
    assert sentences.flat.tolist() == plain_bert.tokenize(line, numbers)


def test_documents_end_at_lines_of_white_space() -> None:
    """A line that only the tokenizer finds empty is a sentence that vanishes, not an end."""
    lines = ["", "the cat", "\x00", "sat", " \t", "", "a", "\u2028", "dog"]
    sentences, documents = Tokenizer(VOCABULARY).documents(lines)
    found = [sentences[i].tolist() for i in range(len(sentences))]
    assert [[VOCABULARY[n] for n in row] for row in found] == [["the", "cat"], ["sat"], ["a"], ["dog"]]
    assert documents.tolist() == [0, 2, 3, 4]
    numbers = {piece: number for number, piece in enumerate(VOCABULARY)}
    assert plain_bert.documents(lines, numbers) == [found[:2], found[2:3], found[3:]]


def test_blocks_of_lines_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from octathlon.datasets.wikipedia import tokens

    whole = Tokenizer(VOCABULARY).documents(TEXT)
    monkeypatch.setattr(tokens, "BLOCK", 2)
    pieces = Tokenizer(VOCABULARY).documents(TEXT)
    assert pieces[0].flat.tolist() == whole[0].flat.tolist()
    assert pieces[0].bounds.tolist() == whole[0].bounds.tolist()
    assert pieces[1].tolist() == whole[1].tolist() == [0, 3, 5, 9]


def test_a_text_without_a_word_has_no_document() -> None:
    sentences, documents = Tokenizer(VOCABULARY).documents(["", "\x00"])
    assert len(sentences) == 0
    assert documents.tolist() == [0]


def test_characters_that_are_not_looked_at_have_no_say() -> None:
    """The tables leave out planes 4 to 13, 15 and 16: not assigned or private."""
    others = [*range(0x40000, 0xE0000), *range(0xF0000, sys.maxunicode + 1)]
    assert {unicodedata.category(chr(number)) for number in others} <= {"Cn", "Co"}
    assert not any(first <= number <= last for first, last in CJK for number in others)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"\[MASK\] is missing"),
        (b"a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", "begins with .PAD."),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n", "different pieces"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + b"a" * 33 + b"\n", "more than 32 characters"),
        (b"[PAD]\n\xff\n", "cannot read the vocabulary"),
    ],
)
def test_a_bad_vocabulary_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(OctathlonError, match=rf"vocab\.txt: .*{complaint}"):
        read_vocabulary(path)
