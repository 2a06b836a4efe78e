"""Imports of PyTorch and torchvision in less time: each run has its own, before its clock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"


@contextmanager
def swift_imports() -> Iterator[None]:
    """A block of imports without garbage collection: all that PyTorch is made of stays, and looking through it again
    and again takes time. Nor is its compiler imported for torchvision's sake."""
    gc.disable()
    sys.modules.setdefault(COMPILER, _LaterCompiler(COMPILER))
    try:
        yield
    finally:
        _forget_stand_in()
        gc.enable()


class _LaterCompiler(ModuleType):
    """Stands for a module of PyTorch's compiler, which takes a second and a half to import. torchvision wants one
    function of it, for GPUs that must be deterministic: the true one is called when that is. Whoever wants more gets
    the true module."""

    @staticmethod
    def is_compile_supported(device: Any) -> bool:
        """As in the true module."""
        return import_module(COMPILER).is_compile_supported(device)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # which importing asks for
            raise AttributeError(name)
        _forget_stand_in()
        return getattr(import_module(COMPILER), name)


def _forget_stand_in() -> None:
    if isinstance(sys.modules.get(COMPILER), _LaterCompiler):
        del sys.modules[COMPILER]
