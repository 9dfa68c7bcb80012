"""Decode a stream and filter its pictures as its NNPFC and NNPFA messages say.

The output is Y4M, raw planar YUV, or FFV1 in Matroska, which is without loss and has the timestamps and the sound of a
container (by the name's end: .y4m, .yuv, .mkv; a pipe gets Y4M). It is in output order, at the bit depth that the
messages give, cropped. Pictures without a filter in force are written as decoded. Filters that are named by a URI are
looked for in one folder, that of the stream unless --model-root says another; nothing is fetched.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nnpf_tools.files import PIPE, OutputError, UsageError, add_common, check_output, open_input, open_output, progress
from nnpf_tools.filtering import add_filter_arguments, apply_options, picture_rate
from nnpf_tools.streams import STREAM_HELP, add_container_arguments, open_source
from vsei.annexb import split
from vsei.colour import colour
from vsei.frame_rate import frame_rate
from vsei.source import Source, write_units

if TYPE_CHECKING:
    from nnpf.containers import Track
    from nnpf.frames import Format, Frame
    from nnpf.metrics import Difference
    from nnpf.runner import Shown
    from nnpf.timing import Timing

    Sink = Callable[[Shown], object]

EPILOG = """examples:
  nnpf apply in.266 -o filtered.y4m
  nnpf apply in.mp4 -o filtered.mkv                      lossless (FFV1), with the sound of in.mp4
  nnpf apply in.266 --original source.y4m                PSNR before and after, no output file
  nnpf apply in.266 --yuv decoded.yuv -o filtered.yuv    filter what another decoder decoded
  nnpf apply in.266 -o - | ffplay -
  nnpf apply in.266 --model-root models --model-map https://example.com/f.onnx=models/f.onnx --md5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help=STREAM_HELP)
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write: .y4m, .yuv, .mkv; - for standard output")
    parser.add_argument(
        "--yuv", metavar="DECODED", help="decoded pictures (.yuv, .y4m), instead of decoding the stream"
    )
    parser.add_argument(
        "--decoder", metavar="PROGRAM", help="decode with vvdecapp or DecoderApp instead of FFmpeg (name or path)"
    )
    parser.add_argument("--original", metavar="FILE", help="print PSNR against it: .yuv, .y4m, or any video file")
    parser.add_argument("--original-depth", type=int, metavar="BITS", help="bit depth of a raw .yuv original")
    add_filter_arguments(parser)
    parser.add_argument(
        "--fps", metavar="RATE", help="pictures per second of the output, where the stream does not say: 25, 30000/1001"
    )
    add_container_arguments(parser)
    parser.add_argument("--md5", action="store_true", help="MD5 of each output picture and of the whole output")
    parser.add_argument("--report", metavar="FILE", help="write what was done to each picture (JSON)")
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    _check_usage(args)
    from nnpf import runner
    from nnpf.timing import Timing

    options = apply_options(args, args.stream)
    results = _Results(args)
    started = time.perf_counter()
    with ExitStack() as stack:
        source = stack.enter_context(open_source(args))
        rate = picture_rate(args.fps) or _rate(source)
        timing = Timing(source, rate)
        decoded = _decoded(args, source, stack)
        shown = stack.enter_context(runner.apply(timing.nal_units(), source.codec, options, decoded=decoded))
        bar = stack.enter_context(progress(args, None, "pictures"))
        sink = _sink(args, source, rate, timing, stack)
        for picture in shown:
            if timing.is_cut_off(picture.record.decode_index):
                continue
            sink(picture)
            results.take(picture)
            bar.advance()
    results.finish(time.perf_counter() - started)
    if args.report:
        with open_output(args.report, force=args.force, inputs=(args.stream,)) as out:
            out.write((json.dumps(results.document(), indent=1) + "\n").encode())
    results.show()
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.output is None and not (args.md5 or args.original or args.report):
        raise UsageError("give an output: -o OUT, or -o - for standard output (or --md5, --original, --report)")
    if args.yuv == PIPE and args.stream == PIPE:
        raise UsageError("stream and decoded pictures cannot both come from standard input")
    if args.decoder is not None and (args.yuv is not None or args.stream == PIPE):
        raise UsageError("--decoder wants a stream that is a file, and no --yuv")
    if args.output == PIPE and args.json:
        raise UsageError("the pictures and --json cannot both go to standard output; use --report FILE")
    _check_name(args.output)
    for path in (args.output, args.report):
        if path is not None:
            check_output(path, force=args.force, inputs=(args.stream, args.yuv or PIPE, args.original or PIPE))
    if args.output not in (None, PIPE) and Path(args.output).is_file() is False and Path(args.output).is_dir():
        raise OutputError(args.output, "is a folder")


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

        path = Path(args.stream)
        if not isinstance(source, Source):  # such programs read byte streams only
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nnpf-"))) / "stream"
            with path.open("wb") as whole:
                write_units(whole, source.nal_units())
        return stack.enter_context(decoded_by(args.decoder, path))
    if args.yuv is None:
        return None
    from nnpf.frames import read_frame, read_y4m

    file = stack.enter_context(open_input(args.yuv))
    if args.yuv.endswith(".y4m"):
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
        return _y4m(file, rate)
    return lambda shown: write_frame(file, shown.frame)


def _y4m(file: BinaryIO, rate: Fraction | None) -> Sink:
    from nnpf.errors import NnpfError
    from nnpf.frames import Y4mHeader, write_y4m_frame

    known: Format | None = None

    def write(shown: Shown) -> None:
        nonlocal known
        if known is None:
            known = shown.frame.format
            file.write(Y4mHeader(known, rate).to_bytes())
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

    track = None if isinstance(source, Source) or args.video_only else source
    colours = colour(split([source.head]), source.codec)
    writer = stack.enter_context(LosslessWriter(file, args.output, rate=rate, colour=colours, track=track))

    def write(shown: Shown) -> None:
        record = shown.record
        position = Fraction(record.position).limit_denominator(1000)
        writer.write(shown.frame, timing.seconds(record.decode_index, record.output_index, position))

    return write


class _Results:
    """What was done, picture by picture."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._pictures: list[dict[str, Any]] = []
        self._pairs: list[tuple[Difference, Difference]] = []
        self._whole = hashlib.md5(usedforsecurity=False)
        self._original: Iterator[Frame] | None = None
        self._seconds = 0.0
        self._filters: Counter[str] = Counter()
        self._reasons: dict[str, list[int]] = {}

    def take(self, shown: Shown) -> None:
        record = shown.record
        entry: dict[str, Any] = asdict(record)
        if self._args.md5:
            digest = hashlib.md5(usedforsecurity=False)
            for plane in shown.frame.file_planes():
                digest.update(plane.data)
                self._whole.update(plane.data)
            entry["md5"] = digest.hexdigest()
        if self._args.original and record.kind in ("decoded", "filtered"):
            entry |= self._compared(shown)
        self._filters[_filter_names(record.applied) or "none"] += 1
        fallbacks = (f"run by {a.engine}: {a.instead_of}" for a in record.applied if a.instead_of)
        for reason in (*record.reasons, *fallbacks):
            self._reasons.setdefault(reason, []).append(record.poc)
        if self._args.report or self._args.json or self._args.md5 or self._args.original:
            self._pictures.append(entry)

    def _compared(self, shown: Shown) -> dict[str, Any]:
        from nnpf.errors import NnpfError
        from nnpf.metrics import compare
        from nnpf.video import read_video

        if self._original is None:
            self._original = read_video(self._args.original, shown.decoded.format, self._args.original_depth)
        original = next(self._original, None)
        if original is None:
            raise NnpfError(f"ends after {len(self._pictures)} pictures", subject=self._args.original)
        before, after = compare(shown.decoded, original), compare(shown.frame, original)
        self._pairs.append((before, after))
        return {"psnr_decoded": before.psnr, "psnr_filtered": after.psnr}

    def finish(self, seconds: float) -> None:
        self._seconds = seconds

    def document(self) -> dict[str, Any]:
        from nnpf.provenance import environment, facts_of

        summary: dict[str, Any] = {
            "stream": None if self._args.stream == PIPE else self._args.stream,
            "pictures": sum(self._filters.values()),
            "filters": dict(self._filters),
            "seconds": round(self._seconds, 3),
            "output": None if self._args.output == PIPE else self._args.output,
            "inputs": facts_of({"stream": self._args.stream, "original": self._args.original}),
            "environment": environment(),
        }
        if self._args.md5:
            summary["md5"] = self._whole.hexdigest()
        if self._pairs:
            from nnpf.metrics import average

            before, after = (average(pair[i] for pair in self._pairs) for i in (0, 1))
            summary["psnr_decoded"], summary["psnr_filtered"] = before.psnr, after.psnr
        return {"summary": summary, "pictures": self._pictures}

    def show(self) -> None:
        args = self._args
        where = sys.stderr if args.output == PIPE else sys.stdout
        if args.json:
            print(json.dumps(self.document()))
            return
        if self._pairs:
            self._table(where)
        elif args.md5:
            for entry in self._pictures:
                print(f"{entry['md5']}  picture {entry['output_index']} POC {entry['poc']}", file=where)
        if args.md5:
            print(f"{self._whole.hexdigest()}  all", file=where)
        count = sum(self._filters.values())
        if not args.quiet:
            named = ", ".join(
                f"{n} by {name}" if name != "none" else f"{n} as decoded" for name, n in self._filters.items()
            )
            speed = f"{count / self._seconds:.1f} pictures per second" if self._seconds else ""
            print(f"{count} pictures: {named}; {speed}", file=sys.stderr)
        for reason, pocs in self._reasons.items():
            listed = ", ".join(map(str, pocs[:5])) + (" ..." if len(pocs) > 5 else "")
            print(f"nnpf: note: POC {listed}: {reason}", file=sys.stderr)

    def _table(self, where: Any) -> None:
        from nnpf.metrics import average

        names = ("Y", "Cb", "Cr")[: len(self._pairs[0][0].psnr)]
        width = max([6, *(len(_filter_names(e["applied"]) or "-") for e in self._pictures)])
        columns = "   ".join(f"{name + ' before':>9} {'after':>7} {'gain':>7}" for name in names)
        print(f"{'picture':>7} {'POC':>5}  {'filter':<{width}}  {columns}   (PSNR in dB)", file=where)
        compared = (entry for entry in self._pictures if "psnr_decoded" in entry)
        for entry, (before, after) in zip(compared, self._pairs, strict=True):
            label = _filter_names(entry["applied"]) or "-"
            print(
                f"{entry['output_index']:>7} {entry['poc']:>5}  {label:<{width}}  {_gains(before.psnr, after.psnr)}",
                file=where,
            )
        all_before, all_after = (average(pair[i] for pair in self._pairs) for i in (0, 1))
        print(f"{'average':>7} {'':>5}  {'':<{width}}  {_gains(all_before.psnr, all_after.psnr)}", file=where)


def _gains(before: tuple[float, ...], after: tuple[float, ...]) -> str:
    return "   ".join(f"{b:>9.3f} {a:>7.3f} {a - b:>+7.3f}" for b, a in zip(before, after, strict=True))


def _filter_names(applied: Any) -> str:
    """`1 first.onnx` for what ran on a picture; records and their dictionaries alike."""
    names = []
    for item in applied:
        fields = item if isinstance(item, dict) else asdict(item)
        names.append(f"{fields['nnpfc_id']} {Path(fields['model']).name}")
    return " + ".join(names)
