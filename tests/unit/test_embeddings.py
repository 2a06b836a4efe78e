"""Embedding tables on one rank and spread over gloo ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_world import on_ranks
from torch import Tensor, nn

from octathlon.nn.embeddings import ShardedEmbeddings, place

CPU = torch.device("cpu")
SIZES = [5, 3, 40, 7, 11, 2]


def embeddings(rank: int = 0, world: int = 1, sizes: list[int] = SIZES) -> ShardedEmbeddings:
    torch.manual_seed(7)
    made = ShardedEmbeddings(sizes, dim=4, rank=rank, world=world, device=CPU)
    made.reset_parameters()
    return made


def indices(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in SIZES], dim=1)


def test_each_column_looks_into_its_own_table() -> None:
    made, asked = embeddings(), indices()
    tables = made.weight.split(SIZES)
    expected = torch.stack([table[column] for table, column in zip(tables, asked.T, strict=True)], dim=1)
    assert made(asked).equal(expected)


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
    made(torch.full((16, 1), 1)).mean(dim=0).sum().backward()
    torch.optim.SGD(made.parameters(), lr=0.5).step()
    assert made.weight.tolist() == [[1.0] * 4, [0.5] * 4, [1.0] * 4]


def test_placement_balances_rows() -> None:
    """Largest first; with the round's sizes no two of the five big tables share one of eight ranks."""
    assert place([5, 3, 40, 7, 11, 2], 2) == [[2], [0, 1, 3, 4, 5]]
    sizes = [39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346, 10]
    sizes += [2208, 11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108, 36]
    owned = place(sizes, 8)
    assert sorted(sum(owned, [])) == list(range(26))
    assert all(len({0, 9, 19, 20, 21} & set(tables)) <= 1 for tables in owned)
    assert all(tables for tables in owned)


def _trained(rank: int, world: int, sizes: list[int] = SIZES) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The vectors of this rank's rows, and its tables, after three steps of a rank-wise mean loss."""
    made = embeddings(rank, world, sizes)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.3)
    asked = indices()[:, : len(sizes)]
    weights = torch.randn((*asked.shape, 4), generator=torch.Generator().manual_seed(5))
    part = slice(rank * 12 // world, (rank + 1) * 12 // world)
    for _ in range(3):
        vectors = made(asked[part])
        ((vectors * weights[part]).sum((1, 2)) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    tables = place(sizes, world)[rank]
    values = made.weight.detach().split([sizes[table] for table in tables])
    with torch.inference_mode():
        vectors = made(asked[part]).numpy()
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
