"""A miniature of what minigo starts from, in the reference's formats: a checkpoint with its games, and a target model.

The checkpoint has the weights of a fresh network; its games are played by two players who draw their moves, the more
readily the more a move captures, and never fill an eye of their own. The target model is made by hand, not trained: its
convolutions find whose each point is, its value is how far Black's area exceeds White's and komi, and its policy likes
captures and the centre. So it plays sensibly as far as its search sees, and its strength is known by construction.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

CHECKPOINT, INDEX, DATA = "checkpoint.tar.gz", "target.index", "target.data-00000-of-00001"
PLANES, KOMI = 13, 7.5
EPSILON = 1e-5
"""Of the batch norms: a variance of 1 - EPSILON makes one the identity."""
GREED = 0.7
"""How much more readily a drawn move captures a stone."""
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
    if archive == CHECKPOINT:
        content = _checkpoint(seed, shape, generations, games, max_moves)
    else:
        content = _bundle(_target(seed, shape))[archive != INDEX]
    temporary = folder / f".{archive}.{os.getpid()}.tmp"
    try:
        temporary.write_bytes(content)
        temporary.replace(folder / archive)
    finally:
        temporary.unlink(missing_ok=True)


def _checkpoint(seed: int, shape: _Shape, generations: int, games: int, max_moves: int) -> bytes:
    index, data = _bundle(_fresh(seed, shape))
    members = {"work_dir/model.ckpt-0.index": index, "work_dir/model.ckpt-0.data-00000-of-00001": data}
    for generation in range(generations):
        for number in range(games):
            rng = np.random.default_rng([seed, 1, generation, number])
            name = f"data/selfplay/{generation:06d}/0/{number:06d}.tfrecord.zz"
            members[name] = _game_file(_play(rng, shape.size, max_moves))
    return _targz({f"checkpoints/mlperf07/{name}": content for name, content in members.items()})


def _targz(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
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


@dataclass(frozen=True)
class _Move:
    """A position and what was done in it."""

    planes: np.ndarray
    policy: np.ndarray
    move: int


@cache
def _neighbours(size: int) -> list[list[int]]:
    def at(row: int, column: int) -> Iterator[int]:
        if 0 <= row < size and 0 <= column < size:
            yield row * size + column

    return [
        [near for step in ((-1, 0), (0, -1), (0, 1), (1, 0)) for near in at(row + step[0], column + step[1])]
        for row in range(size)
        for column in range(size)
    ]


def _play(rng: np.random.Generator, size: int, max_moves: int) -> tuple[list[_Move], int]:
    """A game of two players who draw their moves; returns it and 1 if Black won, -1 if White did."""
    points = size * size
    board, colour = (0,) * points, 1
    past, seen = [board], {board}
    moves, passes = [], 0
    while passes < 2 and len(moves) < max_moves:
        chains = _chains(board, size)
        after = {
            point: played for point in range(points) if (played := _put(board, chains, point, colour, size))
        }
        after = {point: played for point, played in after.items() if played not in seen}
        wanted = [point for point in after if any(board[near] != colour for near in _neighbours(size)[point])]
        policy = np.zeros(points + 1)
        policy[wanted or [points]] = _preferences([after[point] for point in wanted], colour, size)
        move = int(rng.choice(points + 1, p=policy))
        capturing = [point for point, played in after.items() if played.count(-colour) < board.count(-colour)]
        moves.append(_Move(_planes(past, chains, colour, capturing), policy.astype(np.float32), move))
        board = after.get(move, board)
        seen.add(board)
        past.append(board)
        passes = passes + 1 if move == points else 0
        colour = -colour
    return moves, 1 if _areas([board], size)[0] > KOMI else -1


def _preferences(boards: list[tuple[int, ...]], colour: int, size: int) -> np.ndarray | float:
    """Probabilities of moves by the boards that they lead to; 1 where there is none but the pass."""
    if not boards:
        return 1.0
    areas = colour * _areas(boards, size)
    weights = np.exp(GREED * (areas - areas.max()))
    return weights / weights.sum()


def _chains(board: tuple[int, ...], size: int) -> dict[int, tuple[set[int], set[int]]]:
    """Each stone's chain: its stones and its liberties."""
    chains: dict[int, tuple[set[int], set[int]]] = {}
    for start, colour in enumerate(board):
        if colour and start not in chains:
            stones, liberties, waiting = {start}, set(), [start]
            while waiting:
                for near in _neighbours(size)[waiting.pop()]:
                    if not board[near]:
                        liberties.add(near)
                    elif board[near] == colour and near not in stones:
                        stones.add(near)
                        waiting.append(near)
            chains |= dict.fromkeys(stones, (stones, liberties))
    return chains


def _put(
    board: tuple[int, ...], chains: dict[int, tuple[set[int], set[int]]], point: int, colour: int, size: int
) -> tuple[int, ...] | None:
    """The board after a stone; None where there is one already, or it would be a suicide."""
    if board[point]:
        return None
    near = _neighbours(size)[point]
    taken = {
        stone
        for other in near
        if board[other] == -colour and len(chains[other][1]) == 1
        for stone in chains[other][0]
    }
    lives = any(not board[other] or (board[other] == colour and len(chains[other][1]) > 1) for other in near)
    if not (taken or lives):
        return None
    after = list(board)
    after[point] = colour
    for stone in taken:
        after[stone] = 0
    return tuple(after)


def _planes(
    past: list[tuple[int, ...]],
    chains: dict[int, tuple[set[int], set[int]]],
    colour: int,
    capturing: list[int],
) -> np.ndarray:
    """Stones of both now and three times before, who moves, liberties, captures: uint8 of shape (13, points)."""
    planes = np.zeros((PLANES, len(past[0])), np.uint8)
    for back, board in enumerate(reversed(past[-4:])):
        stones = np.array(board)
        planes[2 * back], planes[2 * back + 1] = stones == colour, stones == -colour
    planes[8] = colour == 1
    for point, (_, liberties) in chains.items():
        planes[8 + min(len(liberties), 3), point] = 1
    planes[12, capturing] = 1
    return planes


def _areas(boards: list[tuple[int, ...]], size: int) -> np.ndarray:
    """Black's area minus White's on each board; an empty point is whose stones alone it touches."""
    stones = np.array([(*board, 0) for board in boards], np.int8)
    near = stones[:, _near_table(size)]
    touched = (near > 0).any(axis=2).astype(int) - (near < 0).any(axis=2)
    return np.where(stones[:, :-1], stones[:, :-1], touched).sum(axis=1)


@cache
def _near_table(size: int) -> np.ndarray:
    """The points' neighbours, four each; `size * size` where there are fewer."""
    outside = size * size
    return np.array([near + [outside] * (4 - len(near)) for near in _neighbours(size)])


# The formats -----------------------------------------------------------------------------------------------


def _game_file(game: tuple[list[_Move], int]) -> bytes:
    """A zlib-compressed TFRecord file of a tf.Example for each move."""
    moves, winner = game
    examples = []
    for move in moves:
        features = {
            "x": _field(1, _field(1, move.planes.tobytes())),
            "pi": _field(1, _field(1, move.policy.astype("<f4").tobytes())),
            "outcome": _field(2, _field(1, struct.pack("<f", winner))),
            "c": _field(3, _field(1, bytes([move.move & 0x7F | 0x80, move.move >> 7]))),
        }
        entries = [_field(1, _field(1, name.encode()) + _field(2, value)) for name, value in features.items()]
        examples.append(_field(1, b"".join(entries)))
    length = struct.pack("<Q", len(examples[0]))  # all are as long
    head = length + struct.pack("<I", _checksums([length])[0])
    sums = _checksums(examples)
    records = [head + each + struct.pack("<I", total) for each, total in zip(examples, sums, strict=True)]
    return zlib.compress(b"".join(records), 1)


def _bundle(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """A TensorFlow checkpoint: the index, a table of LevelDB's format, and the data."""
    data = b""
    entries = {"": _varint_field(1, 1) + _field(3, _varint_field(1, 1))}  # one shard; version
    for name in sorted(tensors):
        content = tensors[name].tobytes()
        sizes = b"".join(_field(2, _varint_field(1, size)) for size in tensors[name].shape)
        entries[name] = (
            _varint_field(1, 9 if tensors[name].dtype == np.int64 else 1)
            + _field(2, sizes)
            + _varint_field(4, len(data))
            + _varint_field(5, len(content))
            + b"\x35"
            + struct.pack("<I", _checksums([content])[0])
        )
        data += content
    table = _table_block(entries)
    statistics, middle = len(table), _table_block({})
    handle = _varint(0) + _varint(len(table) - 5)
    index = _table_block({max(entries): handle})
    footer = _varint(statistics) + _varint(len(middle) - 5)
    footer += _varint(statistics + len(middle)) + _varint(len(index) - 5)
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return table + middle + index + footer, data


def _table_block(entries: dict[str, bytes]) -> bytes:
    """A block of a table: sorted keys, each without what it shares with the one before, but for every 16th."""
    block, restarts, before = b"", [], b""
    for number, (name, value) in enumerate(entries.items()):
        key = name.encode()
        if number % 16 == 0:
            restarts.append(len(block))
            before = b""
        shared = len(os.path.commonprefix([before, key]))
        block += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        before = key
    restarts = restarts or [0]
    block += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + b"\0"  # not compressed
    return block + struct.pack("<I", _checksums([block])[0])


def _varint(number: int) -> bytes:
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


@cache
def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


def _checksums(contents: list[bytes]) -> list[int]:
    """The masked CRC-32C of byte strings of equal length, all of them together."""
    table, crc = _crc_table(), np.full(len(contents), 0xFFFFFFFF, np.uint32)
    for column in np.stack([np.frombuffer(content, np.uint8) for content in contents], axis=1):
        crc = table[(crc ^ column) & 0xFF] ^ (crc >> 8)
    crc = (~crc).astype(np.uint64)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).tolist()
