"""The miniature is worth its target: a model reaches it, what looks at a few neighbours does not."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from wikipedia_archives import prepare_all

from octathlon import config
from octathlon.benchmarks.bert.benchmark import LanguageModelling
from octathlon.contracts import Run
from octathlon.datasets.wikipedia.shards import read_shard
from octathlon.harness.clock import wall_clock
from octathlon.harness.events import Events
from octathlon.harness.loop import timed_run
from octathlon.miniatures import wikipedia as miniature
from octathlon.receipts import read_json

pytestmark = pytest.mark.slow
TARGET = 0.72
CONTEXTS = [(), (-1,), (-1, 1), (-2, -1, 1, 2), (-3, -2, -1, 1, 2, 3)]
"""Neighbours that a guess looks at; where a context was seen less than twice, the one before."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini scale's data set."""
    folder, settings = (
        tmp_path_factory.mktemp("wikipedia"),
        config.resolve("datasets", "wikipedia", "mini", {}),
    )
    for name in miniature.archives():
        miniature.draw(name, folder, seed=1, **settings.miniature)
    return prepare_all(folder, folder / "prepared", settings)


def masked(prepared: Path, split: str) -> list[tuple[list[tuple[int, ...]], int]]:
    """Each masked piece's neighbours, as a model sees them, in every of CONTEXTS, and the piece."""
    found = []
    for name in read_json(prepared / "manifest.json")["splits"][split]:
        fields = read_shard(prepared / name).fields
        for row in range(len(fields["input_ids"])):
            padded = [-1] * 3 + fields["input_ids"][row].tolist() + [-1] * 3
            places = fields["masked_lm_positions"][row].tolist()
            for place, label in zip(places, fields["masked_lm_ids"][row].tolist(), strict=True):
                found.append(([tuple(padded[place + 3 + i] for i in near) for near in CONTEXTS], label))
    return found


def test_few_neighbours_do_not_reach_the_target(prepared: Path) -> None:
    """The most frequent piece, bigrams, both neighbours, two and three on each side."""
    seen: dict = defaultdict(Counter)
    for contexts, label in masked(prepared, "train"):
        for kind, context in enumerate(contexts):
            seen[kind, context][label] += 1
    hits, evaluation = [0] * len(CONTEXTS), masked(prepared, "eval")
    for contexts, label in evaluation:
        guess = None
        for kind, context in enumerate(contexts):
            counts = seen.get((kind, context))
            if counts and counts.total() >= 2:
                guess = counts.most_common(1)[0][0]
            hits[kind] += guess == label
    accuracies = [count / len(evaluation) for count in hits]
    assert accuracies == sorted(accuracies)
    assert accuracies[0] < 0.2
    assert accuracies[2] < TARGET - 0.08
    assert accuracies[4] < TARGET


def test_training_reaches_the_target(prepared: Path) -> None:
    settings = config.resolve("benchmarks", "bert", "mini", {})
    assert settings.target == {"mlm_accuracy": TARGET}
    facts = Run(
        seed=1, device=torch.device("cpu"), data=prepared, manifest=read_json(prepared / "manifest.json")
    )
    assert timed_run(LanguageModelling(settings, facts), Events([], wall_clock())).reached
