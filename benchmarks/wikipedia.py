"""Wikipedia: our text to samples beside the reference's algorithm in plain Python, on the same text in one run.

    python benchmarks/wikipedia.py [TEXT VOCABULARY]

TEXT has a sentence per line and an empty line between articles, as the reference's parts do; VOCABULARY is the uncased
BERT's vocab.txt. Without them a text is made up, whose words are as frequent as in a language (Zipf's law), with a
vocabulary that holds the frequent ones whole. Both make samples of 512 pieces with ten passes over the text, nothing is
written; the samples are compared. One process, one thread; figures are per second of CPU time.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from octathlon.datasets.wikipedia.instances import Rules, make_samples, new_state
from octathlon.datasets.wikipedia.samples import FIELDS
from octathlon.datasets.wikipedia.tokens import SPECIALS, Tokenizer, read_vocabulary

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


def same(samples, plain: list[tuple]) -> bool:
    fields = [samples.fields[name] for name in FIELDS]
    return len(samples) == len(plain) and all(
        all(field[i].tolist() == row[place] for place, field in enumerate(fields))
        and samples.next_sentence_labels[i] == row[4]
        for i, row in enumerate(plain)
    )


def timed(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return result, time.process_time() - start


def main() -> None:
    if len(sys.argv) == 3:
        lines = Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")
        vocabulary = read_vocabulary(Path(sys.argv[2]))
    else:
        lines, vocabulary = made_up()
    megabytes = sum(len(line.encode()) + 1 for line in lines) / 1e6
    ours(lines[:50], vocabulary)  # compile
    samples, seconds = timed(ours, lines, vocabulary)
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    plain, plain_seconds = timed(plain_bert.make_samples, lines, numbers, LENGTH, PREDICTIONS, DUPES)
    print(f"{megabytes:.2f} MB of text, {len(samples):,} samples, equal: {same(samples, plain)}")
    print(f"ours   {megabytes / seconds:6.2f} MB/s")
    print(f"plain  {megabytes / plain_seconds:6.2f} MB/s   ratio {plain_seconds / seconds:.1f}")


if __name__ == "__main__":
    main()
