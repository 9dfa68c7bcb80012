"""Every command that writes a file, as a user would call it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples"
STREAM = SAMPLES / "bbb_q37.266"


@dataclass(frozen=True)
class Writing:
    """A command. IN and OUT among its arguments stand for the file that it reads and the one that it writes."""

    arguments: tuple[str, ...]
    source: Path
    out: str

    def filled(self, source: Path | str, out: Path | str) -> list[str]:
        return [{"IN": str(source), "OUT": str(out)}.get(word, word) for word in self.arguments]


ORIGINAL = str(SAMPLES / "bbb.mkv")
WRITING = {
    "inject": Writing(("inject", "IN", "--base", str(SAMPLES / "filters/tiny.onnx"), "-o", "OUT"), STREAM, "o.266"),
    "strip": Writing(("strip", "IN", "--type", "all", "-o", "OUT"), STREAM, "o.266"),
    "apply": Writing(("apply", "IN", "-o", "OUT", "--threads", "1"), STREAM, "o.yuv"),
    "apply_report": Writing(("apply", "IN", "--report", "OUT", "--threads", "1"), STREAM, "o.json"),
    "nnc_encode": Writing(("nnc", "encode", "IN", "-o", "OUT"), SAMPLES / "filters/tint_red.onnx", "o.nnc"),
    "nnc_decode": Writing(("nnc", "decode", "IN", "-o", "OUT"), ROOT / "tests/nnc/vectors/default.nnc", "o.npz"),
    "prepare": Writing(("prepare", "IN", "-o", "OUT"), SAMPLES / "filters/tint_red.onnx", "o.onnx"),
    "eval": Writing(("eval", "IN", "--original", ORIGINAL, "--no-ssim", "--csv", "OUT"), STREAM, "o.csv"),
    "adapt_report": Writing(
        ("adapt", "IN", "--original", ORIGINAL, "--base", str(SAMPLES / "filters/tiny.onnx"), "--steps", "1",
         "--params", "last", "-o", "u.nnc", "--report", "OUT", "--device", "cpu"), STREAM, "o.json",
    ),
    "report": Writing(("report", "IN", "-o", "OUT", "--no-ssim"), STREAM, "o.html"),
}  # fmt: skip
# One that edits and one that makes; the others are run by `make test-slow`.
QUICK = frozenset({"inject", "nnc_encode"})
# What takes seconds.
HEAVY = frozenset({"eval", "adapt_report", "report"})


# Shells start what runs in the background with SIGINT ignored; a command in the foreground has it.
SIGNALLED = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}


def command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "nnpf_tools.main", *arguments]


def start(arguments: Sequence[str], folder: Path, **more: object) -> subprocess.Popen[bytes]:
    options: dict[str, object] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **SIGNALLED, **more}
    return subprocess.Popen(command(arguments), cwd=folder, **options)  # type: ignore[call-overload,no-any-return]


def run(arguments: Sequence[str], folder: Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command(arguments), cwd=folder, capture_output="stdout" not in more, text=True, check=False, timeout=300, **more
    )


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def wait_for_unfinished(folder: Path, process: subprocess.Popen[bytes], seconds: float = 300) -> bool:
    """Until the command has begun to write. False when it ended before that was seen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if unfinished(folder):
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    raise AssertionError("nothing was written")


def stop(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        os.kill(process.pid, number)


SIGNALS = (signal.SIGINT, signal.SIGTERM)
