"""A command works in a process of its own; the one that the user started waits, and says how it died.

What decodes and filters is machine code of others, and its input comes from strangers. A fault there ends the process:
the user is told in one line at which step, and what was not finished is removed. A step that never ends is ended.
Forked before anything is imported, the second process costs about a millisecond.
"""

from __future__ import annotations

import atexit
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
from nnpf.errors import printable
from nnpf_tools import stopping

# How often the process that works is asked whether it still gets on. That it dies is noticed at once.
_POLL_S = 0.5
# How long it may take to stop when asked to; it ends itself sooner, unless machine code keeps Python from running.
_GRACE_S = 2 * stopping.GRACE_S
_FAILED = 1
# Plus its number: the exit code of what a signal ended.
_BY_SIGNAL = 128


def possible() -> bool:
    """Whether this system can do it. For --debug everything stays in one process, as debuggers want it."""
    return hasattr(os, "fork") and "--debug" not in sys.argv


def bound_memory() -> None:
    """What is too much for this process is refused by the system, so that none has to be chosen and killed for it."""
    try:
        import resource
    except ImportError:  # no such thing on Windows
        return
    from nnpf import limits

    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = [limits.current().process_bytes, *(value for value in (before, most) if value != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(wanted), most))


def divide() -> int | None:
    """None in a new process, which is to do the work; in this one its exit code, when it has ended.

    For the start of a program: no thread may run yet. Where there can be no new process, None in this one.
    """
    memory = steps.shared_memory()
    ended, running = os.pipe()
    orphaned, waiting = os.pipe()
    try:
        pid = os.fork()
    except OSError:  # no more processes for this user: one must do
        return None
    if pid == 0:
        os.close(ended)
        os.close(waiting)
        steps.share(memory)
        atexit.register(steps.ended)  # is not called where a library ends the process
        threading.Thread(target=_end_with_parent, args=(orphaned,), name="nnpf parent", daemon=True).start()
        return None
    os.close(running)
    os.close(orphaned)
    worker = _Worker(pid, ended, memory)
    stopping.handle(worker.stop)
    return worker.exit_code()


def _end_with_parent(orphaned: int) -> None:
    """Killed, the process that the user started takes this one along."""
    os.read(orphaned, 1)
    outputs.abandon()
    os._exit(_FAILED)


class _Worker:
    """The process that does the work, seen from the one that waits for it.

    Args:
        ended: reads to its end when the process ends.
        memory: in which it notes its steps.
    """

    def __init__(self, pid: int, ended: int, memory: mmap.mmap) -> None:
        self._pid, self._ended, self._memory = pid, ended, memory
        self._asked: tuple[int, float] | None = None  # which signal asked for its end, and when

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Hand a signal on."""
        self._asked = self._asked or (number, time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def exit_code(self) -> int:
        """Wait for it, and say what killed it, if something did."""
        stuck = self._stuck_at()
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        left = steps.read(self._memory)
        if left.ended or code >= _BY_SIGNAL:
            return code
        for path in left.files:
            outputs.remove(path)
        if self._asked is not None:
            _tell("nnpf: stopped")
            return _BY_SIGNAL + self._asked[0]
        _tell(f"nnpf: {_died(code, left, stuck)}")
        return _FAILED

    def _stuck_at(self) -> steps.Noted | None:
        """Waits until it has ended, or has to be ended: because of the step that is returned, or of a signal."""
        taken: dict[int, float] = {}
        before = time.monotonic()
        while not select.select([self._ended], [], [], _POLL_S)[0]:
            now = time.monotonic()
            if self._asked is not None and now - self._asked[1] > _GRACE_S:
                os.kill(self._pid, signal.SIGKILL)
                return None
            passed, before = min(now - before, 2 * _POLL_S), now  # both processes may have been stopped meanwhile
            noted = [step for step in steps.read(self._memory).steps if step.seconds]
            taken = {step.number: taken.get(step.number, 0.0) + passed for step in noted}
            for step in noted:
                if taken[step.number] > step.seconds:
                    os.kill(self._pid, signal.SIGKILL)
                    return step
        return None


# From its start, a line of a terminal is erased.
_ERASE = "\r\x1b[K"


def _tell(text: str) -> None:
    """A line on standard error, in place of the progress bar that the other process may have left there."""
    print((_ERASE if sys.stderr.isatty() else "") + printable(text), file=sys.stderr, flush=True)


def _died(code: int, left: steps.Left, stuck: steps.Noted | None) -> str:
    """One line: what happened, and at which step. `code`: below 0, the number of a signal."""
    subject = f"{left.subject}: " if left.subject else ""
    if stuck is not None:
        return f"{subject}{stuck.text}: not done after {stuck.seconds} seconds (--set-limit {stuck.limit}=N)"
    doing = "; meanwhile ".join(dict.fromkeys(step.text for step in left.steps)) or "between two steps"
    if -code == signal.SIGKILL:
        return f"{subject}killed (SIGKILL), as it happens where memory runs out, at: {doing}"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"{subject}a library failed and ended the process ({how}), at: {doing}"
