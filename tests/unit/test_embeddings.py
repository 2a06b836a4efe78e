"""Embedding tables on one rank and spread over gloo ranks."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from test_world import on_ranks
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from octathlon.nn.embeddings import ShardedEmbeddings, TableSGD, place

CPU = torch.device("cpu")
SIZES = [5, 3, 40, 7, 11, 2]
CLICK_LOGS = [39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10]
CLICK_LOGS += [2208, 11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36]


def embeddings(rank: int = 0, world: int = 1, sizes: list[int] = SIZES) -> ShardedEmbeddings:
    torch.manual_seed(7)
    made = ShardedEmbeddings(sizes, dim=4, rank=rank, world=world, device=CPU)
    made.reset_parameters()
    return made


def look_up(made: ShardedEmbeddings, asked: Tensor, kind: torch.dtype = torch.float32) -> Tensor:
    """Vectors of shape (N, tables, dim), in the tables' order."""
    vectors = made(torch.full((len(asked), made.weight.shape[1]), 9.0, dtype=kind), asked.int())
    assert (vectors[0] == 9).all()
    return vectors[1:][torch.tensor(made.order).argsort()].transpose(0, 1)


def indices(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in SIZES], dim=1)


def test_each_column_looks_into_its_own_table() -> None:
    made, asked = embeddings(), indices()
    tables = made.weight.split(SIZES)
    expected = torch.stack([table[column] for table, column in zip(tables, asked.T, strict=True)], dim=1)
    assert look_up(made, asked).equal(expected)


def test_the_range_depends_on_the_rows() -> None:
    """Uniform within +-sqrt(1/rows): a table of 4 rows within 0.5, one of 10,000 within 0.01."""
    made = ShardedEmbeddings([4, 10_000], dim=128, device=CPU)
    made.reset_parameters()
    for table, limit in zip(made.weight.split([4, 10_000]), (0.5, 0.01), strict=True):
        assert 0.98 * limit < table.abs().max() <= limit
        assert table.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert table.mean().abs() < 0.1 * limit


def test_repeated_indices_add_up() -> None:
    """16 equal rows change a vector once, by the learning rate times the mean gradient."""
    made = ShardedEmbeddings([3], dim=4, device=CPU)
    nn.init.ones_(made.weight)
    look_up(made, torch.full((16, 1), 1)).mean(dim=0).sum().backward()
    TableSGD(made.parameters(), lr=0.5).step()
    assert made.weight.tolist() == [[1.0] * 4, [0.5] * 4, [1.0] * 4]


def _update(sizes: list[int], rate: float, parts: int) -> tuple[Tensor, Tensor]:
    """The change of each weight by one update of 55,296 rows in `parts` micro-batches, and the exact one.

    The gradients are of a mean cross-entropy where 3 % are clicks and the model says 3.5 % of all.
    """
    count, dim = 55_296, 32
    made = ShardedEmbeddings(sizes, dim, device=CPU)
    made.reset_parameters()
    generator = torch.Generator().manual_seed(1)
    asked = torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], dim=1)
    clicked = torch.rand((count, 1, 1), generator=generator) < 0.03
    directions = 0.1 * torch.randn((1, len(sizes), dim), generator=generator)
    directions = directions + 0.1 * torch.randn((count, len(sizes), dim), generator=generator)
    gradients = (0.035 - clicked.float()) / count * directions
    before = made.weight.detach().double()
    rows = asked + torch.tensor([0, *sizes]).cumsum(0)[:-1]
    exact = torch.zeros_like(before).index_add_(0, rows.flatten(), gradients.flatten(0, 1).double())
    for part, gradient in zip(asked.chunk(parts), gradients.chunk(parts), strict=True):
        look_up(made, part).backward(gradient)
    TableSGD(made.parameters(), lr=rate).step()
    return made.weight.detach().double() - before, -rate * exact


@pytest.mark.parametrize("rate", [24.0, 6.0, 1.5, 0.24])
@pytest.mark.parametrize("parts", [1, 8])
def test_an_update_of_often_repeated_rows_is_exact(rate: float, parts: int) -> None:
    """Against 64 bits: within 0.1 % in each table. One by one, most increments would vanish in the weight."""
    sizes = [3, 10, 36]
    for made, exact in zip(*(change.split(sizes) for change in _update(sizes, rate, parts)), strict=True):
        assert (made - exact).norm() <= 0.001 * exact.norm()


def test_the_gradient_holds_each_row_once() -> None:
    """Once its sum, and zeros: no more than was looked up, however large the table and however many micro-batches."""
    made = ShardedEmbeddings([1_000_000, 3], dim=4, device=CPU)
    for asked in ([[999_999, 1], [7, 1], [7, 2]], [[7, 0], [999_999, 1]]):
        look_up(made, torch.tensor(asked)).sum().backward()
    gradient = made.weight.grad
    assert gradient.is_sparse
    assert gradient._nnz() <= 10  # as many as were looked up
    rows, values = gradient._indices()[0], gradient._values()[:, 0]
    found = zip(rows[values > 0].tolist(), values[values > 0].tolist(), strict=True)
    assert list(found) == [(7, 3), (999_999, 2), (1_000_000, 1), (1_000_001, 3), (1_000_002, 1)]


@pytest.mark.parametrize("world", [2, 4, 8, 16])
def test_placement(world: int) -> None:
    """The round's tables: the five large ones apart, numbers even, memory within 10 % of the best there is."""
    owned = place(CLICK_LOGS, world)
    assert sorted(sum(owned, [])) == list(range(26))
    numbers = [len(tables) for tables in owned]
    assert max(numbers) == -(-26 // world)
    assert min(numbers) == 26 // world
    large = {0, 9, 19, 20, 21}
    assert max(len(large & set(tables)) for tables in owned) == -(-5 // world)
    choices = product(range(min(world, 5)), repeat=5)
    best = min(max(_rows_by_rank(sorted(large), choice)) for choice in choices)  # the others are 2 % of all
    assert max(sum(CLICK_LOGS[table] for table in tables) for tables in owned) <= 1.1 * best


def _rows_by_rank(tables: list[int], ranks: tuple[int, ...]) -> list[int]:
    return [
        sum(CLICK_LOGS[table] for table, owner in zip(tables, ranks, strict=True) if owner == rank)
        for rank in set(ranks)
    ]


def _trained(rank: int, world: int, sizes: list[int] = SIZES) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The vectors of this rank's rows, and its tables, after three steps of a rank-wise mean loss."""
    made = embeddings(rank, world, sizes)
    optimizer = TableSGD(made.parameters(), lr=0.3)
    asked = indices()[:, : len(sizes)]
    weights = torch.randn((*asked.shape, 4), generator=torch.Generator().manual_seed(5))
    part = slice(rank * 12 // world, (rank + 1) * 12 // world)
    for _ in range(3):
        vectors = look_up(made, asked[part])
        ((vectors * weights[part]).sum((1, 2)) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    tables = place(sizes, world)[rank]
    values = made.weight.detach().split([sizes[table] for table in tables])
    with torch.inference_mode():
        vectors = look_up(made, asked[part]).numpy()
    return vectors, {table: rows.numpy() for table, rows in zip(tables, values, strict=True)}


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_as_one(tmp_path: Path, world: int) -> None:
    """Vectors and tables; uneven tables, repeated indices, means over each rank's own rows."""
    vectors, tables = _trained(0, 1)
    results = on_ranks(world, tmp_path, lambda rank: _trained(rank, world))
    np.testing.assert_allclose(np.concatenate([part for part, _ in results]), vectors, rtol=0, atol=1e-6)
    together = {table: values for _, own in results for table, values in own.items()}
    assert sorted(together) == sorted(tables)
    for table, values in tables.items():
        np.testing.assert_allclose(together[table], values, rtol=0, atol=1e-6)


def test_a_rank_without_tables_still_takes_part(tmp_path: Path) -> None:
    vectors, _ = _trained(0, 1, SIZES[:2])
    results = on_ranks(3, tmp_path, lambda rank: _trained(rank, 3, SIZES[:2]))
    np.testing.assert_allclose(np.concatenate([part for part, _ in results]), vectors, rtol=0, atol=1e-6)


class _Exchanged(TorchDispatchMode):
    """Notes the types of all floating-point tensors that are exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
        if func is torch.ops.c10d.alltoall_base_.default and args[1].is_floating_point():
            self.types.append(args[1].dtype)
        return func(*args, **(kwargs or {}))


def _in_bf16(rank: int, world: int) -> tuple[np.ndarray, np.ndarray, list[torch.dtype]]:
    made = embeddings(rank, world)
    part = slice(rank * 12 // world, (rank + 1) * 12 // world)
    with _Exchanged() as exchanged:
        vectors = look_up(made, indices()[part], torch.bfloat16)
        (vectors.float() ** 2).sum((1, 2)).mean().backward()
    assert vectors.dtype == torch.bfloat16
    return vectors.detach().float().numpy(), made.weight.grad.to_dense().numpy(), exchanged.types


def test_ranks_exchange_in_the_precision_of_the_run(tmp_path: Path) -> None:
    """bf16 both ways if the given vectors are so; the tables and the sums of their gradients stay in 32 bits."""
    vectors, gradient, _ = _in_bf16(0, 1)
    first, second = on_ranks(2, tmp_path, lambda rank: _in_bf16(rank, 2))
    assert np.array_equal(np.concatenate([first[0], second[0]]), vectors)
    assert first[2] == second[2] == [torch.bfloat16] * 2
    tables = np.split(gradient, np.cumsum(SIZES)[:-1])
    for rank, (_, made, _) in enumerate((first, second)):
        expected = np.concatenate([tables[table] for table in place(SIZES, 2)[rank]])
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, expected, rtol=0.01, atol=1e-3)


def test_ranks_keep_their_tables_under_the_numbers_that_plain_embeddings_have() -> None:
    """Together they load into a list of nn.Embedding; a part loads into its rank alone, and only if it is whole."""
    whole, parts = embeddings(), [embeddings(rank, 2) for rank in range(2)]
    plain = nn.ModuleList(nn.Embedding(size, 4) for size in SIZES)
    plain.load_state_dict(parts[0].state_dict() | parts[1].state_dict())
    for table, expected in zip(plain, whole.weight.split(SIZES), strict=True):
        assert table.weight.equal(expected)
    other = embeddings(1, 2)
    other.weight.data.zero_()
    other.load_state_dict(parts[1].state_dict())
    assert other.weight.equal(parts[1].weight)
    with pytest.raises(RuntimeError, match="(?s)Missing key.*Unexpected key"):
        other.load_state_dict(parts[0].state_dict())
    cut = {name: table[:1] for name, table in parts[1].state_dict().items()}
    with pytest.raises(RuntimeError, match=r"\.weight: \[1, 4\], not \["):
        other.load_state_dict(cut)
