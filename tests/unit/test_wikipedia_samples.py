"""Samples: the reference's, number for number, from its random numbers to the checksum of a shard."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import plain_bert
import pytest
from wikipedia_archives import TEXT, VOCABULARY, made_up_text

from octathlon.datasets.wikipedia import instances
from octathlon.datasets.wikipedia.instances import Rules, make_samples, new_state
from octathlon.datasets.wikipedia.samples import FIELDS, Samples
from octathlon.datasets.wikipedia.shards import checksum, read_shard, write_shard
from octathlon.datasets.wikipedia.tokens import Tokenizer
from octathlon.errors import OctathlonError

EXPECTED = """
2 4 6 8 10 5 11 16 3 13 7 9 4 5 15 3 | 9 | 1 12 | 5 10 | 0
2 4 14 7 17 8 16 3 5 6 17 4 16 3 | 8 | 1 11 | 5 9 | 1
2 13 6 4 10 5 12 16 3 5 6 4 10 5 11 3 | 9 | 3 11 | 9 8 | 1
2 5 4 17 9 16 3 13 6 4 10 5 12 16 3 | 7 | 2 9 | 6 9 | 1
2 13 7 9 10 5 4 12 16 3 5 6 17 9 16 3 | 10 | 6 7 | 15 12 | 0
2 5 15 7 8 10 13 14 4 16 3 5 7 9 16 3 | 11 | 8 12 | 11 7 | 0
2 5 6 8 4 5 11 16 3 4 14 7 17 8 16 3 | 9 | 4 9 | 10 5 | 1
2 5 4 7 17 8 16 3 13 6 9 10 5 12 4 3 | 8 | 2 14 | 14 16 | 0
2 13 6 8 16 3 4 6 17 4 10 5 12 16 3 | 6 | 6 9 | 5 8 | 0
2 5 7 9 16 3 16 5 6 17 8 10 5 4 4 3 | 6 | 13 14 | 12 16 | 0
2 15 7 8 10 4 14 11 3 6 9 10 4 12 16 3 | 9 | 5 12 | 13 5 | 1
"""
"""Pieces, start of segment 1, masked positions, their true pieces, label of the next sentence."""


def make(
    lines: list[str], vocabulary: list[str], length: int, predictions: int, dupes: int
) -> tuple[Samples, np.ndarray]:
    """The samples in their final order, and the generator behind them."""
    sentences, documents = Tokenizer(vocabulary).documents(lines)
    rules = Rules(
        max_seq_length=length,
        max_predictions=predictions,
        dupe_factor=dupes,
        vocabulary=len(vocabulary),
        cls=vocabulary.index("[CLS]"),
        sep=vocabulary.index("[SEP]"),
        mask=vocabulary.index("[MASK]"),
    )
    state = new_state()
    samples, order = make_samples(state, sentences, documents, rules)
    return samples.take(order), state


def rows(samples: Samples) -> list[tuple]:
    fields = [samples.fields[name] for name in FIELDS]
    return [
        (*(field[i].tolist() for field in fields), int(samples.next_sentence_labels[i]))
        for i in range(len(samples))
    ]


@pytest.fixture(scope="module")
def small() -> tuple[Samples, np.ndarray]:
    return make(TEXT, VOCABULARY, length=16, predictions=3, dupes=2)


def test_generator_is_pythons() -> None:
    state, python = new_state(), random.Random(12345)
    drawn = [instances._random(state) for _ in range(3)]
    assert drawn == [0.41661987254534116, 0.010169169457068361, 0.8252065092537432]
    assert 2 + instances._below(state, 508) == 154
    for _ in range(3):
        python.random()
    python.randint(2, 509)
    for limit in [*range(1, 700), 2**20, 2**32 - 1] * 2:  # over several twists, one bit of numbers included
        assert instances._below(state, limit) == python.randrange(limit)
        assert instances._random(state) == python.random()
    ten, fresh = np.arange(10), new_state()
    instances._shuffle(fresh, ten)
    assert ten.tolist() == [8, 7, 3, 5, 1, 2, 9, 4, 0, 6]


def test_samples_are_the_published_ones(small: tuple[Samples, np.ndarray]) -> None:
    samples, state = small
    lines = [
        " | ".join(
            [" ".join(map(str, pieces)), str(segments.index(1)), " ".join(map(str, positions))]
            + [" ".join(map(str, labels)), str(random_next)]
        )
        for pieces, segments, positions, labels, random_next in rows(samples)
    ]
    assert lines == EXPECTED.strip().split("\n")
    assert instances._random(state) == 0.14284460855689818


def test_checksum_is_the_submitters(small: tuple[Samples, np.ndarray]) -> None:
    ids = small[0].fields["input_ids"]
    assert checksum(ids) == "424de6cd4106fad967c1f90516c486f3"
    assert checksum(ids.take(np.arange(len(ids))[::-1])) != checksum(ids)


@pytest.mark.parametrize(
    ("length", "predictions", "dupes"), [(512, 76, 10), (128, 20, 3), (40, 2, 2), (8, 1, 3)]
)
def test_samples_equal_the_plain_implementations(length: int, predictions: int, dupes: int) -> None:
    """Long and short documents and sentences, one-sentence documents, unknown words."""
    lines, vocabulary = made_up_text(documents=40)
    samples, _ = make(lines, vocabulary, length, predictions, dupes)
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    assert rows(samples) == plain_bert.make_samples(lines, numbers, length, predictions, dupes)


def test_masks_are_as_frequent_as_published() -> None:
    lines, vocabulary = made_up_text(documents=150)
    samples, _ = make(lines, vocabulary, 512, 76, 10)
    ids, masked = samples.fields["input_ids"], samples.fields["masked_lm_positions"]
    places = masked.flat + np.repeat(ids.bounds[:-1], masked.lengths)
    now, true = ids.flat[places], samples.fields["masked_lm_ids"].flat
    assert np.mean(now == vocabulary.index("[MASK]")) == pytest.approx(0.8, abs=0.005)
    assert np.mean(now == true) == pytest.approx(0.1, abs=0.005)
    assert len(true) / len(ids.flat) == pytest.approx(0.149, abs=0.002)
    assert (np.diff(masked.flat)[np.diff(np.repeat(np.arange(len(ids)), masked.lengths)) == 0] > 0).all()


@pytest.mark.parametrize(("length", "count"), [(10, 2), (30, 4), (50, 8), (70, 10), (504, 76), (512, 76)])
def test_number_of_masks_counts_specials_and_rounds_half_to_even(length: int, count: int) -> None:
    """Two documents of one sentence each: every sample has exactly `length` pieces."""
    half = (length - 3) // 2
    lines = ["a " * half, "", "a " * (length - 3 - half)]
    samples, _ = make(lines, VOCABULARY, 512, 76, 30)
    lengths, masked = samples.fields["input_ids"].lengths, samples.fields["masked_lm_ids"].lengths
    assert set(masked[lengths == length]) == {count}


def test_a_shard_gives_back_what_was_written(tmp_path: Path, small: tuple[Samples, np.ndarray]) -> None:
    write_shard(tmp_path / "a.hdf5", small[0])
    write_shard(tmp_path / "b.hdf5", small[0])
    assert rows(read_shard(tmp_path / "a.hdf5")) == rows(small[0])
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


def test_a_shard_has_the_layout_of_the_submitters(tmp_path: Path, small: tuple[Samples, np.ndarray]) -> None:
    import h5py

    write_shard(tmp_path / "a.hdf5", small[0])
    with h5py.File(tmp_path / "a.hdf5") as file:
        types = {name: h5py.check_vlen_dtype(file[name].dtype) for name in file}
        assert types == {name: np.dtype(dtype) for name, dtype in FIELDS.items()} | {
            "next_sentence_labels": None
        }
        assert file["next_sentence_labels"].dtype == np.int8
        assert {file[name].shape for name in file} == {(11,)}


def test_a_damaged_shard_is_named(tmp_path: Path, small: tuple[Samples, np.ndarray]) -> None:
    import h5py

    path = tmp_path / "train.hdf5"
    with pytest.raises(OctathlonError, match=r"train\.hdf5: cannot read the samples .*prepare wikipedia"):
        read_shard(path)
    write_shard(path, small[0])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(OctathlonError, match=r"train\.hdf5"):
        read_shard(path)
    path.write_bytes(content)
    with h5py.File(path, "a") as file:
        del file["segment_ids"]
    with pytest.raises(OctathlonError, match=r"train\.hdf5.*segment_ids"):
        read_shard(path)
