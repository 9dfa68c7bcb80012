"""Runs of filters that are under way in threads, and the pictures that they will give."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from nnpf.errors import NnpfError
from nnpf.filters import Applied
from nnpf.frames import Format, Frame

Result = tuple[list[Frame], Applied]


class Inference:
    """One run of a filter, under way. `label` says of what, `where` at which picture."""

    def __init__(self, label: str, where: str, future: Future[Result]) -> None:
        self.label, self._where = label, where
        self._future = future

    def problem(self) -> NnpfError | None:
        """Why it failed; waits until that is known."""
        error = self._future.exception()
        if error is None or isinstance(error, NnpfError):
            return error
        raise error

    def result(self) -> Result:
        """Waits for it. NnpfError when it failed, with label and place in front."""
        try:
            return self._future.result()
        except NnpfError as error:
            raise NnpfError(f"{self.label} {self._where}: {error}") from None


class Inferences:
    """Starts runs of filters, some at a time. They begin in the order in which they are started, so that one may wait
    for the pictures of those before it."""

    def __init__(self, at_a_time: int) -> None:
        self._threads = ThreadPoolExecutor(at_a_time, "nnpf filter")

    def start(self, label: str, where: str, work: Callable[[], Result]) -> Inference:
        return Inference(label, where, self._threads.submit(work))

    def close(self) -> None:
        """What runs is waited for, what waits is dropped."""
        self._threads.shutdown(cancel_futures=True)


class Picture(Protocol):
    """A picture that is there, or will be."""

    @property
    def format(self) -> Format: ...

    def frame(self) -> Frame:
        """Its samples; waits for them. NnpfError when they cannot be had."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A picture that is there."""

    samples: Frame

    @property
    def format(self) -> Format:
        return self.samples.format

    def frame(self) -> Frame:
        return self.samples


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """Picture `index` of an inference. `instead`: what stands for it when that fails, if it may fail."""

    format: Format
    inference: Inference
    index: int
    instead: Picture | None

    def frame(self) -> Frame:
        if self.instead is not None and self.inference.problem() is not None:
            return self.instead.frame()
        return self.inference.result()[0][self.index]
