"""The whole loop on the sample stream: put a base filter and an update in, look at them, apply them, see the gain.

    python tools/demo.py [--adapt | --tint red|green|blue] [--out FOLDER]

Every step is a command that is shown as a user would type it. The update lies in samples/updates, fitted to this very
clip; --adapt fits it anew, which needs torch and takes minutes.
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
STREAM, ORIGINAL = SAMPLES / "bbb_q37.266", SAMPLES / "bbb.mkv"
BASE = SAMPLES / "filters" / "small.onnx"
UPDATE = SAMPLES / "updates" / "small_bbb_q37.yaml"
# Bytes of ten seconds of video like this: 18652 bytes are 65 pictures at 25 per second.
SERVES = "71738"
NEXT = """  nnpf dump {stream} --trace --type nnpfc    every element with its bit position
  nnpf dump {stream} --json                  the same for programs
  nnpf inject YOURS.266 --base YOURS.onnx -o OUT.266   your stream, your filter
  nnpf apply OUT.266 -o OUT.y4m              what a receiver shows
  make demo DEMO="--adapt"                   fit the update yourself (needs torch)
  make demo DEMO="--tint red"                a filter that nobody can miss"""
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
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--adapt", action="store_true", help="fit the update here (needs torch)")
    which.add_argument("--tint", choices=("red", "green", "blue"), help="a filter of one layer that tints the picture")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder for the results")
    args = parser.parse_args()
    if Path.cwd() != ROOT:
        parser.error(f"run it in {ROOT}")
    args.out.mkdir(exist_ok=True)
    if args.tint:
        tint(args.out, args.tint)
    else:
        loop(args.out, UPDATE if not args.adapt else adapt(args.out))
    print("\nWhat you may want to type next (`. .venv/bin/activate` once, or .venv/bin/nnpf):\n")
    stream = args.out / (f"tint_{args.tint}.266" if args.tint else "update.266")
    print(NEXT.format(stream=stream))


def adapt(out: Path) -> Path:
    """Fit the update; returns the specification that puts it in. The clip counts as repeated for ten seconds."""
    update = out / "fitted.nnc"
    command("adapt", STREAM, "--original", ORIGINAL, "--base", BASE, "-o", update, "--serves", SERVES, "--force")
    return update.with_suffix(".yaml")


def loop(out: Path, specification: Path) -> None:
    """Base, update, gain."""
    base, update = out / "base.266", out / "update.266"
    models = ("--model-root", BASE.parent)
    command("inject", STREAM, "--base", BASE, "--uri", BASE.name, "-o", base, "--force")
    command("inject", STREAM, specification, "-o", update, "--force", "--verbose")
    command("dump", update, "--summary")
    counted = ("--fps", "25", "--messages-every", "10", "--labels", "base,update")
    command("eval", "--original", ORIGINAL, base, update, *models, *counted, "--no-ssim")
    show_picture(out, update, models, amplified=8)


def tint(out: Path, colour: str) -> None:
    filter_ = SAMPLES / "filters" / f"tint_{colour}.onnx"
    stream = out / f"tint_{colour}.266"
    command("inject", STREAM, "--base", filter_, "--uri", filter_.name, "-o", stream, "--force", "--verbose")
    command("dump", stream, "--limit", "2")
    show_picture(out, stream, ("--model-root", filter_.parent), amplified=1)


def show_picture(out: Path, stream: Path, models: tuple[str | Path, ...], amplified: int) -> None:
    """Apply the filters, and draw the picture that gains most."""
    filtered, report, picture = (stream.with_suffix(suffix) for suffix in (".y4m", ".json", ".png"))
    command("apply", stream, *models, "--original", ORIGINAL, "-o", filtered, "--report", report, "--force")
    index = draw(picture, filtered, ORIGINAL, report, amplified)
    print(f"\nwrote {picture}: picture {index} decoded, filtered and original, and the difference x{amplified}")


def draw(target: Path, filtered: Path, original: Path, report: Path, amplified: int) -> int:
    """Draw the picture that gains most; returns its index in output order."""
    pictures = json.loads(report.read_text())["pictures"]
    index = max(range(len(pictures)), key=lambda i: pictures[i]["psnr_filtered"][0] - pictures[i]["psnr_decoded"][0])
    decoded = _picture((d.frame for d in decode_file(STREAM)), index)
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
