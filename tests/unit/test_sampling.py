"""Orders and shares of samples: complete, without repeats, the same for any number of ranks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from octathlon.nn.sampling import epoch_order, rank_batches, rank_share, share_batches


@given(samples=st.integers(0, 500), seed=st.integers(0, 1 << 31), epoch=st.integers(1, 100))
def test_an_epoch_visits_every_sample_once(samples: int, seed: int, epoch: int) -> None:
    order = epoch_order(samples, seed, epoch)
    assert sorted(order) == list(range(samples))
    assert (order == epoch_order(samples, seed, epoch)).all()


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


@given(samples=st.integers(0, 300), local_batch=st.integers(1, 20), world=st.integers(1, 8))
def test_ranks_together_see_the_batches_of_one(samples: int, local_batch: int, world: int) -> None:
    order = np.arange(samples)[::-1]
    size = local_batch * world
    alone = [batch.tolist() for batch in rank_batches(order, size, 0, 1)]
    ranks = [list(rank_batches(order, local_batch, rank, world)) for rank in range(world)]
    together = [np.concatenate(parts).tolist() for parts in zip(*ranks, strict=True)]
    assert together == alone
    assert len(alone) == samples // size and all(len(batch) == size for batch in alone)


@given(samples=st.integers(0, 500), world=st.integers(1, 64))
def test_shares_are_a_partition(samples: int, world: int) -> None:
    shares = [rank_share(samples, rank, world) for rank in range(world)]
    assert [number for share in shares for number in share] == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(samples=st.integers(0, 500), batch=st.integers(1, 40), world=st.integers(1, 16))
def test_a_share_in_batches_is_the_share(samples: int, batch: int, world: int) -> None:
    for rank in range(world):
        batches = share_batches(samples, batch, rank, world)
        assert [number for each in batches for number in each] == list(rank_share(samples, rank, world))
        assert all(len(each) == batch for each in batches[:-1]) and all(batches)
