"""A thread that takes items before they are asked for: order, bounds, errors, and its end."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from octathlon.datasets.ahead import ahead


def test_items_come_in_their_order_from_another_thread() -> None:
    """None and other false items are items, too."""
    items = ((item, threading.get_ident()) for item in [3, None, 0, 1])
    taken, threads = zip(*ahead(items, 2), strict=True)
    assert taken == (3, None, 0, 1)
    assert len(set(threads)) == 1 and threading.get_ident() not in threads
    assert list(ahead([], 2)) == []


def test_items_are_taken_before_they_are_asked_for_but_no_more_than_that() -> None:
    taken = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            if item == 2:
                third.set()
            yield item

    iterator = ahead(items(), 2)
    assert next(iterator) == 0
    assert third.wait(60)  # the first is handed over, two are ahead of it
    iterator.close()
    assert taken == [0, 1, 2]


def test_an_error_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third is broken")

    iterator = ahead(items(), 5)
    assert (next(iterator), next(iterator)) == (1, 2)
    with pytest.raises(ValueError, match="the third is broken"):
        next(iterator)


@pytest.mark.parametrize("most", [1, 4])
def test_a_consumer_that_fails_leaves_no_thread(most: int) -> None:
    """Though items almost without end are ahead of it."""
    before = threading.active_count()

    def consume(items: Iterator[int]) -> None:
        for item in items:
            if item == 3:
                raise KeyError(item)

    with pytest.raises(KeyError):
        consume(ahead(range(10**9), most))
    gc.collect()  # the traceback, which holds the iterator
    assert threading.active_count() == before


def test_one_ahead_of_another() -> None:
    """As click logs are unpacked and parsed; the inner thread ends with the outer iterator."""
    before = threading.active_count()
    iterator = ahead((item + 1 for item in ahead(range(10**9), 2)), 2)
    assert [next(iterator) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert threading.active_count() == before + 2
    iterator.close()
    assert threading.active_count() == before
