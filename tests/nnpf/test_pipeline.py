"""Stages that run ahead: the same items, the same errors, never more than asked for, nothing left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from nnpf.pipeline import running_ahead


def test_items_come_in_order() -> None:
    with running_ahead(iter(range(100)), 3, "count") as items:
        assert list(items) == list(range(100))


def test_an_error_comes_where_the_item_would() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third")

    with running_ahead(numbers(), 5, "numbers") as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(ValueError, match="no third"):
            next(items)


def test_it_runs_ahead_and_no_further_than_its_depth() -> None:
    made = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    def made_in_time(count: int) -> int:
        deadline = time.monotonic() + 5
        while len(made) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        return len(made)

    with running_ahead(numbers(), 4, "numbers") as items:
        # Four wait, one is held by the thread that waits for room.
        assert made_in_time(5) == 5
        # It goes on when one is left, and makes several in turn.
        assert [next(items), next(items)] == [0, 1]
        assert made_in_time(5) == 5
        assert next(items) == 2
        assert made_in_time(8) == 8
        assert list(items) == list(range(3, 50))


def test_one_item_ahead_is_enough() -> None:
    with running_ahead(iter(range(20)), 1, "count") as items:
        assert list(items) == list(range(20))


def test_leaving_early_closes_the_iterator_and_ends_the_thread() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    with running_ahead(endless(), 2, "endless") as items:
        next(items)
    assert closed.is_set()
    assert threading.active_count() == before
