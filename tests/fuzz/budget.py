"""What one input may take, and what may come out of it."""

from __future__ import annotations

import resource
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import EXPECTED, Target

# Of the CPU, for one input. An input has at most 64 kB (MAX_INPUT_BYTES).
MAX_SECONDS = 2.0
# Of the whole process, Python and its libraries included.
MAX_BYTES = 512 << 20
MAX_INPUT_BYTES = 64 << 10
# A process that has run thousands of inputs holds more than one has need for (an arena of malloc for each thread that
# ever was): from here on a new one is started, and what takes the rest at once is a finding.
FULL_BYTES = 400 << 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What must not happen. `where` tells findings apart: exception and line, "slow", "large"."""

    where: str
    detail: str


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attempt(target: Target, data: bytes, slowdown: float = 1.0) -> tuple[Finding | None, float]:
    """Run a target on one input. Returns what is wrong, if something is, and the seconds of the CPU that it took.

    `slowdown`: how much slower than usual the code runs, because branches are counted.
    """
    finding = None
    before = peak_bytes()
    start = time.process_time()
    try:
        target.run(data)
    except EXPECTED as error:
        if not str(error).strip():
            finding = Finding(f"{type(error).__name__} without words", repr(error))
    except OSError as error:
        # Of files that commands are told to write or read; what the system says is for the user.
        if error.filename is None and error.strerror is None:
            finding = _unexpected(error)
    except Exception as error:
        finding = _unexpected(error)
    seconds = time.process_time() - start
    if finding is None and seconds > MAX_SECONDS * slowdown:
        finding = Finding("slow", f"{seconds:.1f} s of the CPU")
    after = peak_bytes()
    if finding is None and after > MAX_BYTES and after - before > MAX_BYTES - FULL_BYTES:
        finding = Finding("large", f"{after >> 20} MiB")
    return finding, seconds


def _unexpected(error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and Path(f.filename).parent.name != "fuzz"] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "nowhere"
    return Finding(f"{type(error).__name__} {place}", "".join(traceback.format_exception(error)))
