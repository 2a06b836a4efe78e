"""Sentences -> BERT samples, number for number as the MLPerf reference makes them.

Source: create_pretraining_data.py of mlcommons/training, language_model/tensorflow/bert. The reference draws from
Python's `random.Random(12345)`, a Mersenne twister that each part starts anew; the functions below draw the same
numbers from a copy of its state, in compiled loops over flat arrays.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numba import njit

from octathlon.datasets.wikipedia.ragged import Ragged
from octathlon.datasets.wikipedia.samples import Samples

SEED = 12345
MASKED_SHARE, SHORT_SHARE = 0.15, 0.1


@dataclass(frozen=True, slots=True)
class Rules:
    """What the samples depend on beside the text."""

    max_seq_length: int
    max_predictions: int
    dupe_factor: int
    vocabulary: int
    """Pieces in the vocabulary."""
    cls: int
    sep: int
    mask: int


def new_state(seed: int = SEED) -> np.ndarray:
    """The state of `random.Random(seed)`: 624 words and the position of the next one, uint32 of shape (625,)."""
    return np.array(random.Random(seed).getstate()[1], dtype=np.uint32)


def make_samples(
    state: np.ndarray, sentences: Ragged, documents: np.ndarray, rules: Rules
) -> tuple[Samples, np.ndarray]:
    """The samples of a text and their final order, which is for the caller to take: shard by shard, it needs little.

    Args:
        state: the generator's; it is changed.
        sentences: pieces of each sentence, int16, none empty.
        documents: bounds of the documents in sentences, int64 of shape (documents + 1,).
    """
    order = np.arange(len(documents) - 1)
    _shuffle(state, order)
    starts, stops = documents[:-1][order], documents[1:][order]
    passes = [_one_pass(state, sentences, starts, stops, rules) for _ in range(rules.dupe_factor)]
    order = np.arange(sum(map(len, passes)))
    _shuffle(state, order)
    return Samples.join(passes), order


def _one_pass(
    state: np.ndarray, sentences: Ragged, starts: np.ndarray, stops: np.ndarray, rules: Rules
) -> Samples:
    """The samples of one pass over the documents."""
    most = len(sentences)  # a sample uses up at least one sentence
    lengths = range(rules.max_seq_length + 1)
    counts = [min(rules.max_predictions, max(1, round(MASKED_SHARE * length))) for length in lengths]
    # Generous arrays: memory that nothing is written to is never given out.
    ids = np.empty(most * rules.max_seq_length, np.int16)
    segments = np.empty(len(ids), np.int8)
    positions, labels = np.empty((2, most * rules.max_predictions), np.int16)
    bounds, masked_bounds = np.zeros((2, most + 1), np.int64)
    random_next = np.empty(most, np.int8)
    special = np.array([rules.cls, rules.sep, rules.mask, rules.vocabulary])
    count = _fill(
        state, sentences.flat, sentences.bounds, starts, stops, rules.max_seq_length, np.array(counts), special,
        ids, segments, bounds, positions, labels, masked_bounds, random_next,
    )  # fmt: skip
    rows, masked_rows = bounds[: count + 1].copy(), masked_bounds[: count + 1].copy()
    fields = {
        "input_ids": Ragged(ids[: rows[-1]].copy(), rows),
        "segment_ids": Ragged(segments[: rows[-1]].copy(), rows),
        "masked_lm_positions": Ragged(positions[: masked_rows[-1]].copy(), masked_rows),
        "masked_lm_ids": Ragged(labels[: masked_rows[-1]].copy(), masked_rows),
    }
    return Samples(fields, random_next[:count].copy())


# Compiled ----------------------------------------------------------------------------------------------


@njit(cache=True)
def _fill(
    state, tokens, sentences, starts, stops, max_length, counts, special,
    ids, segments, bounds, positions, labels, masked_bounds, random_next,
):  # fmt: skip
    """Write the samples of all documents into the last seven arrays; returns how many."""
    sample, room = 0, max_length - 3
    for document in range(len(starts)):
        target = _target(state, room)
        first = sentence = starts[document]  # of the chunk, and the one that joins it
        while sentence < stops[document]:
            length = sentences[sentence + 1] - sentences[first]
            sentence += 1
            if sentence < stops[document] and length < target:
                continue
            size = sentence - first
            split = first + (1 + _below(state, size - 1) if size > 1 else 1)
            a_start, a_stop = sentences[first], sentences[split]
            if size == 1 or _random(state) < 0.5:
                random_next[sample] = 1
                b_start, b_stop = _elsewhere(
                    state, sentences, starts, stops, document, target - (a_stop - a_start)
                )
                sentence = split  # what the chunk has left is used again
            else:
                random_next[sample] = 0
                b_start, b_stop = sentences[split], sentences[sentence]
            a_start, a_stop, b_start, b_stop = _truncate(state, a_start, a_stop, b_start, b_stop, room)
            start = bounds[sample]
            middle = start + a_stop - a_start + 2
            end = middle + b_stop - b_start + 1
            ids[start], ids[middle - 1], ids[end - 1] = special[0], special[1], special[1]
            for i in range(a_stop - a_start):
                ids[start + 1 + i] = tokens[a_start + i]
            for i in range(b_stop - b_start):
                ids[middle + i] = tokens[b_start + i]
            for i in range(start, end):
                segments[i] = i >= middle
            bounds[sample + 1] = end
            masked_bounds[sample + 1] = _mask(
                state, ids, start, middle, end, counts, special, positions, labels, masked_bounds[sample]
            )
            sample += 1
            first = sentence
    return sample


@njit(cache=True)
def _target(state, room):
    """How many pieces a document's chunks should have."""
    if _random(state) < SHORT_SHARE:
        return 2 + _below(state, room - 1)
    return room


@njit(cache=True)
def _elsewhere(state, sentences, starts, stops, document, wanted):
    """A run of sentences of another document: bounds of at least `wanted` pieces, or of all up to its end."""
    other = document
    for _ in range(10):
        other = _below(state, len(starts))
        if other != document:
            break
    first = last = starts[other] + _below(state, stops[other] - starts[other])
    while last < stops[other]:
        last += 1
        if sentences[last] - sentences[first] >= wanted:
            break
    return sentences[first], sentences[last]


@njit(cache=True)
def _truncate(state, a_start, a_stop, b_start, b_stop, room):
    """Take pieces off either end of the longer one until both together fit."""
    while a_stop - a_start + b_stop - b_start > room:
        front = _random(state) < 0.5
        if a_stop - a_start > b_stop - b_start:
            a_start, a_stop = a_start + front, a_stop - (not front)
        else:
            b_start, b_stop = b_start + front, b_stop - (not front)
    return a_start, a_stop, b_start, b_stop


@njit(cache=True)
def _mask(state, ids, start, middle, end, counts, special, positions, labels, row):
    """Mask the sample ids[start:end] in place; write what was masked from `row` on; returns the next row."""
    candidates = np.empty(end - start - 3, np.int64)
    for i in range(len(candidates)):
        candidates[i] = start + 1 + i if start + 1 + i < middle - 1 else start + 2 + i
    _shuffle(state, candidates)
    last = row + min(counts[end - start], len(candidates))
    for i in range(last - row):
        place = candidates[i]
        slot = row + i
        while slot > row and positions[slot - 1] > place - start:
            positions[slot], labels[slot] = positions[slot - 1], labels[slot - 1]
            slot -= 1
        positions[slot], labels[slot] = place - start, ids[place]
        if _random(state) < 0.8:
            ids[place] = special[2]
        elif _random(state) >= 0.5:
            ids[place] = _below(state, special[3])
    return last


@njit(cache=True)
def _shuffle(state, values):
    """As `Random.shuffle`."""
    for i in range(len(values) - 1, 0, -1):
        j = _below(state, i + 1)
        values[i], values[j] = values[j], values[i]


@njit(cache=True)
def _below(state, limit):
    """As `Random.randrange(limit)`, for limits below 2**32."""
    unused = 32
    while limit >> (32 - unused):
        unused -= 1
    while True:
        value = np.int64(_word(state) >> np.uint32(unused)) if unused < 32 else np.int64(0)
        if value < limit:
            return value


@njit(cache=True)
def _random(state):
    """As `Random.random()`."""
    high, low = _word(state) >> np.uint32(5), _word(state) >> np.uint32(6)
    return (high * 67108864.0 + low) / 9007199254740992.0


@njit(cache=True)
def _word(state):
    """The next 32 bits of the Mersenne twister MT19937 (Matsumoto and Nishimura 1998)."""
    if state[624] >= 624:
        _twist(state)
    word = state[state[624]]
    state[624] += np.uint32(1)
    word ^= word >> np.uint32(11)
    word ^= word << np.uint32(7) & np.uint32(0x9D2C5680)
    word ^= word << np.uint32(15) & np.uint32(0xEFC60000)
    return word ^ word >> np.uint32(18)


@njit(cache=True)
def _twist(state):
    for i in range(624):
        word = state[i] & np.uint32(0x80000000) | state[(i + 1) % 624] & np.uint32(0x7FFFFFFF)
        odd = np.uint32(0x9908B0DF) if word & np.uint32(1) else np.uint32(0)
        state[i] = state[(i + 397) % 624] ^ word >> np.uint32(1) ^ odd
    state[624] = np.uint32(0)
