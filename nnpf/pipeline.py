"""One stage of a pipeline: an iterator that runs ahead in a thread of its own, a few items and no more."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

# What has stopped because enough items wait goes on when so many are left: a decoder that is called for several
# pictures in turn finds its caches in order for all but the first.
_LOW = 1


class _End(Generic[T]):
    """Comes after the last item: the error that ended the iterator, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextmanager
def running_ahead(items: Iterator[T], depth: int, name: str) -> Iterator[Iterator[T]]:
    """The same items, made in a thread while the ones before are in use. Errors surface where the item would.

    Leaving the context stops the thread and closes the iterator, whether or not it was at its end.

    Args:
        items: a generator; it is run and closed in the thread.
        depth: how many items wait at most.
    """
    waiting: deque[T | _End[T]] = deque()
    changed = threading.Condition()
    wanted = True

    def put(item: T | _End[T]) -> bool:
        with changed:
            if len(waiting) >= depth:
                changed.wait_for(lambda: len(waiting) <= min(_LOW, depth - 1) or not wanted)
            if wanted:
                waiting.append(item)
                changed.notify()
            return wanted

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
                del item  # not to be kept alive until the next one is there
        except BaseException as caught:  # handed on, whatever it is
            error = caught
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        put(_End(error))

    def results() -> Iterator[T]:
        while True:
            with changed:
                while not waiting:
                    changed.wait()
                item = waiting.popleft()
                if len(waiting) <= _LOW:
                    changed.notify()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            del item

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield results()
    finally:
        with changed:
            wanted = False
            waiting.clear()
            changed.notify()
        thread.join()
