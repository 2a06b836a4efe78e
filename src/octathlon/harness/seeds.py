"""All randomness of a run comes from its one seed."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_alike(seed: int) -> None:
    """Seed the global generators with the same state on every rank: for what all ranks must agree on, as weights."""
    _seed(seed)


def seed_rank(seed: int, rank: int) -> None:
    """Give each rank its own stream, for what ranks must not share, as dropout."""
    _seed(int(np.random.SeedSequence([seed, rank]).generate_state(1)[0]))


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries draw from it
    torch.manual_seed(seed)
