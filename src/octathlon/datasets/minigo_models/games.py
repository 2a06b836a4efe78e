"""Games of self-play as the reference stores them -> rows.

A file is one game, an example for each position with the features x (planes, a byte each), pi (float32s) and outcome;
what else is in it is not trained on (reference: minigo, preprocessing.py).
"""

from __future__ import annotations

import numpy as np

from octathlon.datasets.minigo_models.rows import PLANES, pack
from octathlon.errors import OctathlonError
from octathlon.formats.records import read_examples


def read_game(content: bytes, size: int, game: int, where: str) -> np.ndarray:
    """The rows of a file's game on a board of `size` lines.

    Args:
        game: its number, in the rows.
        where: names the file in messages.

    Raises:
        OctathlonError: if it is damaged or of another board.
    """
    examples = read_examples(content, where)
    try:
        return pack(size, *_positions(examples, size), game)
    except ValueError as error:
        raise OctathlonError(f"{where} cannot be read ({error}); fetch it again") from None


def _positions(examples: list[dict[str, bytes]], size: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Planes, policies and the outcome."""
    if not examples:
        raise ValueError("no position in it")
    points = size * size
    try:
        planes = np.stack([np.frombuffer(example["x"], np.uint8) for example in examples])
        policies = np.stack([np.frombuffer(example["pi"], "<f4") for example in examples])
        outcomes = {float(np.frombuffer(example["outcome"], "<f4")[0]) for example in examples}
    except (KeyError, IndexError) as error:
        raise ValueError(f"a record without {error}") from None
    if planes.shape[1] != PLANES * points or policies.shape[1] != points + 1:
        raise ValueError(f"not a game on a board of {size} lines")
    if planes.max() > 1 or len(outcomes) != 1 or not outcomes <= {1.0, -1.0}:
        raise ValueError("planes or outcome are not what they should be")
    if not (policies >= 0).all() or not np.allclose(policies.sum(1), 1, atol=1e-3):
        raise ValueError("a policy is not a distribution")
    return planes, policies, int(outcomes.pop())
