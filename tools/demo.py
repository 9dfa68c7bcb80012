"""The main job on the sample stream: put a filter in, look at it, apply it, see what it does.

    python tools/demo.py [--tint red|green|blue] [--out FOLDER]

Every step is a command that is shown as a user would type it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from nnpf import show
from nnpf.decoding import decode_file
from nnpf.frames import Frame
from nnpf.video import read_video
from nnpf_tools.main import main as nnpf

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = Path("samples")
DETAIL, ZOOM = (104, 60), 4


def command(*words: str | Path) -> None:
    """Show a command, then run it."""
    arguments = [str(word) for word in words]
    print(f"\n$ nnpf {shlex.join(arguments)}", flush=True)
    code = nnpf(arguments)
    if code:
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tint", choices=("red", "green", "blue"), help="a filter of one layer that tints the picture")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the results")
    args = parser.parse_args()
    if Path.cwd() != ROOT:
        parser.error(f"run it in {ROOT}")
    name = f"tint_{args.tint}" if args.tint else "first"
    base = SAMPLES / "filters" / f"{name}.onnx"
    out: Path = args.out
    out.mkdir(exist_ok=True)
    stream, filtered, report = out / f"{name}.266", out / f"{name}.y4m", out / f"{name}.json"
    original = SAMPLES / "bbb.mkv"

    command("inject", SAMPLES / "bbb_q37.266", "--base", base, "-o", stream, "--force", "--verbose")
    command("dump", stream, "--limit", "2")
    command(
        "apply",
        stream,
        "--model-root",
        base.parent,
        "--original",
        original,
        "-o",
        filtered,
        "--report",
        report,
        "--force",
    )

    picture = out / f"{name}.png"
    amplified = 1 if args.tint else 8
    index = draw(picture, filtered, original, report, amplified)
    print(f"\nwrote {picture}: picture {index} decoded, filtered and original, and the difference x{amplified}")
    print(
        f"""
What you may want to type next (`. .venv/bin/activate` once, or .venv/bin/nnpf):

  nnpf dump {stream} --summary               one screen on the whole stream
  nnpf dump {stream} --trace --type nnpfc    every element with its bit position
  nnpf dump {stream} --json                  the same for programs
  nnpf inject YOURS.266 --base YOURS.onnx -o OUT.266   your stream, your filter
  nnpf apply OUT.266 -o OUT.y4m              what a receiver shows
  make demo DEMO="--tint red"                a filter that nobody can miss"""
    )


def draw(target: Path, filtered: Path, original: Path, report: Path, amplified: int) -> int:
    """Draw the picture that gains most; returns its index in output order."""
    pictures = json.loads(report.read_text())["pictures"]
    index = max(range(len(pictures)), key=lambda i: pictures[i]["psnr_filtered"][0] - pictures[i]["psnr_decoded"][0])
    decoded = _picture((d.frame for d in decode_file(SAMPLES / "bbb_q37.266")), index)
    after = _picture(read_video(filtered, decoded.format), index)
    before_coding = _picture(read_video(original, decoded.format), index)
    gain = [b - a for a, b in zip(pictures[index]["psnr_decoded"], pictures[index]["psnr_filtered"], strict=True)]
    left, top = show.busiest(decoded, after, *DETAIL)
    panels = [
        show.Panel(f"decoded, luma {pictures[index]['psnr_decoded'][0]:.2f} dB", show.to_rgb(decoded)),
        show.Panel(f"filtered, luma {gain[0]:+.2f} dB", show.to_rgb(after)),
        show.Panel("original", show.to_rgb(before_coding)),
        show.Panel(f"filtered - decoded, x{amplified}", show.difference(after, decoded, amplified)),
    ]
    show.montage(panels, (left, top, *DETAIL), ZOOM).save(target)
    return index


def _picture(frames: Iterator[Frame], index: int) -> Frame:
    return next(itertools.islice(frames, index, None))


if __name__ == "__main__":
    main()
