"""Whole batches through PyTorch's worker processes: each item of the data set is a batch, nothing is collated."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from types import TracebackType
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from octathlon.errors import OctathlonError
from octathlon.nn import shared_memory
from octathlon.nn.processes import Signs, heeding_parents, kill_children, silence_of

Key = TypeVar("Key")
Batch = TypeVar("Batch")

TIMEOUT_S = 45
"""Without a batch for so long the workers count as silent: hung, stopped, or waiting for a file system that is."""
IN_FLIGHT = 2
"""Batches that a worker number may have made and not yet handed on: one of training, one of evaluation, or two of
training where evaluation needs no workers."""
DIED = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (\d+).*?\) (is killed by signal: \w[\w ]*|exited unexpectedly)"
)
"""What PyTorch says of a dead worker."""


def load(
    batches: Dataset[Batch], keys: Iterable[Key], *, workers: int, pin_memory: bool, prefetch: int = 1
) -> DataLoader[Batch]:
    """`batches[key]` in the order of `keys`, made by `workers` processes, or here if there are none.

    Args:
        keys: may be an iterator without end; a collection makes a loader that can be iterated again.
        prefetch: batches that each worker makes in advance; one is enough where they are large.
    """
    if not workers:
        return DataLoader(batches, batch_size=None, sampler=keys, pin_memory=pin_memory)
    # no longer the default from Python 3.14 on; other ways import PyTorch anew in each worker
    fork = get_context("fork")
    return _Loader(
        Signs(workers, fork),
        _Shared(batches),
        batch_size=None,
        multiprocessing_context=fork,
        sampler=keys,
        num_workers=workers,
        persistent_workers=True,
        prefetch_factor=prefetch,
        pin_memory=pin_memory,
        timeout=TIMEOUT_S,
    )


def check_room(batch: Any, workers: int, ranks: int) -> None:
    """See that what `ranks` processes on this machine have under way, each from `workers`, fits into shared memory.

    Args:
        batch: one of the largest.

    Raises:
        OctathlonError: saying what to set.
    """
    size = shared_memory.tensor_bytes(batch)
    purpose = f"batches of up to {-(-size >> 20)} MiB, by {workers} loader_workers for each of {ranks} ranks,"
    shared_memory.require(size * (IN_FLIGHT * workers + 1) * ranks, purpose)


@contextmanager
def worker_failures() -> Iterator[None]:
    """Dead or silent workers end the block with a sentence, and whatever ends it by an error ends them.

    PyTorch raises a RuntimeError wherever the program is at the moment, so this has to be around all of a run.
    """
    try:
        yield
    except BaseException as error:
        kill_children()
        if isinstance(error, RuntimeError) and (message := _failure(str(error))):
            raise OctathlonError(message) from None
        raise


def _failure(text: str) -> str | None:
    if text.startswith("DataLoader timed out"):
        return (
            f"the loader's workers have sent no batch for {TIMEOUT_S} s: see whether the data's file system hangs, "
            f"{shared_memory.FOLDER} is full or a worker was stopped, then rerun"
        )
    if found := DIED.search(text):
        cause = silence_of(int(found[1])) or found[2].replace("is killed", "was killed")
        return f"the loader's worker process {found[1]} {cause}: see whether memory ran out or who ended it, then rerun"
    return None


def _begin_worker(signs: Signs, _number: int) -> None:
    signs.begin()
    sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A worker's uncaught error, but for what its thread that hands batches over meets when the run ends meanwhile."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


class _Shared(Dataset[Batch]):
    """Batches on their way into shared memory. Where that is full, PyTorch would lose one, and then wait for it."""

    def __init__(self, batches: Dataset[Batch]) -> None:
        self._batches = batches

    def __getitem__(self, key: Key) -> Batch:
        batch = self._batches[key]
        shared_memory.require(shared_memory.tensor_bytes(batch), "the loader's batches")
        return batch


class _Loader(DataLoader[Batch]):
    """Reports a worker's error as the sentence that it is: PyTorch puts it into a text with the traceback."""

    def __init__(self, signs: Signs, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, worker_init_fn=partial(_begin_worker, signs), **options)
        self._signs = signs

    def __iter__(self) -> Iterator[Batch]:
        """Opened at once, and not with the first batch: DataLoader draws a random number for it, of which a resumed run
        must know when."""
        self._signs.watch()
        with heeding_parents():
            return self._told(super().__iter__())

    def _told(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        try:
            yield from batches
        except OctathlonError as error:
            raise OctathlonError(str(error).rpartition(f"{OctathlonError.__name__}: ")[2].strip()) from None
