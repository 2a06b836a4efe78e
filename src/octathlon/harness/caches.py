"""Clear the caches that would make a timed run faster than the first one: the rules ask for it before each run.

What the operating system keeps in memory of the data set's files is given up with posix_fadvise, which needs no
privilege and leaves other programs' files alone. The kernel may decline (another run reads the same file), so what is
still there is counted afterwards, and the log says it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

WINDOW = 1 << 30
"""Bytes that are looked at together."""


def clear_caches(folder: Path) -> int:
    """Drop the cached pages of all files in `folder`; return how many bytes are cached nonetheless."""
    return sum(_clear(path) for path in sorted(folder.rglob("*")) if path.is_file())


def _clear(path: Path) -> int:
    with path.open("rb") as file:
        os.fsync(file.fileno())  # a page that is not written yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(file.fileno()).st_size
        return sum(
            _cached(file.fileno(), offset, min(WINDOW, size - offset)) for offset in range(0, size, WINDOW)
        )


def _cached(descriptor: int, offset: int, size: int) -> int:
    """Bytes of a part of a file that are in memory (mincore(2)); mapping it reads nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    pages = -(-size // mmap.PAGESIZE)
    residency = (ctypes.c_ubyte * pages)()
    with mmap.mmap(
        descriptor, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset
    ) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), residency)
        del start
    if failed:
        return size  # not known: say the worst
    return sum(page & 1 for page in bytes(residency)) * mmap.PAGESIZE
