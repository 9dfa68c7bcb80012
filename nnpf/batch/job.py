"""One command of a batch: run in a folder of its own, which gets its name when all is well."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

# Stands for the job's folder in its command: its name is known when it runs.
OWN_FOLDER = "{folder}"
RECORD = "job.json"
STDOUT, STDERR = "stdout.txt", "stderr.txt"
# Of what a failed command said, so much is shown.
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Job:
    """A command with everything that it depends on.

    Attributes:
        key: SHA-256 (hex) of the command, the contents of the files that it reads, and the programs.
        output: the file that it must write. What it prints is taken where it writes none.
        needs: keys of the jobs whose results it reads.
    """

    key: str
    step: str
    argv: tuple[str, ...]
    output: str
    needs: tuple[str, ...]

    def folder(self, root: Path) -> Path:
        """Where its results are kept."""
        return root / "steps" / self.key


class State(StrEnum):
    DONE = "done"
    KEPT = "kept"  # from an earlier run
    FAILED = "failed"
    SKIPPED = "skipped"  # what it needs has failed


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job.

    Attributes:
        reason: one line, where it failed or was skipped.
        seconds: of the command.
    """

    key: str
    step: str
    state: State
    reason: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.state in (State.DONE, State.KEPT)


def kept(job: Job, root: Path) -> Outcome | None:
    """The outcome of an earlier run, if that went well."""
    folder = job.folder(root)
    return Outcome(job.key, job.step, State.KEPT) if (folder / RECORD).is_file() else None


def run_job(job: Job, root: str, timeout: float | None, *needed: Outcome) -> Outcome:
    """Run a job where it has not been done yet. What goes wrong with it is an outcome, no exception.

    Args:
        root: the folder of the batch, which every worker must see at the same place.
        needed: outcomes of the jobs that it needs.
    """
    for outcome in needed:
        if not outcome.good:
            return Outcome(job.key, job.step, State.SKIPPED, f"{outcome.step}: {outcome.reason}")
    top = Path(root)
    found = kept(job, top)
    if found is not None:
        return found
    if not (top / "steps").is_dir():
        return Outcome(job.key, job.step, State.FAILED, f"{root}: not seen by the worker on {socket.gethostname()}")
    folder = Path(tempfile.mkdtemp(prefix=f".{job.key[:16]}.", dir=top / "steps"))
    try:
        started = time.monotonic()
        problem = _run(job, folder, timeout)
        seconds = time.monotonic() - started
        if problem is not None:
            log = top / "failed" / job.key
            shutil.rmtree(log, ignore_errors=True)
            folder.rename(log)
            return Outcome(job.key, job.step, State.FAILED, problem, seconds)
        record = asdict(job) | {"seconds": round(seconds, 3), "host": socket.gethostname()}
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        try:
            folder.rename(job.folder(top))
        except OSError:
            if kept(job, top) is None:  # else another worker was as fast
                raise
    except OSError as error:
        return Outcome(job.key, job.step, State.FAILED, f"{error.filename}: {error.strerror}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(job.key, job.step, State.DONE, seconds=seconds)


def _run(job: Job, folder: Path, timeout: float | None) -> str | None:
    """What went wrong, if anything."""
    argv = [word.replace(OWN_FOLDER, str(folder)) for word in job.argv]
    with (folder / STDOUT).open("wb") as out, (folder / STDERR).open("wb") as errors:
        try:
            done = subprocess.run(
                [*_dying_with_us(), *argv],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {timeout:g} s"
    if done.returncode:
        return _reason(folder / STDERR, done.returncode)
    output = folder / job.output
    if not output.exists() and (folder / STDOUT).stat().st_size:
        (folder / STDOUT).rename(output)
    return None if output.exists() else f"has not written {job.output}"


def _dying_with_us() -> Sequence[str]:
    """A worker that is killed should not leave its command at work for nobody (Linux; elsewhere it ends by itself)."""
    program = shutil.which("setpriv")
    return (program, "--pdeathsig", "KILL", "--") if program else ()


def _reason(errors: Path, code: int) -> str:
    with errors.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    if code < 0:
        return (
            f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"killed by signal {-code}"
        )
    # A few lines are the message; of many, the last says what stopped it.
    said = "; ".join(lines if len(lines) < 4 else lines[-1:])
    return said[:MAX_REASON] or f"exit code {code}, and not a word"
