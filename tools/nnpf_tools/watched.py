"""A command works in a process of its own; the one that the user started waits, and says how it died.

What decodes and filters is machine code of others, and its input comes from strangers. A fault there ends the process:
the user is told in one line at which step, and what was not finished is removed. A step that never ends is ended.
Forked before anything is imported, the second process costs about a millisecond.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import sys
import threading
import time
from types import FrameType

from nnpf import outputs, steps
from nnpf_tools import stopping

# How often the process that works is asked whether it still gets on. That it dies is noticed at once.
_POLL_S = 0.5
_FAILED = 1


def possible() -> bool:
    """Whether this system can do it. For --debug everything stays in one process, as debuggers want it."""
    return hasattr(os, "fork") and "--debug" not in sys.argv


def divide() -> int | None:
    """None in a new process, which is to do the work; in this one its exit code, when it has ended.

    For the start of a program: no thread may run yet.
    """
    memory = steps.shared_memory()
    ended, running = os.pipe()
    orphaned, waiting = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(ended)
        os.close(waiting)
        steps.share(memory)
        threading.Thread(target=_end_with_parent, args=(orphaned,), name="nnpf parent", daemon=True).start()
        return None
    os.close(running)
    os.close(orphaned)

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, number)

    stopping.handle(forward)
    stuck = _wait(ended, memory)
    if stuck is not None:
        os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    if code >= 0:
        return code
    left = steps.read(memory)
    for path in left.files:
        outputs.remove(path)
    print(f"nnpf: {_died(-code, left, stuck)}", file=sys.stderr, flush=True)
    return 128 - code if -code in stopping.SIGNALS else _FAILED


def _end_with_parent(orphaned: int) -> None:
    """Killed, the process that the user started takes this one along."""
    os.read(orphaned, 1)
    outputs.abandon()
    os._exit(_FAILED)


def _wait(ended: int, memory: mmap.mmap) -> steps.Noted | None:
    """Until the process that works has ended, or a step of it takes too long: that step."""
    taken: dict[int, float] = {}
    before = time.monotonic()
    while not select.select([ended], [], [], _POLL_S)[0]:
        now = time.monotonic()
        passed, before = min(now - before, 2 * _POLL_S), now  # both processes may have been stopped meanwhile
        noted = [step for step in steps.read(memory).steps if step.seconds]
        taken = {step.number: taken.get(step.number, 0.0) + passed for step in noted}
        for step in noted:
            if taken[step.number] > step.seconds:
                return step
    return None


def _died(number: int, left: steps.Left, stuck: steps.Noted | None) -> str:
    """One line: what happened, and at which step."""
    subject = f"{left.subject}: " if left.subject else ""
    if stuck is not None:
        return f"{subject}{stuck.text}: not done after {stuck.seconds} seconds (--set-limit {stuck.limit}=N)"
    if number in stopping.SIGNALS:
        return "stopped"
    doing = "; meanwhile ".join(dict.fromkeys(step.text for step in left.steps)) or "between two steps"
    if number == signal.SIGKILL:
        return f"{subject}killed (SIGKILL), as it happens where memory runs out, at: {doing}"
    return f"{subject}a library failed and ended the process ({signal.Signals(number).name}), at: {doing}"
