"""The BERT reference's text to samples, as plainly as it can be written: lists, `random`, one piece at a time.

What the fast implementation is compared with, number for number in tests and second for second in benchmarks.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterable

CJK = [
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
]


def tokenize(text: str, vocabulary: dict[str, int]) -> list[int]:
    return [number for word in basic_words(text) for number in word_pieces(word, vocabulary)]


def basic_words(text: str) -> list[str]:
    cleaned = []
    for character in text.strip():
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            cleaned.append(" ")
        elif any(first <= ord(character) <= last for first, last in CJK):
            cleaned.append(f" {character} ")
        elif character != "\ufffd" and category not in ("Cc", "Cf"):
            cleaned.append(character)
    words = []
    for word in "".join(cleaned).split():
        plain = [c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn"]
        words += "".join(f" {c} " if is_punctuation(c) else c for c in plain).split()
    return words


def is_punctuation(character: str) -> bool:
    code = ord(character)
    ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_mark or unicodedata.category(character).startswith("P")


def word_pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    pieces, start = [], 0
    while start < len(word) <= 200:
        for stop in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:stop]
            if piece in vocabulary:
                pieces.append(vocabulary[piece])
                start = stop
                break
        else:
            return [vocabulary["[UNK]"]]
    return pieces or [vocabulary["[UNK]"]]


def documents(lines: Iterable[str], vocabulary: dict[str, int]) -> list[list[list[int]]]:
    found = [[]]
    for line in lines:
        if not line.strip():
            found.append([])
        elif pieces := tokenize(line, vocabulary):
            found[-1].append(pieces)
    return [document for document in found if document]


def make_samples(
    lines: Iterable[str], vocabulary: dict[str, int], max_seq_length: int, max_predictions: int, dupes: int
) -> list[tuple[list[int], list[int], list[int], list[int], int]]:
    """(pieces, segments, masked positions, their true pieces, 1 if the next sentence is random) of each sample."""
    rng = random.Random(12345)
    texts = documents(lines, vocabulary)
    rng.shuffle(texts)
    samples = []
    for _ in range(dupes):
        for number in range(len(texts)):
            samples += document_samples(rng, texts, number, vocabulary, max_seq_length, max_predictions)
    rng.shuffle(samples)
    return samples


def document_samples(rng, texts, number, vocabulary, max_seq_length, max_predictions):
    document, room = texts[number], max_seq_length - 3
    target = rng.randint(2, room) if rng.random() < 0.1 else room
    samples, chunk, i = [], [], 0
    while i < len(document):
        chunk.append(document[i])
        if i == len(document) - 1 or sum(map(len, chunk)) >= target:
            cut = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            first = [piece for sentence in chunk[:cut] for piece in sentence]
            second = []
            random_next = len(chunk) == 1 or rng.random() < 0.5
            if random_next:
                wanted = target - len(first)
                for _ in range(10):
                    other = rng.randint(0, len(texts) - 1)
                    if other != number:
                        break
                for sentence in texts[other][rng.randint(0, len(texts[other]) - 1) :]:
                    second += sentence
                    if len(second) >= wanted:
                        break
                i -= len(chunk) - cut
            else:
                second = [piece for sentence in chunk[cut:] for piece in sentence]
            while len(first) + len(second) > room:
                longer = first if len(first) > len(second) else second
                del longer[0 if rng.random() < 0.5 else -1]
            pieces = [vocabulary["[CLS]"], *first, vocabulary["[SEP]"], *second, vocabulary["[SEP]"]]
            segments = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            masked = mask(rng, pieces, vocabulary, max_predictions)
            samples.append((pieces, segments, *masked, int(random_next)))
            chunk = []
        i += 1
    return samples


def mask(rng, pieces, vocabulary, max_predictions):
    special = {vocabulary["[CLS]"], vocabulary["[SEP]"]}
    candidates = [i for i, piece in enumerate(pieces) if piece not in special]
    rng.shuffle(candidates)
    masked = []
    for position in candidates[: min(max_predictions, max(1, round(len(pieces) * 0.15)))]:
        masked.append((position, pieces[position]))
        if rng.random() < 0.8:
            pieces[position] = vocabulary["[MASK]"]
        elif rng.random() >= 0.5:
            pieces[position] = rng.randint(0, len(vocabulary) - 1)
    masked.sort()
    return [position for position, _ in masked], [piece for _, piece in masked]
