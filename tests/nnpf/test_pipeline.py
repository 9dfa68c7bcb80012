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

    with running_ahead(numbers(), 4, "numbers") as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(made) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One is in use, four wait, one is held by the thread that waits for room.
        assert made == list(range(6))
        assert list(items) == list(range(1, 50))


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
