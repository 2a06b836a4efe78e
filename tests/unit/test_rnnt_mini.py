"""Mini runs: the target is reached whatever the seed, and never by a pipeline that is broken."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import librispeech_archives as made
import numpy as np
import pytest
import torch

from octathlon import config
from octathlon.benchmarks.rnnt import benchmark as module
from octathlon.benchmarks.rnnt import model
from octathlon.benchmarks.rnnt.loss import transducer_loss
from octathlon.contracts import Run
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.receipts import read_json

pytestmark = pytest.mark.slow
BROKEN_EPOCHS = 10
"""More than sound runs need."""


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the mini scale."""
    chosen = config.resolve("datasets", "librispeech", "mini", {})
    folder = tmp_path_factory.mktemp("mini")
    return made.prepare_all(made.draw(folder / "archives", **chosen.miniature), folder / "out", chosen)


@pytest.fixture
def broken(mini: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(mini, tmp_path / "broken"))


def outcome(data: Path, seed: int, **over: Any) -> Outcome:
    torch.set_num_threads(1)
    settings = config.resolve("benchmarks", "rnnt", "mini", over)
    manifest = read_json(data / "manifest.json")
    run = Run(seed=seed, device=torch.device("cpu"), data=data, manifest=manifest)
    return timed_run(module.SpeechRecognition(settings, run), Events([], time.monotonic))


def missed(data: Path) -> float:
    """The word error rate at the end of a run that must not reach the target."""
    end = outcome(data, 1, cadence={"limit": BROKEN_EPOCHS})
    assert not end.reached
    return end.quality["WER"]


@pytest.mark.parametrize("seed", range(1, 6))
def test_mini_reaches_the_target_whatever_the_seed(mini: Path, seed: int) -> None:
    assert outcome(mini, seed).reached


def test_shuffled_transcripts_teach_nothing(broken: Path) -> None:
    table = np.load(broken / "train.npy")
    order = np.random.default_rng(1).permutation(len(table))
    for field in ("first_token", "tokens"):
        table[field] = table[field][order]
    np.save(broken / "train.npy", table)
    assert missed(broken) > 0.7


def test_noise_teaches_nothing(broken: Path) -> None:
    for path in broken.glob("*.pcm"):
        noise = np.random.default_rng(1).integers(-9999, 9999, path.stat().st_size // 2, dtype=np.int16)
        noise.tofile(path)
    assert missed(broken) > 0.7


def test_another_blank_in_the_loss_than_in_the_decoder_is_noticed(
    mini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the loss the first piece, which no transcript has, and blank change places."""

    def loss(listened, read, joint_net, *others):  # noqa: ANN001, ANN202
        relu, drop, output = joint_net
        order = [len(output.bias) - 1, *range(1, len(output.bias) - 1), 0]
        swapped = SimpleNamespace(weight=output.weight[order], bias=output.bias[order])
        return transducer_loss(listened, read, (relu, drop, swapped), *others)

    monkeypatch.setattr(model, "transducer_loss", loss)
    assert missed(mini) > 1
