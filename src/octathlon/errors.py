"""The one exception that a user is meant to read, and the one place where the machine's own become it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path


class OctathlonError(Exception):
    """A mistake outside this code: bad input, a missing file, a full disk.

    The message is one sentence that says what is wrong, which file or key, and what to do. The command line
    prints it without a traceback and exits with 1; anything else that is raised is a defect of ours and keeps
    its traceback.
    """


OUT_OF_MEMORY = re.compile(
    r"[Cc](annot|an't) allocate|[Uu]nable to allocate|out of memory|bad_alloc|failed to map segment"
    r"|can't start new thread|[Pp]thread_create failed"
)
"""How PyTorch, NumPy, the loader of shared objects and C++ say so in exceptions of other types."""
CODE = re.compile(r"(?:errno = |os error |\[Errno )(\d{1,3})\b")
"""How HDF5, libraries in Rust, and exceptions that quote one say which error of the system it was."""

HALF_A_LIBRARY = re.compile(r"(/[^:\n]+\.so): (?:invalid ELF header|file too short)")
"""How the loader of shared objects says so: PyTorch's compiler writes them in place, so that a job that is killed
meanwhile leaves one in the cache."""

REMEDIES = {
    "make room or fix the folder": (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    "change its permissions or choose another place": (errno.EACCES, errno.EPERM, errno.EROFS),
    "move away what is there or choose another path": (
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
        *(errno.ELOOP, errno.ENAMETOOLONG),
    ),
    "allow more open files (ulimit -n)": (errno.EMFILE, errno.ENFILE),
}


def told(fault: BaseException, work: object) -> OctathlonError | None:
    """A fault of the machine as a sentence; None for what is none: a defect of ours, or a sentence already.

    A reader of our output that had enough (`| head`) is no fault either.

    Args:
        work: the file that was written or read, or the command: named where the fault itself names no file.
    """
    if any(map(_is_of_memory, _causes(fault))):
        return OctathlonError(f"{work}: not enough memory; give it more or end other programs, then rerun")
    if isinstance(fault, OctathlonError | BrokenPipeError):
        return None
    for each in _causes(fault):
        if found := HALF_A_LIBRARY.search(str(each)):
            return OctathlonError(f"{found[1]}: cut short when it was compiled; delete it, then rerun")
    if (code := _code(fault)) is None:
        return None
    place = getattr(fault, "filename", None) or work
    place = os.fsdecode(place) if isinstance(place, bytes) else place
    if code == errno.ENOENT:
        return OctathlonError(
            f"{place}: not there; correct the path, or run the step that makes it first, then rerun"
        )
    remedy = next((words for words, codes in REMEDIES.items() if code in codes), "mend that")
    return OctathlonError(f"{place}: cannot use it ({reason(fault)}); {remedy}, then rerun")


def unwritable(path: Path, fault: Exception, *ours: Path) -> OctathlonError | None:
    """A fault in writing `path` as a sentence; None if it is none of the system, or is one of another file.

    Args:
        ours: the files, or folders of files, that stand for `path` while it is written.
    """
    if isinstance(fault, OctathlonError) or _code(fault) is None or _is_of_memory(fault):
        return None
    if (named := getattr(fault, "filename", None)) is not None:
        place = Path(os.fsdecode(named))
        if place not in (path, *path.parents) and not any(place.is_relative_to(each) for each in ours):
            return None
    return OctathlonError(
        f"{path}: cannot write it ({reason(fault)}); make room or fix the folder, then rerun"
    )


def unreadable(path: Path, fault: OSError) -> OctathlonError:
    """A fault in reading `path`, which is there or should be, as a sentence."""
    return OctathlonError(f"{path}: cannot read it ({reason(fault)}); fix the file, then rerun")


def reason(fault: BaseException) -> str:
    """The system's own words for a fault, without the places that libraries add."""
    code = _code(fault)
    return os.strerror(code) if code else str(fault)


def _code(fault: BaseException) -> int | None:
    """The system's number for a fault, 0 if it has none; None if it is no fault of the system."""
    if isinstance(fault, OSError) and fault.errno:
        return fault.errno
    found = CODE.search(str(fault))
    return int(found[1]) if found else 0 if isinstance(fault, OSError) else None


def _is_of_memory(fault: BaseException) -> bool:
    if isinstance(fault, OctathlonError):
        return False
    lacking = isinstance(fault, OSError) and fault.errno == errno.ENOMEM
    return lacking or isinstance(fault, MemoryError) or bool(OUT_OF_MEMORY.search(str(fault)))


def _causes(fault: BaseException | None) -> Iterator[BaseException]:
    """A fault and what it came from: what looks like damage to a reader may be a lack of memory."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
