"""Items that a thread takes before they are asked for: for work that leaves Python to others while it lasts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], most: int, begin: Callable[[], None] | None = None) -> Iterator[Item]:
    """The same items in their order; a thread takes them, until the iterator ends or is closed.

    What taking an item raises is raised where that item would come.

    Args:
        most: how many are there, or being made, before they are asked for.
        begin: what the thread does first.
    """
    source = iter(items)
    thread = ThreadPoolExecutor(1, initializer=begin)
    try:
        waiting = deque(thread.submit(next, source, _END) for _ in range(most))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, source, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
