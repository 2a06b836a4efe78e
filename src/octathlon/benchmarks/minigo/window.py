"""The games of the newest generations, and the batches that are drawn from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from octathlon.benchmarks.minigo.rules import geometry
from octathlon.benchmarks.minigo.settings import Settings
from octathlon.datasets.minigo_models.rows import PLANES, row_type, unpack_planes
from octathlon.nn import world
from octathlon.nn.sampling import rank_share

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Planes float32 (N, 13, size, size), policies float32 (N, size * size + 1), outcomes float32 (N,)."""


class Window:
    """One rank's part of the window: every rank plays, keeps and learns from games of its own."""

    def __init__(self, settings: Settings, rank: int, world: int) -> None:
        self._settings = settings
        self.share = len(rank_share(settings.min_selfplay_games, rank, world))
        """This rank's games of a generation."""
        self._generations: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Add a generation; the oldest one leaves where there are too many."""
        self._generations = [*self._generations, rows][-self._settings.window :]

    def state(self) -> dict[str, torch.Tensor]:
        """Each generation's rows, the oldest first: uint8 of shape (N, bytes of a row)."""
        return {
            f"generation_{place:03}": torch.from_numpy(rows.view(np.uint8).reshape(-1, rows.itemsize))
            for place, rows in enumerate(self._generations)
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Become another window with that state.

        Raises:
            ValueError: if rows are of another size.
        """
        kind = row_type(self._settings.board_size)
        for name in sorted(state):
            self.add(state[name].numpy().view(kind).reshape(-1))

    def counts(self) -> tuple[int, int]:
        """Positions, and the games that they are of."""
        games = sum(len(np.unique(rows["game"])) for rows in self._generations)
        return sum(map(len, self._generations)), games

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Positions to train on, in random order: a part of those in this rank's share of each generation's games."""
        drawn = [self._positions(rows, rng) for rows in self._generations]
        return np.concatenate(drawn)[rng.permutation(sum(map(len, drawn)))]

    def _positions(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        numbers = np.unique(rows["game"])
        chosen = np.isin(rows["game"], rng.permutation(numbers)[: self.share])
        return rows[chosen & (rng.random(len(rows)) < self._settings.position_share)]


def even_out(rows: np.ndarray, update: int, device: torch.device) -> np.ndarray:
    """As many rows on every rank: all that all ranks have, but for the last incomplete global batch.

    What a rank has too many of goes to those that have too few, in the order of ranks.

    Args:
        update: rows of a rank in one update.
        device: what the ranks exchange tensors by.
    """
    counts = world.all_gather(torch.tensor([len(rows)], device=device)).tolist()
    wanted = sum(counts) // (update * len(counts)) * update
    spare = torch.from_numpy(rows[wanted:].view(np.uint8).reshape(-1, rows.itemsize)).to(device)
    spare = world.all_gather(spare)
    lacking = [max(wanted - count, 0) for count in counts]
    first = sum(lacking[: world.rank()])
    given = spare[first : first + lacking[world.rank()]].cpu().numpy()
    return np.concatenate([rows[:wanted], given.view(rows.dtype).ravel()])


def batches(
    rows: np.ndarray, size: int, batch: int, rng: np.random.Generator, first: int = 0
) -> Iterator[Batch]:
    """Full batches in the order of `rows`, each position turned at random, in one of eight ways; the `first` ones are
    left out."""
    symmetries = geometry(size).symmetries.astype(np.int64)
    for start in range(0, len(rows) - batch + 1, batch):
        ways = rng.integers(8, size=batch)
        if start < first * batch:
            continue
        part = rows[start : start + batch]
        planes, policies = turned(part, size, symmetries[ways])
        yield planes.astype(np.float32), policies, part["outcome"].astype(np.float32)


def turned(rows: np.ndarray, size: int, sources: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Planes and policies after moving each row's points as `sources`, of shape (N, points), says; passes stay."""
    planes = np.take_along_axis(unpack_planes(rows, size), sources[:, None], axis=2)
    policies = rows["policy"].copy()
    policies[:, :-1] = np.take_along_axis(policies[:, :-1], sources, axis=1)
    return planes.reshape(-1, PLANES, size, size), policies
