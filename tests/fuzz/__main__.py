"""Fuzz, guided by coverage (atheris): all targets one after the other, or those that are named.

    python -m tests.fuzz --minutes 10
    python -m tests.fuzz --minutes 1 message apply
    python -m tests.fuzz --replay FILE...          what was found, once more and without counting branches

Minutes are of the CPU, for each target. What was found lies in the work folder, and so does the corpus; the next run
goes on from there and adds to the totals. The exit code is 1 when something was found.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import mmap
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnpf import steps
from tests.fuzz.packages import PACKAGES

# What libFuzzer ends with when somebody else ends it.
INTERRUPTED = 72
# One arena of glibc's malloc: those of threads that are gone hold memory that no input has need for.
_CALM = {**os.environ, "MALLOC_ARENA_MAX": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(PACKAGES))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the CPU, for each target")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "nnpf-fuzz")
    parser.add_argument(
        "--replay", nargs="+", type=Path, metavar="FILE", help="named TARGET-..., as the work folder has"
    )
    args = parser.parse_args()
    if args.replay:
        return _replay(args.replay)
    if unknown := set(args.targets) - set(PACKAGES):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    args.work.mkdir(parents=True, exist_ok=True)
    totals = [_campaign(name, 60 * args.minutes, args.work) for name in args.targets or PACKAGES]
    return int(any(total.found for total in totals))


@dataclass(slots=True)
class Total:
    """What was done with a target in this work folder, over all runs."""

    target: str
    runs: int = 0
    seconds: float = 0.0  # of the CPU
    slowest: float = 0.0
    peak_mib: int = 0
    corpus: int = 0
    found: dict[str, str] = field(default_factory=dict)

    def add(self, part: dict[str, Any]) -> None:
        self.runs += part["runs"]
        self.seconds += part["seconds"]
        self.slowest = max(self.slowest, part["slowest"])
        self.peak_mib = max(self.peak_mib, part["peak_mib"])
        self.corpus = part["corpus"]
        self.found |= part["found"]

    def __str__(self) -> str:
        return (
            f"{self.target:<20} {self.seconds:>7.1f} s of the CPU {self.runs:>9} inputs, corpus {self.corpus:>5}, "
            f"slowest {self.slowest:>6.3f} s, peak {self.peak_mib:>4} MiB, found: {', '.join(self.found) or 'nothing'}"
        )


def _campaign(name: str, seconds: float, work: Path) -> Total:
    """One target, for so many seconds of the CPU more. A process that dies is a finding, and the next one goes on."""
    kept, result = work / f"{name}.json", work / f"{name}.part.json"
    total = Total(**json.loads(kept.read_text())) if kept.exists() else Total(name)
    end = total.seconds + seconds
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.campaign", name, str(work / f"corpus-{name}")]
    while (left := end - total.seconds) > 0.5:
        result.unlink(missing_ok=True)
        with (work / f"{name}.log").open("wb") as log:
            ran = subprocess.run([*command, str(left), str(result)], stdout=log, stderr=log, env=_CALM, check=False)
            code = ran.returncode
        if result.exists():
            total.add(json.loads(result.read_text()))
        if code == INTERRUPTED:
            kept.write_text(json.dumps(asdict(total)))
            sys.exit(f"{total}; stopped")
        if code != 0:
            total.seconds += 1.0  # so that this ends
            if not _was_only_slow(name, work):
                _keep_input(name, result)
                lines = (work / f"{name}.log").read_text(errors="replace").strip().splitlines()
                total.found[f"the process died ({code}){_died_at(result)}"] = "\n".join(lines[-30:])
        kept.write_text(json.dumps(asdict(total)))
        print(total, flush=True)
    return total


def _died_at(result: Path) -> str:
    """The step in machine code of others, if it died at one: `, at: the container reader (FFmpeg)`."""
    with result.with_suffix(".steps").open("r+b") as file:
        left = steps.read(mmap.mmap(file.fileno(), steps.MEMORY_BYTES))
    return "".join(f", at: {step.text}" for step in left.steps)


def _keep_input(name: str, result: Path) -> None:
    """The input that ran when the process died, as `NAME-died-...`: libFuzzer does not write every one."""
    held = result.with_suffix(".input").read_bytes()
    data = held[4 : 4 + int.from_bytes(held[:4], "big")]
    (result.parent / f"{name}-died-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)


def _was_only_slow(name: str, work: Path) -> bool:
    """Whether all that a process died of is an input that took long by the clock, and takes none of the CPU.

    libFuzzer looks at the clock, and a process that is stopped, or gets no share of a busy machine, does not see it.
    """
    left = [path for path in work.glob(f"{name}-*-*") if path.suffix != ".txt" and "-died-" not in path.name]
    slow = [path for path in left if path.name.startswith((f"{name}-timeout-", f"{name}-slow-unit-"))]
    if not slow or len(slow) < len(left):
        return False
    command = [sys.executable, "-m", "tests.fuzz", "--replay", *map(str, slow)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        return False
    for path in slow:
        path.unlink()
    return True


def _replay(files: list[Path]) -> int:
    from tests.fuzz.budget import attempt
    from tests.fuzz.targets import TARGETS

    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    code = 0
    for file in files:
        target = TARGETS[file.name.partition("-")[0]]
        target.prepare()
        finding, seconds = attempt(target, file.read_bytes())
        code |= finding is not None
        print(f"{file.name}: {seconds:.3f} s of the CPU: {finding.where if finding else 'nothing'}")
        if finding:
            print("    " + finding.detail.replace("\n", "\n    "))
    return code


if __name__ == "__main__":
    sys.exit(main())
