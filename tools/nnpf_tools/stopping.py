"""Ctrl-C and termination: an orderly end, and within a second an end in any case."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

# How long an orderly end may take: a step inside a network, a coder or a decoder cannot be interrupted.
GRACE_S = 0.7
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """Somebody wants this process to end. `signal`: its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


_received: list[int] = []


def received() -> Stopped | None:
    """What was raised, if it was: a library may have made another error of it."""
    return Stopped(_received[0]) if _received else None


def exit_code(error: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells have it."""
    return 128 + (error.signal if isinstance(error, Stopped) else signal.SIGINT)


def watch() -> None:
    """From now on signals raise Stopped, and end the process when that leads to nothing. For the main thread only."""
    # The interpreter runs handlers between two steps of Python; this pipe is written to at once.
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    handle(_raise)
    sys.unraisablehook = _unraisable
    # The thread keeps both ends.
    threading.Thread(target=_wait, args=(reading, writing), name="nnpf signals", daemon=True).start()


def handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """What to do when somebody wants this process to end."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    # Once: a terminal tells every process, and the one that waits for this one says it again.
    handle(lambda number, frame: None)
    _received.append(number)
    raise Stopped(number)


def _unraisable(error: sys.UnraisableHookArgs) -> None:
    """It came where nothing can be raised, as in a callback of an import: `_wait` ends the process then."""
    if not isinstance(error.exc_value, Stopped):
        sys.__unraisablehook__(error)


def _wait(reading: socket.socket, writing: socket.socket) -> None:
    number = 0
    while number not in SIGNALS:
        received = reading.recv(1)
        if not received:
            return
        number = received[0]
    time.sleep(GRACE_S)
    from nnpf import outputs

    outputs.abandon()
    print("nnpf: stopped", file=sys.stderr, flush=True)
    os._exit(128 + number)
