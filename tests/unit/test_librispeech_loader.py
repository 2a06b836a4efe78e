"""Micro-batches: random access, chance that depends on the utterance alone, buckets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from librispeech_archives import draw, prepare_all

from octathlon.datasets.librispeech import features
from octathlon.datasets.librispeech.loader import Batch, Batches, Utterances, bucketed_order
from octathlon.datasets.librispeech.waveforms import change_speed
from octathlon.errors import OctathlonError
from octathlon.nn.loading import load
from octathlon.receipts import read_json

Prepared = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """72 training and 10 evaluation utterances."""
    folder = tmp_path_factory.mktemp("librispeech")
    out = prepare_all(draw(folder / "archives"), folder / "prepared")
    return out, read_json(out / "manifest.json")


def same(one: Batch, other: Batch) -> bool:
    flat = [[*batch.signal[:2], *batch[1:4]] for batch in (one, other)]
    hosts = [(batch.signal.host_lengths, batch.host_token_counts) for batch in (one, other)]
    return hosts[0] == hosts[1] and all(a.equal(b) for a, b in zip(*flat, strict=True))


def waves(batch: Batch) -> list[np.ndarray]:
    """The utterances of a packed signal."""
    starts = features.HOP * (features.frames(batch.signal.lengths) + 1)
    starts = (starts.cumsum(0) - starts + features.HOP).tolist()
    lengths = batch.signal.lengths.tolist()
    return [batch.signal.samples[at : at + n].numpy() for at, n in zip(starts, lengths, strict=True)]


def test_a_batch_holds_its_utterances(prepared: Prepared) -> None:
    utterances = Utterances(*prepared, "eval")
    batch = Batches(utterances)[0, [7, 0, 3]]
    for number, wave, tokens, count in zip(
        [7, 0, 3], waves(batch), batch.tokens, batch.token_counts, strict=True
    ):
        np.testing.assert_array_equal(wave, utterances.samples(number))
        assert tokens[:count].tolist() == utterances.tokens(number).tolist() and (tokens[count:] == 0).all()
    assert (batch.draws == 0).all()
    assert [each.dtype for each in batch[1:4]] == [torch.int32, torch.int32, torch.float32]
    assert list(batch.signal.host_lengths) == batch.signal.lengths.tolist()
    assert list(batch.host_token_counts) == batch.token_counts.tolist()


def test_workers_and_neighbours_change_no_utterance(prepared: Prepared) -> None:
    keys = [(epoch, numbers) for epoch in (1, 2) for numbers in ([1, 2, 3], [5, 4], [70])]
    batches = Batches(Utterances(*prepared, "train"), 3, (85, 115))
    plain, working = (list(load(batches, keys, workers=n, pin_memory=False)) for n in (0, 2))
    assert all(map(same, plain, working)) and len(plain) == 6
    alone = batches[1, [2]]
    np.testing.assert_array_equal(waves(plain[0])[1], waves(alone)[0])
    assert plain[0].draws[1].equal(alone.draws[0])


def test_chance_depends_on_seed_epoch_and_utterance(prepared: Prepared) -> None:
    utterances = Utterances(*prepared, "train")
    found = [Batches(utterances, seed, (85, 115))[epoch, [5, 6]] for seed, epoch in ((1, 1), (1, 2), (2, 1))]
    draws = [tuple(row.tolist()) for batch in found for row in batch.draws]
    assert len(set(draws)) == 6
    assert same(found[0], Batches(utterances, 1, (85, 115))[1, [5, 6]])


def test_speeds_cover_their_range_and_are_those_of_the_samples(prepared: Prepared) -> None:
    utterances = Utterances(*prepared, "train")
    batches = Batches(utterances, 1, (85, 115))
    speeds = []
    for epoch in range(400):
        wave = waves(batches[epoch, [40]])[0]
        speeds.append(round(100 * len(wave) / utterances.lengths[40]))
    assert set(speeds) == set(range(85, 116))
    np.testing.assert_array_equal(wave, change_speed(utterances.samples(40), speeds[-1]))


def test_a_cut_file_is_named(prepared: Prepared, tmp_path: Path) -> None:
    folder, manifest = prepared
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(
                path.read_bytes()[: 100_000 if path.suffix == ".pcm" else None]
            )
    utterances = Utterances(tmp_path, manifest, "train")
    with pytest.raises(
        OctathlonError, match=r"\.pcm: cannot read utterance \d+ \(the file is too short\); prepare"
    ):
        for number in range(len(utterances)):
            utterances.samples(number)


@pytest.mark.parametrize("name", ["train.npy", "train.tokens.npy"])
@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY rubbish"])
def test_a_damaged_table_is_named(
    prepared: Prepared, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder, manifest = prepared
    for each in {"train.npy", "train.tokens.npy"} - {name}:
        (tmp_path / each).write_bytes((folder / each).read_bytes())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OctathlonError, match=rf"{name}: cannot read it .* prepare librispeech again"):
        Utterances(tmp_path, manifest, "train")


def test_a_table_of_another_kind_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    """Nor is a pickle in it ever loaded."""
    np.save(tmp_path / "train.npy", np.zeros(3))
    with pytest.raises(OctathlonError, match="train.npy: not an array of"):
        Utterances(tmp_path, prepared[1], "train")
    np.save(tmp_path / "train.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(OctathlonError, match="train.npy: cannot read it"):
        Utterances(tmp_path, prepared[1], "train")


class TestBuckets:
    @pytest.mark.parametrize("buckets", [1, 6])
    def test_whole_updates_without_repetition(self, buckets: int) -> None:
        """105 utterances in updates of 20 from micro-batches of 10: five left out, others each time."""
        orders = [bucketed_order(105, buckets, 10, 20, np.random.default_rng(seed)) for seed in range(40)]
        for order in orders:
            assert len(order) == 100 == len(set(order.tolist())) and order.max() < 105
        left_out = [set(range(105)) - set(order.tolist()) for order in orders]
        assert len(set().union(*left_out)) > 80
        assert len({tuple(order) for order in orders}) == 40

    def test_a_micro_batch_is_of_one_bucket(self) -> None:
        order = bucketed_order(120, 6, 10, 40, np.random.default_rng(1)).reshape(-1, 10)
        assert all(len(set(batch // 20)) == 1 for batch in order)
        firsts = [batch[0] // 20 for batch in order]
        assert firsts != sorted(firsts) and sorted(firsts) == [n // 2 for n in range(12)]

    def test_one_bucket_mixes_all(self) -> None:
        order = bucketed_order(120, 1, 10, 10, np.random.default_rng(1)).reshape(-1, 10)
        assert all(len(set(batch // 20)) > 1 for batch in order)

    def test_an_epoch_of_the_full_set_has_so_many_updates(self) -> None:
        for update, steps in ((1024, 272), (2048, 136), (6144, 45)):
            order = bucketed_order(279_000, 1, 128, update, np.random.default_rng(1))
            assert len(order) == steps * update
