"""Embedding tables spread over ranks: each rank keeps some whole tables and looks up for all.

A step sends each rank's indices to the owners of the tables and the looked-up vectors back, and in the
backward pass the vectors' gradients once more to the owners: two exchanges of vectors, none of weights.
A rank's tables are one parameter, so that a lookup is one call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_to_all_single
from torch.nn.functional import embedding


class ShardedEmbeddings(nn.Module):
    """Indices of shape (N, tables) -> vectors of shape (N, tables, dim); N must be the same on all ranks.

    The tables are float32; vectors, also on their way between ranks, have the type of the autocast around
    the call, if there is one.

    The gradient of `weight` is that of the mean of all ranks' losses, if each rank's loss is a mean over its
    own part: it needs no reduction over ranks. It is sparse, with one entry for each row that was looked up.
    """

    def __init__(
        self, sizes: Sequence[int], dim: int, *, rank: int = 0, world: int = 1, device: torch.device
    ) -> None:
        """
        Args:
            sizes: rows of each table.
        """
        super().__init__()
        self._sizes = list(sizes)
        owned = place(sizes, world)
        self._tables = owned[rank]
        self._counts = [len(tables) for tables in owned]
        rows = [sizes[table] for table in self._tables]
        starts = torch.tensor([0, *rows]).cumsum(0)[:-1]
        self.weight = nn.Parameter(torch.empty((sum(rows), dim), device=device))
        self.weight.register_post_accumulate_grad_hook(_add_up_repeated_rows)
        self.register_buffer("_starts", starts.to(device), persistent=False)
        order = torch.tensor([table for tables in owned for table in tables])
        self.register_buffer("_order", order.to(device), persistent=False)
        self._arrival = order.argsort().tolist()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A table of n rows is uniform between -sqrt(1/n) and sqrt(1/n), whichever rank owns it."""
        seed = int(torch.randint(2**62, ()))
        generator = torch.Generator(self.weight.device)
        for table, start in zip(self._tables, self._starts.tolist(), strict=True):
            size = self._sizes[table]
            limit = math.sqrt(1 / size)
            generator.manual_seed(seed + table)
            self.weight[start : start + size].uniform_(-limit, limit, generator=generator)

    def forward(self, indices: Tensor) -> Tensor:
        if len(self._counts) == 1:
            return self._in_precision(self._look_up(indices + self._starts))
        own, world = len(self._tables), len(self._counts)
        asked = indices.new_empty((world * own, len(indices)))  # each rank's indices into the tables here
        sent = indices[:, self._order].T.contiguous()
        dist.all_to_all_single(asked, sent, [own] * world, self._counts)
        vectors = self._look_up(asked + self._starts.repeat(world).unsqueeze(1))
        if vectors.requires_grad:  # the sum of the ranks' gradients arrives; wanted is their mean
            vectors.register_hook(lambda gradient: gradient / world)
        vectors = self._in_precision(vectors)
        received = vectors.new_empty((len(self._sizes), *vectors.shape[1:]))
        tables = all_to_all_single(received, vectors, self._counts, [own] * world).unbind()
        return torch.stack([tables[position] for position in self._arrival], dim=1)

    def _look_up(self, rows: Tensor) -> Tensor:
        return embedding(rows, self.weight, sparse=True)

    def _in_precision(self, vectors: Tensor) -> Tensor:
        kind = vectors.device.type
        return vectors.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else vectors


@torch.no_grad()
def _add_up_repeated_rows(weight: Tensor) -> None:
    """Leave one entry for each row of a table in the gradient, its sum.

    An optimizer adds entry by entry and rounds the weight each time: of many small increments of one row
    little or nothing remains. `Tensor.coalesce` gives the same sums, in twice the time on a CPU.
    """
    gradient = weight.grad
    rows, places = gradient._indices().squeeze(0).unique(return_inverse=True)
    entries = gradient._values()
    sums = entries.new_zeros((len(rows), entries.shape[1])).index_add_(0, places, entries)
    weight.grad = torch.sparse_coo_tensor(
        rows.unsqueeze(0), sums, gradient.shape, is_coalesced=True, check_invariants=False
    )


def place(sizes: Sequence[int], world: int) -> list[list[int]]:
    """The tables of each rank: the largest apart, then as many on each rank as on any other, to within one.

    A rank looks up and sends one vector for each of its tables and each sample of the batch, whatever the
    tables' sizes: numbers balance time, rows balance memory. So the largest comes first, each to the rank with
    the fewest tables, and of those to the one with the fewest rows.
    """
    owned: list[list[int]] = [[] for _ in range(world)]
    rows = [0] * world
    for table in sorted(range(len(sizes)), key=lambda table: -sizes[table]):
        rank = min(range(world), key=lambda rank: (len(owned[rank]), rows[rank]))
        owned[rank].append(table)
        rows[rank] += sizes[table]
    return [sorted(tables) for tables in owned]


def table_bytes(sizes: Sequence[int], dim: int, world: int) -> int:
    """Bytes of the tables on the rank that holds most."""
    return 4 * dim * max(sum(sizes[table] for table in tables) for tables in place(sizes, world))


def look_up_bytes(tables: int, dim: int, world: int, count: int) -> int:
    """Bytes that a rank with as many tables as any needs beside them to look up `count` samples of each rank.

    Without a gradient: vectors as looked up, received and returned; under bf16 autocast half of it.
    """
    return 3 * 4 * dim * world * math.ceil(tables / world) * count
