"""How long a user waits for the command itself: whole processes, against Python doing nothing.

    python bench/startup.py [--runs N]

The limit: `nnpf dump` of a stream of 100 kB in 0.4 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "bbb_q37.266"
DUMP_LIMIT_S = 0.4
STREAM_BYTES = 100_000


def seconds(command: list[str], runs: int) -> float:
    """Median of the wall time of a process."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])  # the first run fills the disk cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "in.266"
        data = SAMPLE.read_bytes()
        stream.write_bytes(data * -(-STREAM_BYTES // len(data)))
        nnpf = [sys.executable, "-m", "nnpf_tools.main"]
        base = seconds([sys.executable, "-c", "pass"], args.runs)
        print(f"{'python -c pass':<44} {base:6.3f} s")
        dumps = f"{stream.stat().st_size // 1000} kB"
        for name, command, limit in (
            ("nnpf --help", [*nnpf, "--help"], None),
            (f"nnpf dump, {dumps}", [*nnpf, "dump", str(stream)], DUMP_LIMIT_S),
            (f"nnpf dump --all, {dumps}", [*nnpf, "dump", "--all", str(stream)], None),
            (f"nnpf validate, {dumps}", [*nnpf, "validate", str(stream)], None),
        ):
            took = seconds(command, args.runs)
            verdict = "" if limit is None else f"  limit {limit} s: {'kept' if took <= limit else 'MISSED'}"
            print(f"{name:<44} {took:6.3f} s  {took / base:5.1f} x python{verdict}")


if __name__ == "__main__":
    main()
