"""A miniature of what minigo starts from, in the reference's formats: a checkpoint with its games, and a target model.

The checkpoint has the weights of a fresh network; its games are played by two players who draw their moves, the more
readily the more a move captures, and never fill an eye of their own. The target model is made by hand, not trained: its
convolutions find whose each point is, its value is how far Black's area exceeds White's and komi, and its policy likes
captures and the centre. So it plays sensibly as far as its search sees, and its strength is known by construction.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from octathlon.miniatures.crc32c import masked_crc32c, masked_crc32cs
from octathlon.miniatures.files import add_member, replacing
from octathlon.miniatures.go_games import KOMI, PLANES, Move, play
from octathlon.miniatures.protobuf import field
from octathlon.miniatures.tensor_bundle import data_file, index_file

CHECKPOINT, INDEX, DATA = "checkpoint.tar.gz", "target.index", "target.data-00000-of-00001"
EPSILON = 1e-5
"""Of the batch norms: a variance of 1 - EPSILON makes one the identity."""
VALUE_SLOPE, CAPTURE_LOGIT, CENTRE_LOGIT, PASS_LOGIT, LOGIT_NOISE = 0.15, 2.0, 0.3, -4.0, 0.1
"""Of the target model."""


def archives(**_sizes: int) -> list[str]:
    """The archives that `draw` can draw."""
    return [CHECKPOINT, INDEX, DATA]


def draw(
    archive: str,
    folder: Path,
    *,
    seed: int,
    board_size: int,
    filters: int,
    blocks: int,
    value_units: int,
    generations: int,
    games: int,
    max_moves: int,
) -> None:
    """Write `folder/archive`: the same bytes for the same seed and sizes, whatever else was drawn.

    Args:
        filters, blocks, value_units: sizes of both models; the target needs 9 filters and a block.
        generations, games: games of each generation that the checkpoint comes with.
        max_moves: a longer game is scored as it stands.
    """
    shape = _Shape(board_size, filters, blocks, value_units)
    writers: dict[str, Callable[[], bytes]] = {
        CHECKPOINT: lambda: _checkpoint(seed, shape, generations, games, max_moves),
        INDEX: lambda: index_file(_target(seed, shape)),
        DATA: lambda: data_file(_target(seed, shape)),
    }
    content = writers[archive]()
    with replacing(folder / archive) as file:
        file.write(content)


def _checkpoint(seed: int, shape: _Shape, generations: int, games: int, max_moves: int) -> bytes:
    tensors, model = _fresh(seed, shape), "work_dir/model.ckpt-0"
    members = {f"{model}.index": index_file(tensors), f"{model}.data-00000-of-00001": data_file(tensors)}
    for generation in range(generations):
        for number in range(games):
            rng = np.random.default_rng([seed, 1, generation, number])
            name = f"data/selfplay/{generation:06d}/0/{number:06d}.tfrecord.zz"
            members[name] = _game_file(*play(rng, shape.size, max_moves))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:") as tar:
        for name, content in members.items():
            add_member(tar, f"checkpoints/mlperf07/{name}", content)
    return gzip.compress(stream.getvalue(), compresslevel=1, mtime=0)


# The models ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    size: int
    filters: int
    blocks: int
    value_units: int

    def kernels(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the layers' kernels, under TensorFlow's names and in its order of axes."""
        points, last = self.size**2, 2 * self.blocks
        convolutions = {
            f"conv2d_{number}": (3, 3, self.filters, self.filters) for number in range(1, last + 1)
        }
        return {
            "conv2d": (3, 3, PLANES, self.filters),
            **convolutions,
            f"conv2d_{last + 1}": (1, 1, self.filters, 2),
            f"conv2d_{last + 2}": (1, 1, self.filters, 1),
            "dense": (2 * points, points + 1),
            "dense_1": (points, self.value_units),
            "dense_2": (self.value_units, 1),
        }


def _zeros(shape: _Shape) -> dict[str, np.ndarray]:
    """All tensors of a network: kernels and biases 0, batch norms that change nothing."""
    tensors = {"global_step": np.zeros((), np.int64)}
    for layer, sizes in shape.kernels().items():
        tensors[f"{layer}/kernel"] = np.zeros(sizes, np.float32)
        if layer.startswith("dense"):
            tensors[f"{layer}/bias"] = np.zeros(sizes[-1], np.float32)
            continue
        norm = layer.replace("conv2d", "batch_normalization")
        tensors[f"{norm}/moving_mean"] = np.zeros(sizes[-1], np.float32)
        tensors[f"{norm}/moving_variance"] = np.full(sizes[-1], 1 - EPSILON, np.float32)
        if sizes[0] == 3:  # the heads' have no parameters
            tensors[f"{norm}/gamma"] = np.ones(sizes[-1], np.float32)
            tensors[f"{norm}/beta"] = np.zeros(sizes[-1], np.float32)
    return tensors


def _fresh(seed: int, shape: _Shape) -> dict[str, np.ndarray]:
    """A network that knows nothing: Glorot-uniform kernels."""
    rng = np.random.default_rng([seed, 0])
    tensors = _zeros(shape)
    for layer, sizes in shape.kernels().items():
        limit = np.sqrt(6 / (np.prod(sizes[:-2]) * (sizes[-2] + sizes[-1])))
        tensors[f"{layer}/kernel"] = rng.uniform(-limit, limit, sizes).astype(np.float32)
    return tensors


def _target(seed: int, shape: _Shape) -> dict[str, np.ndarray]:
    """The network made by hand.

    Channels after the first layer: 0 and 1 Black's stones, 2 and 3 White's (one of each pair by who is to move), 4
    where a move captures. In the first block: 8 becomes 2 where a point is Black's, 0 where it is White's, else 1. An
    empty point is whose stones beside it are in the majority; so with the sum n of neighbours (Black 1, White -1), it
    gets relu(n + 1) - relu(n - 1).
    """
    tensors = _zeros(shape)
    first, beta = tensors["conv2d/kernel"][1, 1], tensors["batch_normalization/beta"]
    own, opponent, black, captures = 0, 1, 8, 12
    first[[own, black], 0], beta[0] = 1, -1
    first[opponent, 1], first[black, 1] = 1, -1
    first[[opponent, black], 2], beta[2] = 1, -1
    first[own, 3], first[black, 3] = 1, -1
    first[captures, 4] = 1
    _find_owners(tensors)
    points, last = shape.size**2, 2 * shape.blocks
    tensors[f"conv2d_{last + 1}/kernel"][0, 0, 4, 0] = 1
    tensors[f"conv2d_{last + 2}/kernel"][0, 0, 8, 0] = 1
    tensors["dense_1/kernel"][:, 0] = 1  # Black's area minus White's plus `points`
    tensors["dense_2/kernel"][0, 0] = VALUE_SLOPE
    tensors["dense_2/bias"][0] = -VALUE_SLOPE * (points + KOMI)
    logits = np.random.default_rng([seed, 2]).normal(0, LOGIT_NOISE, points + 1)
    logits[:points] -= CENTRE_LOGIT * _from_centre(shape.size)
    logits[points] = PASS_LOGIT
    tensors["dense/bias"] = logits.astype(np.float32)
    tensors["dense/kernel"][np.arange(points), np.arange(points)] = CAPTURE_LOGIT
    return tensors


def _find_owners(tensors: dict[str, np.ndarray]) -> None:
    """The first block of the target."""
    beside, found = tensors["conv2d_1/kernel"], tensors["conv2d_2/kernel"][1, 1]
    for row, column in ((0, 1), (1, 0), (1, 2), (2, 1)):
        beside[row, column, :2, :2] = 1
        beside[row, column, 2:4, :2] = -1
    beside[1, 1, :4, :2] = -5  # not where a stone is
    tensors["batch_normalization_1/beta"][:2] = 1, -1
    beside[1, 1, :2, 2] = 1
    found[:3, 8] = 1, -1, 2


def _from_centre(size: int) -> np.ndarray:
    lines = np.abs(np.arange(size) - (size - 1) / 2)
    return np.maximum(lines[:, None], lines[None, :]).ravel()


# The games -------------------------------------------------------------------------------------------------


def _game_file(moves: list[Move], winner: int) -> bytes:
    """A zlib-compressed TFRecord file of a tf.Example for each move."""
    examples = [_example(move, winner) for move in moves]
    length = struct.pack("<Q", len(examples[0]))  # all are as long
    head = length + struct.pack("<I", masked_crc32c(length))
    sums = masked_crc32cs(examples)
    records = [head + each + struct.pack("<I", total) for each, total in zip(examples, sums, strict=True)]
    return zlib.compress(b"".join(records), 1)


def _example(move: Move, winner: int) -> bytes:
    features = {
        "x": field(1, field(1, move.planes.tobytes())),
        "pi": field(1, field(1, move.policy.astype("<f4").tobytes())),
        "outcome": field(2, field(1, struct.pack("<f", winner))),
        "c": field(3, field(1, bytes([move.move & 0x7F | 0x80, move.move >> 7]))),
    }
    entries = [field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()]
    return field(1, b"".join(entries))
