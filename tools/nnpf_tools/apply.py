"""Decode a stream and filter its pictures as its NNPFC and NNPFA messages say.

The output is Y4M, raw planar YUV, or FFV1 in Matroska, which is without loss and has the timestamps and the sound of a
container (by the name's end: .y4m, .yuv, .mkv; a pipe gets Y4M). It is in output order, at the bit depth that the
messages give, cropped. Pictures without a filter in force are written as decoded. Filters that are named by a URI are
looked for in one folder, that of the stream unless --model-root says another; https URIs only with --allow-fetch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from nnpf_tools.apply_results import Results
from nnpf_tools.files import PIPE, OutputError, UsageError, add_common, check_output, open_input, open_output, progress
from nnpf_tools.filtering import add_filter_arguments, apply_options, picture_rate
from nnpf_tools.streams import STREAM_HELP, add_container_arguments, open_source
from vsei.annexb import split
from vsei.colour import colour, sample_aspect_ratio
from vsei.frame_rate import frame_rate
from vsei.source import Source

if TYPE_CHECKING:
    from nnpf.containers import Track
    from nnpf.frames import Format, Frame
    from nnpf.runner import Shown
    from nnpf.timing import Timing

    Sink = Callable[[Shown], object]

EPILOG = """examples:
  nnpf apply in.266 -o filtered.y4m
  nnpf apply in.mp4 -o filtered.mkv                      lossless (FFV1), with the sound of in.mp4
  nnpf apply in.266 --original source.y4m                PSNR before and after, no output file
  nnpf apply in.266 --yuv decoded.yuv -o filtered.yuv    filter what another decoder decoded
  nnpf apply in.266 -o - | ffplay -
  nnpf apply in.266 -o first.y4m --frames 10             only the first ten pictures
  nnpf apply in.266 --compare theirs.yuv --max-difference 1
  nnpf apply in.266 --model-root models --model-map https://example.com/f.onnx=models/f.onnx --md5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help=STREAM_HELP)
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write: .y4m, .yuv, .mkv; - for standard output")
    parser.add_argument(
        "--yuv",
        metavar="DECODED",
        help="decoded pictures (.yuv, .y4m; or - for either from standard input), instead of decoding the stream",
    )
    parser.add_argument(
        "--decoder", metavar="PROGRAM", help="decode with vvdecapp or DecoderApp instead of FFmpeg (name or path)"
    )
    parser.add_argument("--original", metavar="FILE", help="print PSNR against it: .yuv, .y4m, or any video file")
    parser.add_argument("--original-depth", type=int, metavar="BITS", help="bit depth of a raw .yuv original")
    parser.add_argument(
        "--compare", metavar="FILE", help="compare the output with another one, sample by sample: .yuv, .y4m, any video"
    )
    parser.add_argument(
        "--max-difference", type=int, metavar="N", help="exit code 3 where a sample differs from --compare by more"
    )
    add_filter_arguments(parser)
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="take what the decoder gives of a damaged stream, note what is wrong, end with exit code 3",
    )
    parser.add_argument(
        "--fps", metavar="RATE", help="pictures per second of the output, where the stream does not say: 25, 30000/1001"
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="end after N pictures of the output (and without sound)"
    )
    add_container_arguments(parser)
    parser.add_argument("--md5", action="store_true", help="MD5 of each output picture and of the whole output")
    parser.add_argument("--report", metavar="FILE", help="write what was done to each picture (JSON)")
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    _check_usage(args)
    from nnpf import runner
    from nnpf.timing import Timing

    options = replace(apply_options(args, args.stream), keep_going=args.keep_going)
    results = Results(args)
    started = time.perf_counter()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(args))
        rate = picture_rate(args.fps) or _rate(source)
        timing = Timing(source, rate)
        decoded = _decoded(args, source, stack)
        shown = stack.enter_context(runner.apply(timing.nal_units(), source.codec, options, decoded=decoded))
        bar = stack.enter_context(progress(args, None, "pictures"))
        sink = _sink(args, source, rate, timing, stack)
        wanted = (picture for picture in shown if not timing.is_cut_off(picture.record.decode_index))
        for picture in itertools.islice(wanted, args.frames):
            sink(picture)
            results.take(picture)
            bar.advance()
    results.finish(time.perf_counter() - started)
    if args.report:
        with open_output(args.report, force=args.force, inputs=(args.stream,)) as out:
            out.write((json.dumps(results.document(), indent=1) + "\n").encode())
    results.show()
    return 3 if results.has_findings else 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.output is None and not (args.md5 or args.original or args.report or args.compare):
        raise UsageError(
            "give an output: -o OUT, or -o - for standard output (or --md5, --original, --compare, --report)"
        )
    if args.max_difference is not None and args.compare is None:
        raise UsageError("--max-difference is for --compare")
    if args.frames is not None and args.frames < 1:
        raise UsageError("--frames is at least 1")
    if args.yuv == PIPE and args.stream == PIPE:
        raise UsageError("stream and decoded pictures cannot both come from standard input")
    if args.decoder is not None and args.yuv is not None:
        raise UsageError("--decoder and --yuv are two ways to have decoded pictures: give one")
    if args.output == PIPE and args.json:
        raise UsageError("the pictures and --json cannot both go to standard output; use --report FILE")
    _check_name(args.output)
    for path in (args.output, args.report):
        if path is not None:
            check_output(path, force=args.force, inputs=_inputs(args))
    if args.output not in (None, PIPE) and Path(args.output).is_file() is False and Path(args.output).is_dir():
        raise OutputError(args.output, "is a folder")


def _inputs(args: argparse.Namespace) -> tuple[str, ...]:
    models = (entry.rpartition("=")[2] for entry in args.model_map)
    return tuple(filter(None, (args.stream, args.yuv, args.original, args.compare, *models)))


_LOSSY = (".mp4", ".m4v", ".mov", ".ts", ".avi", ".webm", ".265", ".264", ".266", ".png", ".jpg")


def _check_name(output: str | None) -> None:
    """UsageError: the name asks for what is not written."""
    suffix = Path(output or "").suffix.lower()
    if suffix in _LOSSY:
        raise UsageError(
            f"-o {output}: {suffix} is not written; write filtered.mkv (lossless), then ffmpeg -i filtered.mkv {output}"
        )


def _rate(source: Source | Track) -> Fraction | None:
    """Pictures per second, where container or stream say."""
    own = None if isinstance(source, Source) else source.rate
    return own or frame_rate(split([source.head]), source.codec)


def _decoded(
    args: argparse.Namespace, source: Source | Track, stack: ExitStack
) -> Callable[[Format], Frame | None] | None:
    """Where decoded pictures come from, if not from FFmpeg."""
    if args.decoder is not None:
        from nnpf.decoder_program import decoded_by

        source.keep()
        return stack.enter_context(decoded_by(args.decoder, source.nal_units(), source.codec, layer_id=args.layer))
    if args.yuv is None:
        return None
    from nnpf.frames import Y4M_MAGIC, read_frame, read_y4m

    file = stack.enter_context(open_input(args.yuv))
    # What comes through a pipe has no name that tells.
    piped_y4m = args.yuv == PIPE and cast(BufferedReader, file).peek(len(Y4M_MAGIC)).startswith(Y4M_MAGIC)
    if piped_y4m or args.yuv.endswith(".y4m"):
        frames = read_y4m(file)[1]
        return lambda form: next(frames, None)
    numbers = itertools.count()
    return lambda form: read_frame(file, form, next(numbers))


def _sink(
    args: argparse.Namespace, source: Source | Track, rate: Fraction | None, timing: Timing, stack: ExitStack
) -> Sink:
    """What takes the pictures: the output file, in the format that its name asks for."""
    from nnpf.frames import write_frame

    if args.output is None:
        return lambda shown: None
    file = stack.enter_context(open_output(args.output, force=args.force, inputs=(args.stream,)))
    if args.output.endswith(".mkv"):
        return _lossless(args, source, file, rate, timing, stack)
    if args.output == PIPE or args.output.endswith(".y4m"):
        return _y4m(source, file, rate)
    return lambda shown: write_frame(file, shown.frame)


def _aspect(source: Source | Track) -> Fraction | None:
    """Width of a sample by its height; what a container says comes first."""
    own = None if isinstance(source, Source) else source.aspect
    return own or sample_aspect_ratio(split([source.head]), source.codec)


def _is_as_wide(shown: Shown) -> bool:
    """Whether samples are still as wide for their height, as they are not where a filter stretches pictures."""
    before, after = shown.decoded.format, shown.frame.format
    return before.width * after.height == before.height * after.width


def _y4m(source: Source | Track, file: BinaryIO, rate: Fraction | None) -> Sink:
    from nnpf.errors import NnpfError
    from nnpf.frames import Y4mHeader, write_y4m_frame

    known: Format | None = None
    aspect, full_range = _aspect(source), colour(split([source.head]), source.codec).full_range

    def write(shown: Shown) -> None:
        nonlocal known
        if known is None:
            known = shown.frame.format
            # Filters that add pictures raise the rate; Y4M has one for all, that of the first interval.
            header = Y4mHeader(
                known,
                rate * shown.rate_factor if rate else None,
                aspect if _is_as_wide(shown) else None,
                full_range,
            )
            file.write(header.to_bytes())
        elif shown.frame.format != known:
            raise NnpfError(f"pictures change from {known} to {shown.frame.format}, which Y4M cannot say; write .yuv")
        write_y4m_frame(file, shown.frame)

    return write


def _lossless(
    args: argparse.Namespace,
    source: Source | Track,
    file: BinaryIO,
    rate: Fraction | None,
    timing: Timing,
    stack: ExitStack,
) -> Sink:
    from nnpf.lossless import LosslessWriter

    # Sound would go on behind the last of --frames pictures.
    track = None if isinstance(source, Source) or args.video_only or args.frames else source
    aspect = _aspect(source)

    def note(text: str) -> None:
        if not args.quiet:
            print(f"nnpf: note: {text}", file=sys.stderr)

    writer = stack.enter_context(
        LosslessWriter(
            file,
            args.output,
            rate=rate,
            colour=colour(split([source.head]), source.codec),
            display_matrix=None if isinstance(source, Source) else source.display_matrix(),
            track=track,
            note=note,
        )
    )

    def write(shown: Shown) -> None:
        writer.aspect = aspect if _is_as_wide(shown) else None
        record = shown.record
        position = Fraction(record.position).limit_denominator(1000)
        writer.write(shown.frame, timing.seconds(record.decode_index, record.output_index, position))

    return write
