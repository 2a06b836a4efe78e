"""PyTorch's file format before version 1.6 (torch/serialization.py) -> arrays, without torch.

Pickles of names, shapes and strides, then the numbers of all storages as plain bytes.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from octathlon.formats.pickles import Names, StandIn, load, weights_file

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle."""
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
RANK = 32
"""Axes; NumPy has no more, convolutions have four."""


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state_dict.

    Together they have no more bytes than the file: a stride of zero, or a storage that many tensors share, would
    otherwise make gigabytes of a few bytes.

    Raises:
        FormatError: if it is no such file, damaged, or hostile.
    """
    with weights_file(path) as file:
        return _read(file)


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if load(file, {}) != MAGIC:
        raise ValueError("not in PyTorch's format before 1.6")
    for _ in range(2):  # the format's version and the writer's sizes of types
        load(file, {})
    storages: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        if type(identity) is not tuple or len(identity) > 6 or not {*map(type, identity[:3])} <= {str}:
            raise ValueError("a storage without a name")
        _, kind, key, *_ = identity
        return storages.setdefault(key, _Storage(kind))

    weights = load(file, NAMES, storage)
    for key in load(file, {}):
        storages[key].fill(file)
    tensors = {name: value.tensor() for name, value in _items(weights)}
    if sum(tensor.nbytes() for tensor in tensors.values()) > file.tell():
        raise ValueError("its tensors have more bytes than the file")
    return {name: tensor.array() for name, tensor in tensors.items()}


class _Storage:
    """A block of numbers; its bytes follow after all pickles."""

    def __init__(self, kind: str) -> None:
        self.numbers = np.zeros(0, DTYPES[kind])

    def fill(self, file: BinaryIO) -> None:
        size = int.from_bytes(file.read(8), "little") * self.numbers.itemsize
        content = file.read(size)
        if len(content) < size:
            raise ValueError("truncated")
        self.numbers = np.frombuffer(content, self.numbers.dtype)


class _Tensor(StandIn):
    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def tensor(self) -> _Tensor:
        """Itself, if it makes sense."""
        if type(self.storage) is not _Storage or {type(self.size), type(self.stride)} != {tuple}:
            raise ValueError("a tensor without numbers")
        if len(self.size) != len(self.stride) or len(self.size) > RANK:
            raise ValueError("a tensor with too many axes, or one without a stride")
        numbers = (self.offset, *self.size, *self.stride)
        if {*map(type, numbers)} != {int} or not 0 <= min(numbers) <= max(numbers) < 1 << 40:
            raise ValueError("a tensor without numbers")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if 0 not in self.size and last >= len(self.storage.numbers):
            raise ValueError("a tensor that reaches beyond its storage")
        return self

    def nbytes(self) -> int:
        return prod(self.size) * self.storage.numbers.itemsize

    def array(self) -> np.ndarray:
        steps = [step * self.storage.numbers.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(self.storage.numbers[self.offset :], self.size, steps).copy()


class _Parameter(StandIn):
    """Files of 2017 hold parameters, not tensors."""

    def __init__(self, data: _Tensor, *_: Any) -> None:
        self.data = data

    def tensor(self) -> _Tensor:
        return self.data.tensor()


class _Ordered(Names):
    """Python 2 hands an OrderedDict's items to its class; they are looked at once, at the end."""

    def __init__(self, items: Any = ()) -> None:
        super().__init__()
        self.given = items


def _items(weights: Names) -> list[tuple[str, Any]]:
    items = [*getattr(weights, "given", ()), *weights.items()]
    if not all(type(name) is str for name, _ in items):
        raise ValueError("a tensor without a name")
    return items


NAMES = {
    ("collections", "OrderedDict"): _Ordered,
    ("torch._utils", "_rebuild_tensor"): _Tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    **{("torch", kind): kind for kind in DTYPES},
}
