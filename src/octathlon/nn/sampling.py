"""The order of samples: one per seed and epoch, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def epoch_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(samples), int64 of shape (samples,); each seed and epoch has its own."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def rank_batches(order: np.ndarray, local_batch: int, rank: int, world: int) -> Iterator[np.ndarray]:
    """This rank's part of each batch of `local_batch * world` entries of `order`, full batches only.

    N ranks together see the same batches as one rank with N times the local batch.
    """
    size = local_batch * world
    for start in range(0, len(order) - size + 1, size):
        yield order[start + rank * local_batch : start + (rank + 1) * local_batch]


def all_rank_batches(order: np.ndarray, local_batch: int, rank: int, world: int) -> Iterator[np.ndarray]:
    """As `rank_batches`, but none of `order` is left out: the last batch is smaller.

    Where that does not divide evenly among the ranks, it is filled up from the start of `order`.
    """
    size = local_batch * world
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        batch = np.concatenate([batch, np.resize(order, -len(batch) % world)])
        yield batch[rank * len(batch) // world : (rank + 1) * len(batch) // world]


def rank_share(samples: int, rank: int, world: int) -> range:
    """This rank's contiguous part of range(samples): none twice, none left out, sizes alike to within 1."""
    return range(samples * rank // world, samples * (rank + 1) // world)


def share_batches(samples: int, batch: int, rank: int, world: int) -> list[range]:
    """`rank_share` in runs of `batch`, the last one shorter: over all ranks no sample twice, none left out."""
    share = rank_share(samples, rank, world)
    return [share[start : start + batch] for start in range(0, len(share), batch)]


def balanced_share(costs: Sequence[float], rank: int, world: int) -> list[int]:
    """This rank's part of range(len(costs)): none twice, none left out, the sums of costs about alike.

    The costliest come first, each to the rank that has least to do.
    """
    loads = [0.0] * world
    share = []
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        idlest = loads.index(min(loads))
        loads[idlest] += costs[number]
        if idlest == rank:
            share.append(number)
    return share
