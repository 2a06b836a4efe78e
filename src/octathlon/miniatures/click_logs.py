"""Miniature click logs: 24 days in the format of Criteo's 1 TB set, with clicks of a known probability.

A row clicks with the probability that a planted logit gives: linear in the logarithms of the integers, plus
a weight for each category, plus for some pairs of columns a product of the categories' hidden vectors. Only
a model that learns all three comes near the AUC of the planted probability itself, `ceiling`. The real
logs' traps are in: empty fields in every column but the first, negative integers, hashes of 32 bits, of
which some are equal in different columns, and a last day of which one half is not for training.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from octathlon.miniatures.files import replacing

DAYS = 24
INTEGERS = 13
CARDINALITIES = (
    *(400, 120, 80, 40, 60, 3, 30, 16, 6, 300, 200, 100, 10),
    *(20, 50, 15, 4, 12, 14, 400, 300, 350, 90, 40, 12, 9),
)
"""Categories of each of the 26 columns: few enough that each is seen often."""
PAIRS = ((0, 9), (1, 10), (2, 20), (4, 11), (19, 21), (3, 14), (22, 23), (6, 13))
"""Columns whose categories interact."""

CLICK_RATE = 0.25
INTEGER_MISSING, CATEGORY_MISSING = 0.10, 0.05
INTEGER_STD, CATEGORY_STD, FACTOR_STD = 0.12, 0.45, 0.3
FACTORS, FACTOR_GAIN = 4, 2.0
TYPICAL_LOG = 1.2
"""About the mean of ln(1 + integer): keeps the integers' part of the logit near 0."""
UNIFORM_UP_TO = 20
"""Columns with more categories have popular and rare ones."""
INTEGER_LIMIT = 99_999


@dataclass(frozen=True)
class _Rows:
    """Some rows of a day. Missing entries are -1 in `categories` and True in `integer_missing`."""

    integers: np.ndarray
    """int64 of shape (rows, 13), from -2 on"""
    integer_missing: np.ndarray
    categories: np.ndarray
    """int64 of shape (rows, 26)"""
    probabilities: np.ndarray
    labels: np.ndarray


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [f"day_{day}.gz" for day in range(DAYS)]


def draw(archive: str, folder: Path, *, seed: int, rows_per_day: int, last_day_rows: int) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn.

    Args:
        rows_per_day, last_day_rows: rows of each of the days 0 to 22, and of day 23.
    """
    day = archives().index(archive)
    rows = _day(seed, day, last_day_rows if day == DAYS - 1 else rows_per_day)
    content = gzip.compress(_text(seed, rows), compresslevel=1, mtime=0)
    with replacing(folder / archive) as file:
        file.write(content)


def ceiling(*, seed: int, last_day_rows: int, **_sizes: int) -> float:
    """The AUC of the planted probabilities on the evaluation rows, the first half of day 23.

    No model can be expected to do better.
    """
    from scipy.stats import rankdata

    rows = _day(seed, DAYS - 1, last_day_rows)
    half = (last_day_rows + 1) // 2
    ranks, clicked = rankdata(rows.probabilities[:half]), rows.labels[:half]
    clicks = int(clicked.sum())
    return float((ranks[clicked].sum() - clicks * (clicks + 1) / 2) / (clicks * (half - clicks)))


# What is planted ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """The planted weights and the columns' spellings, the same on all days."""

    integer_weights: np.ndarray
    category_weights: list[np.ndarray]
    factors: list[tuple[np.ndarray, np.ndarray]]
    popularity: list[np.ndarray]
    """Cumulative probabilities of each column's categories."""
    spellings: list[np.ndarray]
    """A column's fields with the tab before them, dtype S9; the last one is the missing one."""

    def logits(self, integers: np.ndarray, missing: np.ndarray, categories: np.ndarray) -> np.ndarray:
        """Without the intercept; a missing category adds nothing, a missing integer counts as 0."""
        logs = np.log1p(np.where(missing, 0, integers).clip(0)) - TYPICAL_LOG
        total = logs @ self.integer_weights
        for column, weights in enumerate(self.category_weights):
            total += np.append(weights, 0)[categories[:, column]]
        for (left, right), (left_factors, right_factors) in zip(PAIRS, self.factors, strict=True):
            products = np.zeros((len(left_factors) + 1, len(right_factors) + 1))
            products[:-1, :-1] = left_factors @ right_factors.T
            total += FACTOR_GAIN * products[categories[:, left], categories[:, right]]
        return total


@cache
def _plan(seed: int) -> _Plan:
    rng = np.random.default_rng([seed, 0])
    return _Plan(
        integer_weights=rng.normal(0, INTEGER_STD, INTEGERS),
        category_weights=[rng.normal(0, CATEGORY_STD, size) for size in CARDINALITIES],
        factors=[
            tuple(rng.normal(0, FACTOR_STD, (CARDINALITIES[c], FACTORS)) for c in pair) for pair in PAIRS
        ],
        popularity=[_popularity(size) for size in CARDINALITIES],
        spellings=[_spellings(rng, size) for size in CARDINALITIES],
    )


def _popularity(size: int) -> np.ndarray:
    """Uniform, or of a log-uniform rank where there are many categories."""
    ranks = np.arange(1, size + 1)
    return np.log1p(ranks) / np.log1p(size) if size > UNIFORM_UP_TO else ranks / size


def _spellings(rng: np.random.Generator, size: int) -> np.ndarray:
    """Fields of eight hexadecimal digits; the first category of each column has the same hash."""
    hashes = [0x5EED, *rng.choice(2**32, size - 1, replace=False).tolist()]
    return np.array([f"\t{value:08x}" for value in hashes] + ["\t"], dtype="S9")


@cache
def _intercept(seed: int) -> float:
    """What makes CLICK_RATE of the rows click, solved by bisection on rows of no day."""
    logits = _plan(seed).logits(*_features(np.random.default_rng([seed, 1]), seed, 20_000))
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _sigmoid(logits + middle).mean() < CLICK_RATE else (low, middle)
    return low


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def _day(seed: int, day: int, count: int) -> _Rows:
    rng = np.random.default_rng([seed, 2, day])
    integers, missing, categories = _features(rng, seed, count)
    probabilities = _sigmoid(_plan(seed).logits(integers, missing, categories) + _intercept(seed))
    return _Rows(integers, missing, categories, probabilities, rng.random(count) < probabilities)


def _features(rng: np.random.Generator, seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    integers = np.floor(np.exp(rng.normal(1.5, 1.5, (count, INTEGERS)))).astype(np.int64) - 2
    integer_missing = rng.random((count, INTEGERS)) < INTEGER_MISSING
    columns = [np.searchsorted(steps, rng.random(count), side="right") for steps in _plan(seed).popularity]
    categories = np.stack(columns, axis=1)
    categories[rng.random(categories.shape) < CATEGORY_MISSING] = -1
    return integers.clip(max=INTEGER_LIMIT), integer_missing, categories


# Spelling ----------------------------------------------------------------------------------------------


def _text(seed: int, rows: _Rows) -> bytes:
    """The rows as lines of 40 fields between tabs. All rows are spelt at once, NUL where a field is shorter."""
    spelt = np.array([f"\t{value}" for value in range(-2, int(rows.integers.max()) + 1)] + ["\t"])
    spelt_integers = spelt.astype("S")[np.where(rows.integer_missing, -1, rows.integers + 2)]
    fields = [
        np.where(rows.labels, b"1", b"0")[:, None],
        spelt_integers,
        *(spelt[rows.categories[:, column], None] for column, spelt in enumerate(_plan(seed).spellings)),
        np.full((len(rows.labels), 1), b"\n"),
    ]
    lines = np.concatenate([np.ascontiguousarray(field).view(np.uint8) for field in fields], axis=1)
    return lines.tobytes().translate(None, delete=b"\0")
