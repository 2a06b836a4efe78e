"""unet3d over many ranks: an epoch on 8 gloo processes against one process that accumulates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from kits19_archives import draw, prepare_all
from test_unet3d_benchmark import benchmark
from test_world import on_ranks
from training_on_ranks import Trained, check_close, check_equal, train_an_epoch

from octathlon.datasets.kits19.loader import Cases


def test_eight_ranks_train_as_one_that_accumulates(tmp_path: Path) -> None:
    """Ten cases in two updates of 8: the second is filled up with the first six. Instance norms and the loss see one
    crop by itself, and the four evaluation volumes leave half of the ranks without any."""
    torch.set_num_threads(1)
    prepared = prepare_all(draw(tmp_path / "archives"), tmp_path / "prepared")

    def trained(rank: int, world: int) -> Trained:
        accumulation = {"gradient_accumulation_steps": 8 // world, "warmup_epochs": 1}
        return train_an_epoch(
            benchmark(data=prepared, rank=rank, world=world, **accumulation), Cases, "volumes"
        )

    alone, ranks = trained(0, 1), on_ranks(8, tmp_path, lambda rank: trained(rank, 8))
    times = Counter(number for each in ranks for number in each.samples)
    assert sorted(times.values()) == [1] * 4 + [2] * 6 and times == Counter(alone.samples)
    assert {len(each.samples) for each in ranks} == {2}
    check_equal(ranks)
    check_close(ranks[0], alone, tolerance=1e-3)
    assert ranks[0].quality == pytest.approx(alone.quality, abs=1e-3)
