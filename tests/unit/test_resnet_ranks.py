"""resnet over many ranks: an epoch on 8 gloo processes against one process that accumulates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from imagenet_archives import draw, prepare_all
from test_resnet_benchmark import benchmark
from test_world import on_ranks
from training_on_ranks import Trained, check_close, check_equal, train_an_epoch

from octathlon.datasets.imagenet.loader import Images

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")


@pytest.mark.parametrize("optimizer", ["lars", "sgd"])
def test_eight_ranks_train_as_one_that_accumulates(tmp_path: Path, optimizer: str) -> None:
    """60 images in three updates of 16. Batch norms see 2 images either way, so the weights are the same; their
    running statistics follow eight small batches one by one on one rank, and their mean on eight. Steps are small
    enough that on no machine a rounding takes an activation across its edge, which a later update would amplify."""
    torch.set_num_threads(1)
    prepared = prepare_all(draw(tmp_path / "archives"), tmp_path / "prepared")

    def trained(rank: int, world: int) -> Trained:
        chosen = benchmark(
            data=prepared,
            rank=rank,
            world=world,
            global_batch_size=16,
            gradient_accumulation_steps=8 // world,
            optimizer=optimizer,
            base_learning_rate=0.3 if optimizer == "lars" else 0.05,
        )
        return train_an_epoch(chosen, Images, "read")

    alone, ranks = trained(0, 1), on_ranks(8, tmp_path, lambda rank: trained(rank, 8))
    seen = [number for each in ranks for number in each.samples]
    assert len(seen) == len(set(seen)) == 48  # none twice, and a rest of 12 is left out
    assert sorted(seen) == sorted(alone.samples)
    assert {len(each.samples) for each in ranks} == {6}
    check_equal(ranks)
    check_close(ranks[0], alone, tolerance=1e-3)
