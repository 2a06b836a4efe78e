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

    The gradient of `weight` is that of the mean of all ranks' losses, if each rank's loss is a mean over its
    own part: it needs no reduction over ranks. It is sparse, and repeated indices add up.
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
        self._owned = place(sizes, world)
        self._tables = self._owned[rank]
        rows = [sizes[table] for table in self._tables]
        starts = torch.tensor([0, *rows]).cumsum(0)[:-1]
        self.weight = nn.Parameter(torch.empty((sum(rows), dim), device=device))
        self.register_buffer("_starts", starts.to(device), persistent=False)
        order = torch.tensor([table for tables in self._owned for table in tables])
        self.register_buffer("_arrival", order.argsort().to(device), persistent=False)

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
        if len(self._owned) == 1:
            return self._look_up(indices)
        count, dim = len(indices), self.weight.shape[1]
        asked = self._ask(indices)
        vectors = self._look_up(asked)
        if vectors.requires_grad:  # the sum of the ranks' gradients arrives; wanted is their mean
            vectors.register_hook(lambda gradient: gradient / len(self._owned))
        given = [count * len(self._tables) * dim] * len(self._owned)
        taken = [count * len(tables) * dim for tables in self._owned]
        received = all_to_all_single(vectors.new_empty(sum(taken)), vectors.flatten(), taken, given)
        parts = [part.view(count, -1, dim) for part in received.split(taken)]
        return torch.cat(parts, dim=1).index_select(1, self._arrival)

    def _ask(self, indices: Tensor) -> Tensor:
        """All ranks' indices into this rank's tables, of shape (ranks * N, own tables)."""
        sent = torch.cat([indices[:, tables].flatten() for tables in self._owned])
        sizes = [len(indices) * len(tables) for tables in self._owned]
        asked = indices.new_empty(len(self._owned) * len(indices) * len(self._tables))
        dist.all_to_all_single(asked, sent, [len(asked) // len(self._owned)] * len(self._owned), sizes)
        return asked.view(len(self._owned) * len(indices), len(self._tables))

    def _look_up(self, indices: Tensor) -> Tensor:
        return embedding(indices + self._starts, self.weight, sparse=True)


def place(sizes: Sequence[int], world: int) -> list[list[int]]:
    """The tables of each rank: the largest first, each to the rank with the fewest rows so far."""
    owned: list[list[int]] = [[] for _ in range(world)]
    rows = [0] * world
    for table in sorted(range(len(sizes)), key=lambda table: -sizes[table]):
        rank = rows.index(min(rows))
        owned[rank].append(table)
        rows[rank] += sizes[table]
    return [sorted(tables) for tables in owned]
