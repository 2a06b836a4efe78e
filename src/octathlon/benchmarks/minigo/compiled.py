"""How this benchmark's kernels are compiled, and where the machine code is kept for the next process.

numba keeps a function's code by the time stamp of its own file, so it would miss an edit of another file whose
functions it has inlined. Here the cache has a folder for each state of all files that hold kernels.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numba

KERNELS = ("rules.py", "area.py", "features.py", "tree.py", "puct.py", "turns.py")


def _cache_folder() -> Path:
    """Beside the code where that can be written, else in the user's own cache (it holds code: nobody else's)."""
    digest = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in KERNELS))
    beside = Path(__file__).with_name("__pycache__")
    base = beside if os.access(beside if beside.exists() else beside.parent, os.W_OK) else None
    base = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else base
    return (base or Path.home() / ".cache" / "octathlon") / f"minigo-{digest.hexdigest()[:16]}"


CACHE = _cache_folder()
numba.config.CACHE_DIR = str(CACHE)
kernel = numba.njit(cache=True, no_cfunc_wrapper=True)


@contextmanager
def compiling() -> Iterator[None]:
    """A block in which kernels may be compiled: one process at a time, so that the others find them in the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
