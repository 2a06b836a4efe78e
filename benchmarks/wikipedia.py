"""Wikipedia: our text to pieces and samples beside a library's and the reference's algorithm, in one run.

    python benchmarks/wikipedia.py [TEXT VOCABULARY]

TEXT has a sentence per line and an empty line between articles, as the reference's parts do; VOCABULARY is the uncased
BERT's vocab.txt. Without them a text is made up, whose words are as frequent as in a language (Zipf's law), with a
vocabulary that holds the frequent ones whole. The cutting into pieces stands
beside that of the library tokenizers, and the whole way to samples of 512 pieces, with ten passes over the text, beside
the reference's; nothing is written. One process, one thread; figures are per second of CPU time."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from timing import HEADER, compare

from octathlon.datasets.wikipedia.instances import Rules, make_samples, new_state
from octathlon.datasets.wikipedia.tokens import LONGEST_WORD, SPECIALS, Tokenizer, read_vocabulary

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))
import plain_bert  # noqa: E402

LENGTH, PREDICTIONS, DUPES = 512, 76, 10
WORDS, ARTICLES = 20_000, 60


def made_up() -> tuple[list[str], list[str]]:
    """About 0.7 MB of text, and a vocabulary."""
    rng = np.random.default_rng(1)
    letters = np.array(list("etaoinshrdlu"))
    words = ["".join(rng.choice(letters, size)) for size in rng.integers(2, 10, WORDS)]
    share = 1 / np.arange(1, WORDS + 1)
    lines = []
    for _ in range(ARTICLES):
        for size in rng.integers(8, 35, rng.integers(20, 160)):
            lines.append(" ".join(rng.choice(words, size, p=share / share.sum())).capitalize() + ".")
        lines.append("")
    pieces = [*words[:8000], *letters, *(f"##{letter}" for letter in letters), ".", ","]
    return lines, list(dict.fromkeys([*SPECIALS, *pieces]))


def ours(lines: list[str], vocabulary: list[str]) -> list[tuple]:
    sentences, documents = Tokenizer(vocabulary).documents(lines)
    _pad, _unknown, cls, sep, mask = map(vocabulary.index, SPECIALS)
    rules = Rules(LENGTH, PREDICTIONS, DUPES, len(vocabulary), cls, sep, mask)
    samples, order = make_samples(new_state(), sentences, documents, rules)
    return samples.take(order)


def library(vocabulary: list[str]) -> Callable[[list[str]], object]:
    """The peer of the tokenizer: the uncased BERT's, in Rust.

    Raises:
        ImportError: if it is not there.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    peer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
    peer.normalizer = normalizers.BertNormalizer(lowercase=True)
    peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return lambda lines: peer.encode_batch_fast(lines, add_special_tokens=False)


def main() -> None:
    if len(sys.argv) == 3:
        lines = Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")
        vocabulary = read_vocabulary(Path(sys.argv[2]))
    else:
        lines, vocabulary = made_up()
    megabytes = sum(len(line.encode()) + 1 for line in lines) / 1e6
    print(HEADER)
    try:
        theirs = library(vocabulary)
    except ImportError:
        print("tokenizers is not installed: no pieces to compare with")
    else:
        compare(
            "wikipedia pieces",
            "MB/s",
            megabytes,
            lambda: Tokenizer(vocabulary).documents(lines),
            "tokenizers",
            lambda: theirs(lines),
            "A library in Rust, one thread; it cuts each word anew, ours each different one once.",
        )
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    compare(
        "wikipedia samples",
        "MB/s",
        megabytes,
        lambda: ours(lines, vocabulary),
        "reference's algorithm",
        lambda: plain_bert.make_samples(lines, numbers, LENGTH, PREDICTIONS, DUPES),
        "In plain Python, its only form; the samples are the same, as a test says.",
    )


if __name__ == "__main__":
    main()
