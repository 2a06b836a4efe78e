"""Where the program waits for the device: each such place keeps a GPU idle until its next kernel is launched.

On a GPU torch itself reports most of them. Without one, the operations that would make a program wait are counted as
they go through torch: values read back (`item`, `tolist`, `numpy`, `bool`), and shapes that depend on values.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
SIZED_BY_VALUES = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.repeat_interleave.Tensor,
    aten.bincount.default,
}
READ_BACK = {
    Tensor.tolist,
    Tensor.numpy,
    Tensor.cpu,
    Tensor.item,
    Tensor.__bool__,
    Tensor.__int__,
    Tensor.__float__,
}
READ_BACK |= {Tensor.__index__, Tensor.__array__}


def count_synchronisations(device: torch.device, work: Callable[[], None]) -> Counter[str]:
    """How often `work` would wait for the device, by operation; on a GPU by the place in the program."""
    return _reported(work) if device.type == "cuda" else _seen(work)


def _reported(work: Callable[[], None]) -> Counter[str]:
    """What torch's own check says; it knows of no waiting in NCCL or in other libraries."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return Counter(
        f"{each.filename.rpartition('/')[2]}:{each.lineno}"
        for each in caught
        if "called a synchronizing" in str(each.message)  # and not that the check itself is a prototype
    )


def _seen(work: Callable[[], None]) -> Counter[str]:
    found: Counter[str] = Counter()
    with _Calls(found), _Operations(found):
        work()
    return found


class _Operations(TorchDispatchMode):
    """Sees what reaches the dispatcher, backward passes included."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SIZED_BY_VALUES and "output_size" not in (kwargs or {}):
            self._found[str(func)] += 1
        if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            self._found[f"{func} by a mask"] += any(
                each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1]
            )
            self._found += Counter()  # without what was not found
        return func(*args, **(kwargs or {}))


class _Calls(TorchFunctionMode):
    """Sees what Python asks tensors for."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READ_BACK:
            self._found[func.__name__] += 1
        return func(*args, **(kwargs or {}))
