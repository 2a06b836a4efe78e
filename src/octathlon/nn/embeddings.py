"""Embedding tables spread over ranks: each rank keeps some whole tables and looks up for all.

A step sends each rank's indices to the owners of the tables and the looked-up vectors back, and in the
backward pass the vectors' gradients once more to the owners: two exchanges of vectors, none of weights.
A rank's tables are one parameter, so that a lookup is one call. Vectors stay where the exchange puts them, table after
table: what is computed from them goes by `order` instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import embedding

from octathlon.nn.optimizers import GroupOptimizer


class ShardedEmbeddings(nn.Module):
    """Vectors of shape (N, dim) and indices of shape (N, tables) -> vectors of shape (1 + tables, N, dim).

    First come those that were given, then those of the tables, in the order of `order`. N must be the same on all
    ranks. The tables are float32; vectors, also on their way between ranks, have the type of those that were given.

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
        self._rows = [sizes[table] for table in self._tables]
        starts = torch.tensor([0, *self._rows]).cumsum(0)[:-1].int()
        self.weight = nn.Parameter(torch.empty((sum(self._rows), dim), device=device))
        self.weight.register_post_accumulate_grad_hook(_add_up_repeated_rows)
        self.register_buffer("_starts", starts.to(device), persistent=False)
        self.order = [table for tables in owned for table in tables]
        """The tables in the order in which their vectors come."""
        self.register_buffer("_order", torch.tensor(self.order, device=device), persistent=False)

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

    def forward(self, dense: Tensor, indices: Tensor) -> Tensor:
        own, world = len(self._tables), len(self._counts)
        asked = indices.T  # into the tables here, of all ranks one after the other
        if world > 1:
            asked = indices.new_empty((world * own, len(indices)))
            sent = indices.index_select(1, self._order).T.contiguous()
            dist.all_to_all_single(asked, sent, [own] * world, self._counts)
        rows = asked + self._starts.repeat(world).unsqueeze(1)
        return _LookedUp.apply(dense, self.weight, rows, self._counts)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        """Each table by its number, as in a list of `nn.Embedding`: the parts of all ranks make up the whole."""
        for name, table in self._named_tables(prefix):
            destination[name] = table

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = dict(self._named_tables(prefix))
        unexpected_keys += [name for name in state_dict if name.startswith(prefix) and name not in own]
        for name, table in own.items():
            given = state_dict.get(name)
            if given is None:
                missing_keys.append(name)
            elif given.shape == table.shape:
                table.copy_(given)
            else:
                error_msgs.append(f"{name}: {list(given.shape)}, not {list(table.shape)}")

    def _named_tables(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for table, rows in zip(self._tables, self.weight.detach().split(self._rows), strict=True):
            yield f"{prefix}{table}.weight", rows


class _LookedUp(torch.autograd.Function):
    """`dense`, and behind it what all ranks looked up for this one, in one tensor that nothing copies together."""

    @staticmethod
    def forward(ctx: Any, dense: Tensor, weight: Tensor, rows: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.counts, ctx.kind, ctx.table = counts, weight.dtype, weight.shape
        joined = dense.new_empty((1 + sum(counts), *dense.shape))
        joined[0] = dense
        if len(counts) > 1:
            own = [len(rows) // len(counts)] * len(counts)
            dist.all_to_all_single(joined[1:], embedding(rows, weight).to(dense.dtype), counts, own)
        elif dense.dtype == weight.dtype:
            torch.index_select(weight, 0, rows.flatten(), out=joined[1:].view(-1, weight.shape[1]))
        else:
            joined[1:] = embedding(rows, weight)
        return joined

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        own, world = gradient[1:], len(ctx.counts)
        if world > 1:  # the sum of the ranks' gradients arrives; wanted is their mean
            own = gradient.new_empty((*rows.shape, gradient.shape[2]))
            dist.all_to_all_single(own, gradient[1:].contiguous(), [len(own) // world] * world, ctx.counts)
            own = own.to(ctx.kind).div_(world)
        entries = own.to(ctx.kind, memory_format=torch.contiguous_format).flatten(0, 1)
        sparse = torch.sparse_coo_tensor(rows.flatten()[None], entries, ctx.table, check_invariants=False)
        return gradient[0], sparse, None, None


@torch.no_grad()
def _add_up_repeated_rows(weight: Tensor) -> None:
    """Leave one entry for each row of a table in the gradient, its sum; entries of zeros fill its length up.

    An optimizer adds entry by entry and rounds the weight each time: of many small increments of one row
    little or nothing remains. `Tensor.coalesce` and `Tensor.unique` give the same sums, but make the host wait for a
    GPU to tell it how many rows there are. The zeros go to rows all over the tables: the same one over and over
    would be slow.
    """
    gradient = weight.grad
    # sorting takes half as long in 32 bits
    rows, entries = gradient._indices().squeeze(0).int(), gradient._values()
    ordered, order = rows.sort()
    numbers = torch.zeros_like(order)  # 0 for the first of the different rows, 1 for the next
    torch.cumsum(ordered[1:] != ordered[:-1], 0, out=numbers[1:])
    places = torch.empty_like(rows).scatter_(0, order, numbers.int())
    distinct = torch.arange(len(rows), device=rows.device).remainder_(len(weight))
    distinct.scatter_(0, numbers, ordered.long())
    weight.grad = torch.sparse_coo_tensor(
        distinct.unsqueeze(0), _sums(entries, places), gradient.shape, check_invariants=False
    )


def _sums(entries: Tensor, places: Tensor) -> Tensor:
    """The sums of all `entries` with the same place, as many as entries; in a fixed order, so they are reproducible."""
    if entries.is_cuda:  # where index_add_ adds in the order in which threads come
        return torch.ops.aten.embedding_dense_backward(entries, places, len(entries), -1, False)
    return torch.zeros_like(entries).index_add_(0, places, entries)


class TableSGD(GroupOptimizer):
    """Gradient descent, on tables as on other weights. Unlike torch.optim.SGD it also takes a rate that only the device
    knows, which a CUDA graph needs."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def _update(self, group: Mapping[str, Any], parameters: list[Tensor]) -> None:
        tables = [parameter for parameter in parameters if parameter.grad.is_sparse]
        others = [parameter for parameter in parameters if not parameter.grad.is_sparse]
        if others:
            torch._foreach_sub_(others, torch._foreach_mul([each.grad for each in others], group["lr"]))
        for table in tables:
            rows, entries = table.grad._indices()[0], table.grad._values()
            table.index_add_(0, rows, entries * group["lr"], alpha=-1)


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
