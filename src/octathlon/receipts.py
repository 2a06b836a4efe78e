"""Small JSON files between the stages, and outputs that appear whole or not at all.

A receipt says what a stage left behind: files with sizes and digests, counts, statistics. It holds no times
and no paths outside its own folder, so equal results give equal bytes and the workflow's content comparison
stops there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from octathlon.errors import OctathlonError, unreadable, unwritable

CLOCK_ERROR_S = 2.0
"""Processes' times of birth count from the boot, whose time is known to a second."""


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's content, read in a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """A file as receipts list it: its bytes and its sha256."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, it becomes `path` in one step.

    An exception (a full disk, an interrupt) removes the temporary file and leaves an earlier `path` as it
    was. What a killed process left there, the next writer of `path` on the same host removes.

    Raises:
        OctathlonError: if it can't be written. The block's faults with other files stay what they are.
    """
    temporary = temporary_beside(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in leftovers(path, "tmp"):
            leftover.unlink(missing_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:  # libraries have types of their own for a full disk
        if sentence := unwritable(path, error, temporary):
            raise sentence from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path, ending: str) -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f"{_temporary_prefix(path)}{os.getpid()}.{ending}")


def leftovers(path: Path, endings: str) -> Iterator[Path]:
    """What stands in temporary places of `path` and had a writer, on this host, that is dead.

    Args:
        endings: a pattern of those that `temporary_beside` was asked for.
    """
    pattern = re.compile(re.escape(_temporary_prefix(path)) + rf"([1-9]\d{{0,8}})\.(?:{endings})")
    for beside in path.parent.iterdir() if path.parent.is_dir() else ():
        if found := pattern.fullmatch(beside.name):
            with suppress(FileNotFoundError):  # its writer was faster
                if not _is_at_work(int(found[1]), beside.stat().st_mtime):
                    yield beside


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}.{platform.node()}."


def _is_at_work(pid: int, written: float) -> bool:
    """Whether what wrote a file at that time is alive under `pid`: not this process, a later namesake or a zombie."""
    import psutil  # takes time to load and is seldom needed

    try:
        process = psutil.Process(pid)
        began, state = process.create_time(), process.status()
    except psutil.NoSuchProcess:
        return False
    return pid != os.getpid() and state != psutil.STATUS_ZOMBIE and began < written + CLOCK_ERROR_S


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write sorted, indented JSON atomically: the same value always gives the same bytes."""
    with publish(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a receipt or manifest.

    Raises:
        OctathlonError: if it is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise OctathlonError(f"{path}: not there; run the stage that writes it first") from None
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise OctathlonError(f"{path}: not valid JSON ({error}); delete it and rerun") from None
    if not isinstance(value, dict):
        raise OctathlonError(f"{path}: not a JSON object; delete it and rerun")
    return value
