"""Fit an update of a base filter to a clip, and code it (NNC), where it pays.

Needs torch. The update is relative to the base. It is written only if what it gains is worth more than its bytes, by
the slope of the clip's rate-distortion curve; else the report says why, and no update is written. Beside the update, or
the updates of several segments (UPDATE_0.nnc ...), stands a specification that `nnpf inject` puts base, updates and
activations in with.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnpf.adapt import DEFAULT_STEPS
from nnpf_tools.files import PIPE, UsageError, add_common, check_output, open_output
from nnpf_tools.streams import open_source

if TYPE_CHECKING:
    from nnpf.adapt.adaptation import AdaptOptions, Progress, SegmentResult
    from nnpf.adapt.fitted import Fitted
    from vsei.annexb import NalUnit
    from vsei.nal import Codec

EPILOG = """examples:
  nnpf prepare filter.onnx -o base.onnx
  nnpf adapt in.266 --original in.y4m --base base.onnx -o update.nnc
  nnpf inject in.266 update.yaml -o out.266               what adapt has written beside the update
  nnpf adapt in.266 --original in.y4m --base base.onnx -o update.nnc --segment ras --budget 800
  nnpf adapt in.266 --original in.y4m --base base.onnx -o update.nnc --rate-points in_q27.266 in_q37.266
"""

SCHEMA_VERSION = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "stream", help="the clip as it will be sent: byte stream (Annex B), MP4, MOV, Matroska or MPEG-TS file"
    )
    parser.add_argument("--original", metavar="FILE", required=True, help=".yuv, .y4m, or any video file")
    parser.add_argument("--original-depth", type=int, metavar="BITS", help="bit depth of a raw .yuv original")
    parser.add_argument("--base", metavar="MODEL", required=True, help="base filter, .onnx or .nnc")
    parser.add_argument("-o", "--output", metavar="UPDATE", required=True, help="update to write (.nnc)")
    parser.add_argument(
        "--params",
        default="auto",
        help="what may change: multipliers, biases, last (last:2 ...), all, several joined by +; auto (default): "
        "multipliers and biases of a prepared base, or all, whichever pays more",
    )
    parser.add_argument("--budget", type=int, metavar="BYTES", help="an update has at most so many bytes")
    parser.add_argument(
        "--segment",
        default="clip",
        help="an update for the clip (default), each random access segment: ras, or N pictures",
    )
    parser.add_argument(
        "--steps", type=int, default=DEFAULT_STEPS, help=f"of gradient descent for a segment (default {DEFAULT_STEPS})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument("--device", default="auto", help="of torch: cpu, cuda, mps (default: the fastest there is)")
    parser.add_argument(
        "--threads", type=int, default=1, help="of torch on the CPU (default 1; more where nothing else runs)"
    )
    parser.add_argument("--slope", type=float, metavar="DB", help="dB for each factor e of rate (default: by the QP)")
    parser.add_argument(
        "--rate-points", nargs="+", default=[], metavar="STREAM", help="the clip at other rates, to measure the slope"
    )
    parser.add_argument(
        "--serves", type=float, metavar="BYTES", help="video that an update serves (default: its segment)"
    )
    parser.add_argument("--id", type=int, default=1, help="nnpfc_id (default 1)")
    parser.add_argument(
        "--set", metavar="ELEMENT=VALUE", action="append", default=[], help="an element of the base's NNPFC message"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints of a run that was stopped")
    parser.add_argument("--report", metavar="FILE", help="write what was found (JSON)")
    add_common(parser, output=True, json=True)


def run(args: argparse.Namespace) -> int:
    _check_usage(args)
    from nnpf.adapt.clip import segments
    from nnpf.adapt.fitted import Fitted, adapted, load_base_filter, update_files

    base = load_base_filter(Path(args.base), args.id, _elements(args))
    with open_source(args) as source:
        codec = source.codec
        parts = segments(source.nal_units(), codec, args.segment)
    options = _options(args, codec)
    outputs = (*update_files(Path(args.output), args.segment, len(parts)), Path(args.output).with_suffix(".yaml"))
    for path in (*outputs, *([args.report] if args.report else [])):
        check_output(str(path), force=args.force, inputs=(args.stream, args.original, args.base))

    def tell(progress: Progress) -> None:
        if not args.quiet:
            which = f"segment {progress.segment} of {len(parts)}, {progress.params}"
            where = f"step {progress.step} of {progress.steps}"
            print(f"{which}: {where}, {progress.gain:+.3f} dB by {progress.payload_bytes} bytes", file=sys.stderr)

    results = []
    for result in adapted(
        _units(args), codec, parts, Path(args.original), base, options, original_depth=args.original_depth, tell=tell
    ):
        results.append(result)
        _note(args, result)
    _write(args, Fitted(base, args.segment, results))
    if options.checkpoints is not None:
        shutil.rmtree(options.checkpoints, ignore_errors=True)
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if PIPE in (args.stream, args.output, args.base, args.original):
        raise UsageError("stream, original, base and update are files: they are read and written more than once")
    if not args.output.endswith(".nnc"):
        raise UsageError(f"{args.output}: an update is a .nnc file")
    if min(args.steps, args.threads) < 1 or (args.budget is not None and args.budget < 1) or args.seed < 0:
        raise UsageError("--steps, --threads and --budget are at least 1, --seed at least 0")
    if args.slope is not None and args.rate_points:
        raise UsageError("give either --slope or --rate-points")
    for value in (args.slope, args.serves):
        if value is not None and value <= 0:
            raise UsageError("--slope and --serves are above 0")


def _units(args: argparse.Namespace, path: str | None = None) -> Iterator[NalUnit]:
    with open_source(args, path) as source:
        yield from source.nal_units()


def _elements(args: argparse.Namespace) -> dict[str, int]:
    """The elements of the base's NNPFC message that were given."""
    elements: dict[str, int] = {}
    for setting in args.set:
        name, equals, value = setting.partition("=")
        if not equals or not name.startswith("nnpfc_") or not value.lstrip("-").isdigit():
            raise UsageError(f"--set {setting}: give ELEMENT=NUMBER, as in nnpfc_padding_type=1")
        elements[name] = int(value)
    return elements


def _options(args: argparse.Namespace, codec: Codec) -> AdaptOptions:
    from nnpf.adapt.adaptation import AdaptOptions

    return AdaptOptions(
        params=args.params,
        budget=args.budget,
        steps=args.steps,
        seed=args.seed,
        slope=_slope(args, codec) if args.rate_points else args.slope,
        serves=args.serves,
        device=args.device,
        threads=args.threads,
        checkpoints=Path(f"{args.output}.checkpoints"),
        resume=args.resume,
    )


def _slope(args: argparse.Namespace, codec: Codec) -> float:
    """The slope of the clip's rate-distortion curve at the stream, from the clip at other rates."""
    from nnpf.adapt.clip import read_clip, segments
    from nnpf.adapt.measure import combined
    from nnpf.adapt.price import slope_of
    from nnpf.metrics import compare

    points = []
    for path in (args.stream, *args.rate_points):
        parts = segments(_units(args, path), codec, "clip")
        for part, pictures in read_clip(
            _units(args, path), codec, Path(args.original), parts, original_depth=args.original_depth
        ):
            values = [combined(compare(picture.decoded, picture.original).psnr) for picture in pictures]
            points.append((float(part.stream_bytes), sum(values) / len(values)))
    return slope_of(points, points[0][0])


def _note(args: argparse.Namespace, result: SegmentResult) -> None:
    if args.quiet or args.json:
        return
    document = result.document()
    psnr = " ".join(
        f"{name} {before:.3f} {after:+.3f}"
        for name, before, after in zip(
            ("Y", "Cb", "Cr"),
            document["psnr_decoded"],
            (b - a for a, b in zip(document["psnr_decoded"], document["psnr_result"], strict=True)),
            strict=False,
        )
    )
    what = (
        f"update of {document['payload_bytes']} bytes ({result.scope})"
        if result.decision == "update"
        else f"{result.decision}, no update: {result.reason}"
    )
    print(f"segment {result.segment.index}: {what}; {psnr} dB")


def _write(args: argparse.Namespace, fitted: Fitted) -> None:
    from nnpf.provenance import environment, facts_of

    written = fitted.save(args.output, force=args.force)
    document = {
        "schema_version": SCHEMA_VERSION,
        "stream": args.stream,
        "base": args.base,
        "params": args.params,
        "steps": args.steps,
        "seed": args.seed,
        "segments": [result.document() for result in fitted.results],
        "files": [None if path is None else path.name for path in written],
        "inputs": facts_of({"stream": args.stream, "original": args.original, "base": args.base}),
        "environment": environment(),
    }
    text = json.dumps(document, indent=1) + "\n"
    if args.report:
        with open_output(args.report, force=args.force, inputs=(args.stream,)) as file:
            file.write(text.encode())
    if args.json:
        print(text, end="")
