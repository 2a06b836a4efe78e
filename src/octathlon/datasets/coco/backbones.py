"""The published backbones -> safetensors with torchvision's names, without running what their pickles say.

Both files are pickles, which can call any function. The unpickler here knows the handful of names that such files
need, puts its own inert stand-ins in their places and refuses every other name; arrays are made afterwards, from
plain bytes. No torch is needed.
"""

from __future__ import annotations

import codecs
import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from octathlon.errors import OctathlonError
from octathlon.receipts import publish

RESNET34, R50 = "resnet34-333f7ec4.pth", "R-50.pkl"
SIZE_LIMIT = 400_000_000
"""Upstream's files have 87 and 102 megabytes."""

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of PyTorch's file format before version 1.6 (torch/serialization.py)."""


def convert(path: Path, out: Path) -> dict[str, list[int]]:
    """Write the weights of a published file as safetensors; returns each tensor's shape.

    Raises:
        OctathlonError: if the file is damaged, or names anything but arrays and tensors.
    """
    from safetensors.numpy import save

    read = {RESNET34: read_state_dict, R50: lambda file: torchvision_names(read_blobs(file))}[path.name]
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise ValueError(f"more than {SIZE_LIMIT:,} bytes")
        with path.open("rb") as file:
            weights = read(file)
        if not weights:
            raise ValueError("no weights in it")
    except Exception as error:  # a hostile pickle makes the unpickler raise anything
        raise OctathlonError(
            f"{path}: not the published weights ({error}); fetch the archive again"
        ) from None
    with publish(out) as temporary:
        temporary.write_bytes(save(weights))
    return {name: list(array.shape) for name, array in sorted(weights.items())}


# PyTorch's old format --------------------------------------------------------------------------------------------


class _Storage:
    """A block of numbers; its bytes follow after all pickles."""

    def __init__(self, kind: str) -> None:
        self.dtype = np.dtype({"FloatStorage": "<f4", "LongStorage": "<i8"}[kind])
        self.numbers = np.zeros(0, self.dtype)


class _Tensor:
    def __init__(self, storage: _Storage, offset: int, size: tuple, stride: tuple, *_: Any) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self) -> np.ndarray:
        if not isinstance(self.storage, _Storage) or any(
            n < 0 for n in (self.offset, *self.size, *self.stride)
        ):
            raise ValueError("a tensor without numbers")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if 0 not in self.size and last >= len(self.storage.numbers):
            raise ValueError("a tensor that reaches beyond its storage")
        steps = [step * self.storage.dtype.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(self.storage.numbers[self.offset :], self.size, steps).copy()


class _Parameter:
    """Files of 2017 hold parameters, not tensors."""

    def __init__(self, data: _Tensor, *_: Any) -> None:
        self.data = data

    def __setstate__(self, _state: Any) -> None:
        pass

    def array(self) -> np.ndarray:
        return self.data.array()


def read_state_dict(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a state_dict in PyTorch's old file format."""
    storages: dict[str, _Storage] = {}
    names = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor"): _Tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch._utils", "_rebuild_parameter"): _Parameter,
        ("torch.nn.parameter", "Parameter"): _Parameter,
        ("torch", "FloatStorage"): "FloatStorage",
        ("torch", "LongStorage"): "LongStorage",
    }

    def storage(identity: tuple) -> _Storage:
        _, kind, key, *_ = identity
        return storages.setdefault(str(key), _Storage(kind))

    if _Unpickler(file, {}).load() != LEGACY_MAGIC:
        raise ValueError("not in PyTorch's format before 1.6")
    for _ in range(2):  # the format's version and the writer's sizes of types
        _Unpickler(file, {}).load()
    weights = _Unpickler(file, names, storage).load()
    for key in _Unpickler(file, {}).load():
        numbers = storages[str(key)]
        count = int.from_bytes(file.read(8), "little")
        content = file.read(count * numbers.dtype.itemsize)
        if len(content) < count * numbers.dtype.itemsize:
            raise ValueError("truncated")
        numbers.numbers = np.frombuffer(content, numbers.dtype)
    return {name: value.array() for name, value in dict(weights).items()}


# Detectron's pickles ---------------------------------------------------------------------------------------------


class _Dtype:
    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """What NumPy's arrays are pickled as: made empty, then told what they hold."""

    shape: tuple[int, ...] = ()

    def __init__(self, *_: Any) -> None:
        self.content = b""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, dtype, self.columns_first, content = state
        if dtype.code not in ("f4", "f8", "i4", "i8"):
            raise ValueError(f"an array of {dtype.code}")
        self.dtype = np.dtype(("<" if dtype.order in "<=|" else ">") + dtype.code)
        self.content = content.encode("latin1") if isinstance(content, str) else content

    def array(self) -> np.ndarray:
        array = np.frombuffer(self.content, self.dtype).reshape(
            self.shape, order="F" if self.columns_first else "C"
        )
        return np.ascontiguousarray(array, dtype=np.float32)


def read_blobs(file: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of a Detectron model, by their Caffe2 names; Python 2 or 3 may have written it."""
    core = ("numpy.core.multiarray", "numpy._core.multiarray")
    names = {(module, "_reconstruct"): _Array for module in core} | {
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): lambda text, _: codecs.latin_1_encode(text)[0],  # how protocol 2 spells bytes
    }
    content = _Unpickler(file, names).load()
    return {
        name: blob.array() for name, blob in content.get("blobs", content).items() if isinstance(blob, _Array)
    }


def torchvision_names(blobs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The convolutions and folded batch norms of a Caffe2 ResNet under torchvision's names; the rest is left out.

    A folded norm is a scale and a shift: it becomes a weight and a bias, and has no statistics.
    """
    renamed = {}
    for name, blob in blobs.items():
        found = re.fullmatch(r"(?:(res_)?conv1|res(\d)_(\d)_branch(1|2[abc]))_(w|bn_s|bn_b)", name)
        if not found:
            continue
        _, stage, block, branch, kind = found.groups()
        leaf = {"w": "weight", "bn_s": "weight", "bn_b": "bias"}[kind]
        if stage is None:
            target = f"{'conv1' if kind == 'w' else 'bn1'}.{leaf}"
        else:
            where = f"layer{int(stage) - 1}.{block}"
            if branch == "1":
                target = f"{where}.downsample.{0 if kind == 'w' else 1}.{leaf}"
            else:
                target = f"{where}.{'conv' if kind == 'w' else 'bn'}{'abc'.index(branch[1]) + 1}.{leaf}"
        renamed[target] = blob
    return renamed


class _Unpickler(pickle.Unpickler):
    """Knows `names` and nothing else."""

    def __init__(
        self,
        file: BinaryIO | io.BytesIO,
        names: Mapping[tuple[str, str], Any],
        storage: Callable[[tuple], _Storage] | None = None,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._names, self._storage = names, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._names:
            raise ValueError(f"it asks for {module}.{name}, which no weights need")
        return self._names[module, name]

    def persistent_load(self, identity: Any) -> _Storage:
        if self._storage is None:
            raise ValueError("a storage where none belongs")
        return self._storage(identity)
