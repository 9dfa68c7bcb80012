"""Scanning and copying a large stream: `nnpf inject` at random access points against `cp` and `mmap.find`.

    python bench/scan.py [STREAM] [--bytes N] [--folder DIR]

A stream of N bytes (default 1 GB) is made by repeating a real one: a clip with slices of some kilobytes where the
reference material is at hand, else the sample, in which start codes are ten times as dense as in video of today's
sizes. What reads all headers gets a tenth of the bytes. The limits: injecting reaches at least 60 % of the speed of
`mmap.find` over the same file, where the disk allows (see cp), in at most 150 MB of memory. Whole processes are timed,
start-up included; the best of some runs counts, since machines have other things to do.
"""

from __future__ import annotations

import argparse
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT.parent / "shared" / "clips" / "partyscene_q22.266"
SAMPLE = ROOT / "samples" / "bbb_q37.266"
RUNS = 3
FILTER = ROOT / "samples" / "filters" / "tint_red.onnx"
SPEED_LIMIT = 0.6
MEMORY_LIMIT = 150e6


def find_all(path: Path) -> tuple[int, float]:
    """Start codes of a file with mmap.find: their number, and seconds."""
    started = time.perf_counter()
    count, at = 0, -1
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(b"\0\0\1", at + 1)) >= 0:
            count += 1
    return count, time.perf_counter() - started


# Runs a command and prints its seconds and peak kilobytes. A process of its own, and a small one: on Linux the peak of
# a child is never less than what its parent had when it started it.
_MEASURE = """
import os, sys, time
started = time.perf_counter()
quiet = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, quiet, 1)])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - started, usage.ru_maxrss)
sys.exit(status != 0)
"""


def run(command: list[str]) -> tuple[float, int]:
    """Seconds, and peak memory in bytes, of a process."""
    result = subprocess.run([sys.executable, "-c", _MEASURE, *command], stdout=subprocess.PIPE, text=True, check=True)
    took, peak = result.stdout.split()
    return float(took), int(peak) * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", nargs="?", type=Path, default=CLIP if CLIP.exists() else SAMPLE)
    parser.add_argument("--bytes", type=float, default=1e9)
    parser.add_argument("--folder", type=Path, help="where the files go (default: the folder for temporary files)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        source, part, target = folder / "in.266", folder / "part.266", folder / "out.266"
        repeat(args.stream, source, args.bytes)
        repeat(args.stream, part, args.bytes / 10)
        size = source.stat().st_size
        found = [find_all(source) for _ in range(RUNS)]
        count, find = found[0][0], min(seconds for _, seconds in found)
        copied = min(copy(source, target) for _ in range(RUNS))
        print(f"{args.stream.name} repeated: {size / 1e6:.0f} MB, {count} start codes, {size / count:.0f} bytes apart")
        print(f"{'cp':<44} {size / copied / 1e6:7.0f} MB/s")
        print(f"{'mmap.find, each start code':<44} {size / find / 1e6:7.0f} MB/s")
        nnpf = [sys.executable, "-m", "nnpf_tools.main"]
        options = ["--base", str(FILTER), "-q", "--force"]
        at_random_access = [*options, "--activate-at", "random_access", "-o"]
        for label, command, limited in (
            ("nnpf inject at random access points", ["inject", source, *at_random_access, target], True),
            ("the same, output to /dev/null", ["inject", source, *at_random_access, "/dev/null"], True),
            ("nnpf inject, activation for every picture", ["inject", part, *options, "-o", target], False),
            ("nnpf strip", ["strip", target, "-q", "-o", "/dev/null"], False),
            ("nnpf dump --summary", ["dump", "--summary", part], False),
        ):
            done = (source if limited else part).stat().st_size
            results = []
            for _ in range(RUNS if limited else 1):
                if label != "nnpf strip":
                    target.unlink(missing_ok=True)  # freeing the pages of a file that is replaced is not what is timed
                os.sync()  # nor is writing out what was made before
                results.append(run([*nnpf, *map(str, command)]))
            took, memory = min(results)[0], max(peak for _, peak in results)
            speed = (done / took) / (size / find)
            verdict = f"  limit {SPEED_LIMIT}: {'kept' if speed >= SPEED_LIMIT else 'MISSED'}" if limited else ""
            note = "" if memory <= MEMORY_LIMIT else "  more than 150 MB"
            rate = f"{done / took / 1e6:7.0f} MB/s  {speed:5.2f} x mmap.find"
            print(f"{label:<44} {rate}{verdict}; {memory / 1e6:.0f} MB{note}")


def copy(source: Path, target: Path) -> float:
    """Seconds"""
    target.unlink(missing_ok=True)
    os.sync()
    started = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    return time.perf_counter() - started


def repeat(stream: Path, target: Path, size: float) -> None:
    """A file of at least `size` bytes, of copies of a stream."""
    data = stream.read_bytes()
    block = data * max(1, (1 << 20) // len(data))
    with target.open("wb") as file:
        while file.tell() < size:
            file.write(block)


if __name__ == "__main__":
    main()
