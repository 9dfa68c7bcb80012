"""Long runs: does memory stay flat, are files and threads given back?

    python bench/long_runs.py [--pictures 100000] [--bytes 10e9] [apply] [inject]

`apply` filters so many tiny pictures (H.264, 32x32, coded once and repeated) with a trivial filter; `inject` puts a
filter into a stream of so many bytes (a real one, repeated). Both read a pipe, so that nothing lies on the disk. While
they run, memory, open files and threads of the process are looked at each second; a line is printed now and then. The
run fails when memory at the end is more than 10 % and 20 MB above that after the first tenth, or when files or threads
have become more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT.parent / "shared" / "clips" / "partyscene_q22.266"
SAMPLE = ROOT / "samples" / "bbb_q37.266"
FILTER = ROOT / "samples" / "filters" / "tint_red.onnx"
SIDE = 32
PICTURES_OF_A_CLIP = 250
PRINTED = 10  # lines of a run


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment. `done`: bytes that it has read."""

    done: int
    rss: int
    files: int
    threads: int


def sample(pid: int, done: int) -> Sample | None:
    """Of the process that does the work, which the one that was started waits for."""
    try:
        worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        process = Path("/proc") / (worker[0] if worker else str(pid))
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return Sample(
            done,
            int(status["VmRSS"].split()[0]) * 1024,
            sum(1 for _ in (process / "fd").iterdir()),
            int(status["Threads"]),
        )
    except (OSError, KeyError):
        return None  # at its end


class Feed:
    """Writes a piece into a pipe again and again, up to so many bytes."""

    def __init__(self, pipe: IO[bytes], piece: bytes, total: int) -> None:
        self.done = 0
        self._pipe, self._piece, self._total = pipe, piece, total
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            while self.done < self._total:
                self._pipe.write(self._piece)
                self.done += len(self._piece)
            self._pipe.close()
        except BrokenPipeError:
            return  # the command has ended; its exit code tells


def watched(label: str, arguments: list[str], piece: bytes, total: int) -> bool:
    """Run a command on repeated pieces; whether it was flat."""
    command = [sys.executable, "-m", "nnpf_tools.main", *arguments]
    print(f"{label}: {' '.join(arguments)}", flush=True)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    feed = Feed(process.stdin, piece, total)
    samples: list[Sample] = []
    shown = 0
    while process.poll() is None:
        time.sleep(1)
        found = sample(process.pid, feed.done)
        if found is None:
            continue
        samples.append(found)
        if found.done * PRINTED >= shown * total:
            shown = found.done * PRINTED // total + 1
            print(
                f"  {found.done / total:6.1%} {time.perf_counter() - started:8.1f} s  {found.rss / 1e6:7.1f} MB  "
                f"{found.files} files  {found.threads} threads",
                flush=True,
            )
    seconds = time.perf_counter() - started
    if process.returncode != 0 or not samples:
        print(f"{label}: failed with {process.returncode}")
        return False
    early = next((s for s in samples if s.done * 10 >= total), samples[-1])
    late = samples[-1]
    peak = max(s.rss for s in samples)
    flat = late.rss <= max(1.1 * early.rss, early.rss + 20e6)
    given_back = late.files <= early.files and late.threads <= early.threads
    print(
        f"{label}: {seconds:.0f} s; memory {early.rss / 1e6:.1f} MB after a tenth, {late.rss / 1e6:.1f} MB at the end, "
        f"{peak / 1e6:.1f} MB at most: {'flat' if flat else 'GROWS'}; files {early.files} and {late.files}, threads "
        f"{early.threads} and {late.threads}: {'none lost' if given_back else 'LOST'}",
        flush=True,
    )
    return flat and given_back


def tiny_clip(folder: Path) -> bytes:
    """Tiny pictures with a filter that is active on all of them."""
    import av
    import numpy as np

    codec = av.codec.CodecContext.create("libx264", "w")
    codec.width = codec.height = SIDE
    codec.pix_fmt, codec.framerate, codec.time_base = "yuv420p", Fraction(25), Fraction(1, 25)
    codec.options = {"x264-params": "log=-1:keyint=250:bframes=2", "preset": "ultrafast"}
    rng = np.random.default_rng(1)
    packets = []
    for number in range(PICTURES_OF_A_CLIP):
        picture = av.VideoFrame.from_ndarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), format="rgb24")
        picture = picture.reformat(format="yuv420p")
        picture.pts = number
        packets += codec.encode(picture)
    packets += codec.encode(None)
    plain, filtered = folder / "plain.264", folder / "filtered.264"
    plain.write_bytes(b"".join(bytes(packet) for packet in packets))
    inject = ["inject", str(plain), "--base", str(FILTER), "-o", str(filtered), "-q"]
    subprocess.run([sys.executable, "-m", "nnpf_tools.main", *inject], check=True)
    return filtered.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="apply, inject (default: both)")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--bytes", type=float, default=10e9)
    args = parser.parse_args()
    runs = args.runs or ["apply", "inject"]
    good = True
    if "apply" in runs:
        with tempfile.TemporaryDirectory() as name:
            clip = tiny_clip(Path(name))
            total = len(clip) * -(-args.pictures // PICTURES_OF_A_CLIP)
            arguments = ["apply", "-", "--codec", "avc", "-o", "/dev/null", "--threads", "1"]
            arguments += ["--model-root", str(FILTER.parent)]
            good &= watched(f"apply, {args.pictures} pictures of {SIDE}x{SIDE}", arguments, clip, total)
    if "inject" in runs:
        stream = (CLIP if CLIP.exists() else SAMPLE).read_bytes()
        arguments = ["inject", "-", "--codec", "vvc", "--base", str(FILTER), "--activate-at", "random_access"]
        label = f"inject, {args.bytes / 1e9:g} GB"
        good &= watched(label, [*arguments, "-o", "/dev/null", "-q"], stream, int(args.bytes))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
