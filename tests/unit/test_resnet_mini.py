"""The miniature is worth its target: right data reach it, wrong labels stay far below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from imagenet_archives import draw, prepare_all

from octathlon import config
from octathlon.benchmarks.resnet.benchmark import ImageClassification
from octathlon.contracts import Run
from octathlon.datasets.imagenet.devkit import SIZE_LIMIT, TRUTH, read_devkit
from octathlon.datasets.imagenet.prepare import DEVKIT
from octathlon.formats.tars import read_targz
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.receipts import read_json

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning"),
]


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    sizes = config.resolve("datasets", "imagenet", "mini", {}).miniature
    return draw(tmp_path / "archives", **sizes)


def accuracy(archives: Path, change: Callable[[np.ndarray], np.ndarray], shards: str) -> float:
    """After seven epochs on data whose labels, in the shards that match, went through `change`."""
    settings = config.resolve("datasets", "imagenet", "mini", {"train_shards": 1})
    prepared = prepare_all(archives, archives.parent / "prepared", settings)
    for name in read_json(prepared / "manifest.json")["shards"]:
        if name.startswith(shards) and name.endswith(".npy"):
            table = np.load(prepared / name)
            table["label"] = change(table["label"])
            np.save(prepared / name, table)
    facts = Run(
        seed=1, device=torch.device("cpu"), data=prepared, manifest=read_json(prepared / "manifest.json")
    )
    benchmark = ImageClassification(config.resolve("benchmarks", "resnet", "mini", {}), facts)
    return timed_run(benchmark, Events([], wall_clock()), max_blocks=2).quality["accuracy"]


def test_right_labels_reach_the_target(archives: Path) -> None:
    assert accuracy(archives, lambda labels: labels, "") >= 0.9


def test_shuffled_training_labels_teach_nothing(archives: Path) -> None:
    assert accuracy(archives, np.random.default_rng(1).permutation, "train") < 0.3


def test_ids_taken_for_labels_are_noticed(archives: Path) -> None:
    """The trap of the development kit: each class under the number that the ground truth gives it."""
    labels = read_devkit(archives / DEVKIT).val_labels.tolist()
    numbers = read_targz(archives / DEVKIT, SIZE_LIMIT)[TRUTH].split()
    wrong = {label: int(number) - 1 for label, number in zip(labels, numbers, strict=True)}
    assert accuracy(archives, np.vectorize(wrong.__getitem__), "val") < 0.1
