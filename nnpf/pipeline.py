"""One stage of a pipeline: an iterator that runs ahead in a thread of its own, a few items and no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

# How long a stage that waits goes without looking whether it is still wanted.
_PATIENCE_S = 0.1


class _End(Generic[T]):
    """Closes a queue: the error that ended the iterator, or None."""

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
    waiting: queue.Queue[T | _End[T]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | _End[T]) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=_PATIENCE_S)
            except queue.Full:
                continue
            return True
        return False

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
            item = waiting.get()
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
        stop.set()
        while True:  # make room for a stage that waits to put
            try:
                waiting.get_nowait()
            except queue.Empty:
                break
        thread.join()
