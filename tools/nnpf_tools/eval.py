"""Measure what the post-filters of streams gain: quality, rate and cost, with all bits counted.

Each stream is decoded and filtered as its messages say, and both pictures are compared with the original: PSNR by the
JVET conventions (peak 255 << (bit depth - 8), mean of the pictures' values, 6:1:1 as (6 Y + Cb + Cr) / 8), SSIM and
MS-SSIM. Several streams are the rate points of one video: BD-rate and BD-PSNR (pchip) of the filtered pictures at the
stream's size against the decoded pictures at its size without the post-filter messages. A file that is no bitstream is
compared as it is. Models that a URI names are not in the rate; the table of filters says how large they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nnpf_tools.files import PIPE, UsageError, add_common, check_output, open_output, progress
from nnpf_tools.filtering import add_filter_arguments, apply_options, picture_rate
from nnpf_tools.streams import open_source
from vsei.nal import codec_of_name

if TYPE_CHECKING:
    from nnpf.evaluation import Evaluation, Measured
    from nnpf.frames import Frame
    from nnpf_tools.eval_report import Report

EPILOG = """examples:
  nnpf eval --original source.y4m filtered_q*.266 --fps 60       table of rate points, BD-rate
  nnpf eval --original source.y4m in.266 --pictures              one stream, picture by picture
  nnpf eval --original source.y4m q*.266 --markdown gain.md --plot gain.png --csv pictures.csv
  nnpf eval --original source.y4m q*.266 --fps 60 --messages-every 10   updates that serve 10 seconds
  nnpf eval --original source.y4m q*.266 --min-gain 3            exit code 3 if luma BD-rate gains less than 3 %
  nnpf eval --original source.y4m other.y4m                      two videos
"""

FINDINGS = 3  # exit code
_PLOTS: dict[str, Literal["png", "svg", "pdf"]] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "streams",
        nargs="+",
        metavar="STREAM",
        help="byte stream (Annex B) or container of H.266, H.265 or H.264, - for standard input; or any video file",
    )
    parser.add_argument("--original", metavar="FILE", required=True, help=".yuv, .y4m, or any video file")
    parser.add_argument("--original-depth", type=int, metavar="BITS", help="bit depth of a raw .yuv original")
    parser.add_argument("--depth", type=int, metavar="BITS", help="bit depth of a raw .yuv video that is compared")
    parser.add_argument("--fps", metavar="RATE", help="pictures per second, as in 25 or 30000/1001: rates in kbit/s")
    parser.add_argument(
        "--messages-every",
        metavar="SECONDS",
        help="count the messages once for so much video, of which the streams are a part",
    )
    parser.add_argument("--labels", metavar="NAME,...", help="names of the rate points (default: from the file names)")
    parser.add_argument("--no-ssim", action="store_true", help="PSNR only: faster")
    parser.add_argument("--pictures", action="store_true", help="print every picture too")
    parser.add_argument("--csv", metavar="FILE", help="write every picture; - for standard output")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown; - for standard output")
    parser.add_argument("--plot", metavar="FILE", help="draw RD curves and the gain per picture (.png, .svg, .pdf)")
    parser.add_argument(
        "--min-gain",
        type=float,
        metavar="PERCENT",
        help="exit code 3 unless luma BD-rate is at least so much below 0, for every set of points",
    )
    add_filter_arguments(parser)
    add_common(parser, json=True, output=True)


def run(args: argparse.Namespace) -> int:
    rate, every = picture_rate(args.fps), _seconds(args.messages_every)
    _check_usage(args)
    labels = _labels(args)
    from nnpf.gain import Point, Rating
    from nnpf_tools.eval_report import Report

    points = []
    with progress(args, None, "pictures") as bar:
        for label, stream in zip(labels, args.streams, strict=True):
            args.stream = stream  # what an error is about
            points.append(Point(label, _evaluated(args, stream, lambda _: bar.advance())))
    args.stream = None
    report = Report.of(args.original, args.streams, points, Rating(rate, every), args.min_gain)
    _write(args, report)
    return FINDINGS if report.findings else 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.streams.count(PIPE) > 1:
        raise UsageError("only one stream can come from standard input")
    if args.messages_every is not None and args.fps is None:
        raise UsageError("--messages-every needs --fps")
    if [args.csv, args.markdown].count(PIPE) + args.json > 1:
        raise UsageError("only one of --json, --csv - and --markdown - can go to standard output")
    if args.plot is not None:
        if Path(args.plot).suffix not in _PLOTS:
            raise UsageError(f"--plot {args.plot}: give a name that ends in {', '.join(_PLOTS)}")
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError("--plot needs matplotlib: pip install 'nnpf[plot]'")
    for path in (args.csv, args.markdown, args.plot):
        if path is not None:
            check_output(path, force=args.force, inputs=(args.original, *args.streams))
    if args.original.endswith(".yuv") and any(s.endswith(".yuv") for s in args.streams):
        raise UsageError("two raw files do not say their size; make one of them Y4M")


def _seconds(text: str | None) -> Fraction | None:
    try:
        seconds = Fraction(text) if text else None
    except (ValueError, ZeroDivisionError):
        seconds = Fraction(0)
    if seconds is not None and seconds <= 0:
        raise UsageError(f"--messages-every {text}: give seconds")
    return seconds


def _labels(args: argparse.Namespace) -> list[str]:
    """Short names of the points: given, or what differs between the file names."""
    if args.labels is not None:
        labels: list[str] = args.labels.split(",")
        if len(labels) != len(args.streams):
            raise UsageError(f"--labels: {len(labels)} names for {len(args.streams)} streams")
    else:
        stems = [Path(stream).stem for stream in args.streams]
        start = _common(stems)
        end = _common([stem[start:][::-1] for stem in stems])
        labels = [stem[start : len(stem) - end] for stem in stems]
        if not all(labels) or len(stems) == 1:
            labels = stems
    if len(set(labels)) != len(labels):
        raise UsageError(f"the rate points need different names: {', '.join(labels)}; give them with --labels")
    return labels


def _common(names: Sequence[str]) -> int:
    """With how many characters all names start; no number and no word is cut in two."""
    first, last = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    for kind in (str.isdigit, str.isalpha):
        while same and kind(first[same - 1]) and any(kind(name[same : same + 1]) for name in names):
            same -= 1
    return same


def _evaluated(args: argparse.Namespace, stream: str, tell: Callable[[Measured], None]) -> Evaluation:
    from nnpf.errors import NnpfError
    from nnpf.evaluation import evaluate, evaluate_video
    from nnpf.frames import Format
    from nnpf.opening import holds_track
    from nnpf.video import read_video

    unused = Format(16, 16)  # for files that say themselves what they hold

    def original(form: Format) -> Iterator[Frame]:
        try:
            yield from read_video(args.original, form, args.original_depth)
        except NnpfError as error:
            error.subject = error.subject or args.original
            raise

    with_similarity = not args.no_ssim
    if not (stream == PIPE or args.codec or codec_of_name(stream) or holds_track(stream)):
        # Only a raw file needs to be told its format; it is that of the original.
        form = next(original(unused)).format if stream.endswith(".yuv") else unused
        video = read_video(stream, form, args.depth)
        return evaluate_video(video, original, with_similarity=with_similarity, tell=tell)
    with open_source(args, stream) as source:
        source.keep()
        options = apply_options(args, stream)
        return evaluate(source.nal_units, source.codec, original, options, with_similarity=with_similarity, tell=tell)


def _write(args: argparse.Namespace, report: Report) -> None:
    from nnpf_tools import eval_report

    inputs = (args.original, *args.streams)
    for path, content in ((args.csv, report.csv), (args.markdown, report.markdown)):
        if path is not None:
            with open_output(path, force=args.force, inputs=inputs) as out:
                out.write(content().encode())
    if args.json:
        print(json.dumps(report.document(), allow_nan=False))
    elif PIPE not in (args.csv, args.markdown):
        print(report.text(pictures=args.pictures), end="")
    for finding in report.findings:
        print(f"nnpf: {finding}", file=sys.stderr)
    if args.plot is not None:
        with open_output(args.plot, force=args.force, inputs=inputs) as out:
            eval_report.plot(report, out, _PLOTS[Path(args.plot).suffix])
