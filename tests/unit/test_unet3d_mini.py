"""The miniature is worth its target: right data reach it, broken training stays far below."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from kits19_archives import draw, prepare_all
from torch import Tensor

from octathlon import config
from octathlon.benchmarks.unet3d.benchmark import ImageSegmentation
from octathlon.contracts import Run
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import Outcome, timed_run
from octathlon.receipts import read_json

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kits19")
    return prepare_all(draw(folder / "archives"), folder / "prepared")


def outcome(prepared: Path, spoil: Callable[[Tensor], Tensor] = lambda labels: labels, **over) -> Outcome:
    """Of a run whose training labels went through `spoil`."""

    class Spoilt(ImageSegmentation):
        def train_batches(self, epoch: int, first: int = 0) -> Iterable[tuple[Tensor, Tensor]]:
            for images, labels in super().train_batches(epoch, first):
                yield images, spoil(labels)

    manifest = read_json(prepared / "manifest.json")
    run = Run(seed=2, device=torch.device("cpu"), data=prepared, manifest=manifest)
    return timed_run(
        Spoilt(config.resolve("benchmarks", "unet3d", "mini", over), run), Events([], wall_clock())
    )


def test_sound_training_reaches_the_target(prepared: Path) -> None:
    assert outcome(prepared).reached


LAST_ONLY = {"first": 128, "every": 128}
"""One evaluation, at the limit."""


@pytest.mark.parametrize(
    ("spoil", "over"),
    [
        (lambda labels: labels, {"oversampling": 0}),
        (lambda labels: labels.roll(1, 0), {}),
        (lambda labels: labels.flip(2), {}),
    ],
    ids=["no oversampling", "labels of another case", "labels flipped without their images"],
)
def test_broken_training_misses_it(prepared: Path, spoil: Callable[[Tensor], Tensor], over: dict) -> None:
    done = outcome(prepared, spoil, cadence=LAST_ONLY, **over)
    assert not done.reached and done.quality["mean_DICE"] < 0.65
