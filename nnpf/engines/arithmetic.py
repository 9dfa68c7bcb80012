"""How torch computes: settings of the whole process, held while any thread needs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch


class Held:
    """Settings that are changed while any thread is inside: the first one changes them, the last one puts them back.

    Args:
        change: makes the change; what undoes it goes onto the stack.
    """

    def __init__(self, change: Callable[[ExitStack], None]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._before = ExitStack()

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._change(self._before)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._before.close()


def _in_float32(before: ExitStack) -> None:
    matmul = torch.backends.cuda.matmul
    before.callback(setattr, matmul, "allow_tf32", matmul.allow_tf32)
    matmul.allow_tf32 = False
    before.enter_context(
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    )


def _in_one_order(before: ExitStack) -> None:
    before.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
    torch.use_deterministic_algorithms(True)


def _without_transforms(before: ExitStack) -> None:
    # Of cuDNN's flags only this one: `float32` has the others.
    before.callback(setattr, torch.backends.cudnn, "enabled", torch.backends.cudnn.enabled)
    torch.backends.cudnn.enabled = False


# No TF32 (10-bit mantissa), and no choice of algorithms by timing.
float32 = Held(_in_float32)
# The same bits in every run.
deterministic = Held(_in_one_order)
# No kernels that transform their input (FFT, Winograd): partial sums there are no integers. Float networks that run
# meanwhile in other threads get along without cuDNN. Only inside `float32`, or the two put back each other's changes.
exact_kernels = Held(_without_transforms)
