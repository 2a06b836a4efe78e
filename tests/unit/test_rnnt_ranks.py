"""rnnt over many ranks: an epoch on 8 gloo processes against one process with as large micro-batches."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from librispeech_archives import CHAPTER, HAND_MADE, draw, flac, prepare_all, samples, settings, write
from test_rnnt_benchmark import benchmark
from test_world import on_ranks
from training_on_ranks import Trained, check_close, check_equal, train_an_epoch, weights_of

from octathlon.datasets.librispeech import features
from octathlon.datasets.librispeech.loader import Utterances


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 training utterances of many lengths."""
    folder = tmp_path_factory.mktemp("librispeech")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


def trained(data: Path, rank: int, world: int, **over: object) -> tuple[Trained, Trained]:
    """After an epoch in updates of two micro-batches of 16; the second with the averaged weights for moves."""
    options = {"global_batch_size": 32, "gradient_accumulation_steps": 2, "max_prediction_symbols": 5}
    chosen = benchmark(data=data, rank=rank, world=world, **options, **over)
    latest = train_an_epoch(chosen, Utterances, "samples")
    return latest, latest._replace(moves=weights_of(chosen._averaged))


@pytest.mark.parametrize("buckets", [1, 3])
def test_eight_ranks_hear_an_epoch_once_and_stay_alike(prepared: Path, tmp_path: Path, buckets: int) -> None:
    """Also where utterances are cut into buckets by their lengths: 64 are used, a random rest of 8 is left out."""
    torch.set_num_threads(1)
    ranks = on_ranks(8, tmp_path, lambda rank: trained(prepared, rank, 8, buckets=buckets))
    seen = [number for each, _ in ranks for number in each.samples]
    assert len(seen) == len(set(seen)) == 64
    assert {len(each.samples) for each, _ in ranks} == {8}
    for kind in (0, 1):
        check_equal([each[kind] for each in ranks])


def same_length(folder: Path) -> Path:
    """64 training utterances of 8,000 samples of noise, with texts of many lengths."""
    texts = [" ".join(["he's a cat", "the hat", "sat"][: 1 + number % 3]) for number in range(64)]
    lines = "".join(f"7-70-{number:04d} {text.upper()}\n" for number, text in enumerate(texts))
    files = {f"{CHAPTER}-{number:04d}.flac": flac(samples(number)) for number in range(64)}
    archives = write(folder / "archives", files | {f"{CHAPTER}.trans.txt": lines.encode()})
    return prepare_all(archives, folder / "prepared", settings(**HAND_MADE))


def test_eight_ranks_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the reference, which utterances share a micro-batch depends on its size over all ranks: one rank takes 16
    at once where eight take 2 each. And what is heard after an utterance's end depends on the longest of a rank's, as
    do the places of masks: here all have one length. Dither comes from a rank's own stream: it is off."""
    torch.set_num_threads(1)
    monkeypatch.setattr(features, "log_mel", partial(features.log_mel, dither=0.0))
    data, options = same_length(tmp_path), {"speed_percent": (100, 100), "warmup_epochs": 0}
    alone, _ = trained(data, 0, 1, **options)
    ranks = [latest for latest, _ in on_ranks(8, tmp_path, lambda rank: trained(data, rank, 8, **options))]
    assert sorted(alone.samples) == sorted(number for each in ranks for number in each.samples)
    check_equal(ranks)
    check_close(ranks[0], alone, tolerance=1e-3)
    assert ranks[0].quality == alone.quality
