"""Put post-filter SEI messages into a stream, without re-encoding: not a bit of the video changes.

What goes where is in a specification file (YAML), or for the common case in options: one base filter, updates for
chosen pictures, active everywhere. PICTURES are written as random_access, clvs_start, first, all, poc:8,16-24,
output:0-9 (0-based, output order; plain numbers mean this), decode:5 (0-based, decoding order), clvs:1, time:1.5-3
(seconds: what is on screen then), or segments: random access pictures, and of the pictures that lead each the one that
is output first.

The stream may stand in a container (MP4, MOV, Matroska, MPEG-TS). What is written is a container or a byte stream, by
the name of OUT; a pipe gets a byte stream. A byte stream that goes into a container gets its times by --fps.

What is written is checked against the standard first. Existing NNPF messages are an error, unless --on-existing says
otherwise.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, TypeVar, cast

from nnpf_tools.files import PIPE, UsageError, add_common, check_output, open_output, progress
from nnpf_tools.streams import (
    OUTPUT_HELP,
    STREAM_HELP,
    add_container_arguments,
    check_written,
    open_edited,
    open_source,
)
from vsei.annexb import split
from vsei.edit import Inserted
from vsei.errors import VseiError
from vsei.frame_rate import frame_rate
from vsei.messages import payload_name
from vsei.nal import Codec
from vsei.source import Output, Source, byte_stream

if TYPE_CHECKING:
    from nnpf.containers import Track
    from nnpf.injection import CommonCase, Injected
    from vsei.rules import Rule

T = TypeVar("T")

EPILOG = """examples:
  nnpf inject in.266 --base filter.onnx -o out.266
  nnpf inject in.mp4 --base filter.onnx -o out.mp4         sound, times and all the rest are copied
  nnpf inject in.266 --base filter.onnx -o out.mp4 --fps 50
  nnpf inject in.266 --base filter.nnc --update fitted.nnc@segments --activate update -o out.266
  nnpf inject in.266 spec.yaml -o out.266 --on-existing replace
  nnpf inject in.266 spec.yaml --dry-run --fps 50          what would go where, and what it costs
  nnpf inject in.266 --base filter.onnx --for vtm -o out.266
  ffmpeg -i in.mp4 -c copy -bsf:v vvc_mp4toannexb -f vvc - | nnpf inject - spec.yaml -o - | nnpf dump -
  nnpf inject --print-schema > inject.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", nargs="?", help=STREAM_HELP)
    parser.add_argument("spec", nargs="?", help="specification file (YAML)")
    parser.add_argument("-o", "--output", metavar="OUT", help=OUTPUT_HELP)
    common = parser.add_argument_group("the common case, instead of a specification file")
    common.add_argument(
        "--base", metavar="MODEL", help="base filter: .onnx (sent by URI) or .nnc (sent in the message)"
    )
    common.add_argument("--uri", help="nnpfc_uri of the base; default: its path seen from the output's folder")
    common.add_argument("--update", metavar="MODEL@PICTURES", action="append", default=[], help="an update (.nnc)")
    common.add_argument("--id", type=int, help="nnpfc_id (default 1)")
    common.add_argument(
        "--repeat",
        choices=("random_access", "clvs_start", "first"),
        help="where the base stands (default: random_access)",
    )
    common.add_argument(
        "--activate",
        choices=("base", "update", "none"),
        help="what to activate (default: the base, and from each update on that)",
    )
    common.add_argument(
        "--activate-at",
        metavar="PICTURES",
        help="where the activation stands (default: segments, so that it holds for every picture)",
    )
    common.add_argument(
        "--set", metavar="ELEMENT=VALUE", action="append", default=[], help="an element of the NNPFC or NNPFA message"
    )
    parser.add_argument(
        "--on-existing",
        choices=("error", "replace", "keep"),
        help="NNPFC and NNPFA messages that the stream has already (default: error, or as the specification says)",
    )
    parser.add_argument(
        "--for",
        dest="decoder",
        choices=("vtm", "nokia-vvdec"),
        help="write what this decoder needs: `nnpf validate --list-rules` says what that is",
    )
    parser.add_argument(
        "--layer", metavar="ID", type=int, help="nuh_layer_id of the pictures (default: all; of H.265 the base layer)"
    )
    parser.add_argument("--no-check", action="store_true", help="write messages that break the standard, too")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, write nothing")
    parser.add_argument(
        "--fps",
        type=_frame_rate,
        metavar="RATE",
        help="pictures per second, as 50 or 30000/1001: for bit rates, times, and containers",
    )
    parser.add_argument("--print-schema", action="store_true", help="print the JSON Schema of the specification file")
    add_container_arguments(parser)
    add_common(parser, output=True, json=True)


def _frame_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pictures per second")
    return rate


def run(args: argparse.Namespace) -> int:
    if args.print_schema:
        from nnpf.spec import SCHEMA

        print(json.dumps(SCHEMA, indent=2))
        return 0
    _check_usage(args)
    if args.output is not None:
        check_output(args.output, force=args.force, inputs=(args.stream, args.spec or PIPE))
    from nnpf import injection, spec

    case = _common_case(args) if args.spec is None else None
    given = spec.read(Path(args.spec)) if case is None else _usage(case.specification)
    if args.output is not None:
        check_output(args.output, force=args.force, inputs=tuple(map(str, spec.files(given))))
    with open_source(args) as source, tempfile.SpooledTemporaryFile(1 << 20, "w+", encoding="utf-8") as lines:
        report = _Report(args, cast(IO[str], lines))
        decoder = _usage(lambda: injection.decoder_named(args.decoder, source.codec))
        report.codec = source.codec
        report.wary_of = decoder.version if decoder is not None else None
        report.rate = args.fps or getattr(source, "rate", None) or frame_rate(split([source.head]), source.codec)
        options = injection.InjectOptions(
            decoder=decoder,
            checked=not args.no_check,
            on_existing=args.on_existing,
            follow_updates=case is not None and case.follows_updates,
            rate=args.fps,
            layer_id=args.layer,
            note=report.note,
        )
        try:
            plan = injection.plan(given, source, options)
        except injection.BrokenRule as error:
            raise VseiError(f"{str(error)[:-1]}; --no-check writes it all the same)") from None
        with progress(args, source.size, "B", scale=True) as bar, _output(args, source) as out:
            report.done = injection.inject(source, plan, out, tell=report.tell, count=report.counts, progress=bar)
        report.show()
    return 0


def _usage(function: Callable[[], T]) -> T:
    """What the function gives. What it refuses is in the arguments."""
    try:
        return function()
    except ValueError as error:
        raise UsageError(str(error)) from None


@contextmanager
def _output(args: argparse.Namespace, source: Source | Track) -> Iterator[Output]:
    if args.dry_run:
        yield byte_stream(source, cast(BinaryIO, _Nowhere()))
        return
    with (
        open_output(args.output, force=args.force, inputs=(args.stream,)) as file,
        open_edited(args, source, file, args.fps) as output,
    ):
        yield output


class _Nowhere:
    """Where a dry run writes."""

    def write(self, data: bytes) -> int:
        return len(data)


def _check_usage(args: argparse.Namespace) -> None:
    if args.stream is None:
        raise UsageError("give a stream: nnpf inject STREAM SPEC.yaml -o OUT")
    if args.stream.endswith((".yaml", ".yml")):
        raise UsageError(
            f"{args.stream} is a specification; the stream comes first: nnpf inject STREAM SPEC.yaml -o OUT"
        )
    if args.spec is not None and args.spec.endswith(MODEL_SUFFIXES):
        raise UsageError(f"{args.spec} is a filter, no specification: --base {args.spec}")
    options = [f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(args, name) not in (None, [])]
    if args.spec is None and args.base is None and not args.update:
        raise UsageError("give either a specification file or --base (and --update)")
    if args.spec is not None and options:
        raise UsageError(f"{', '.join(options)}: not together with a specification file, which says this")
    if args.repeat is not None and args.base is None:
        raise UsageError("--repeat: of a base filter, which --base gives")
    if args.output is None and not args.dry_run:
        raise UsageError("give an output: -o OUT, or -o - for standard output")
    if args.output is not None:
        check_written(args.output)


# --- the common case -------------------------------------------------------------------------------------------------

# What is sent as a filter; the library that knows them all is not imported for this.
MODEL_SUFFIXES = (".onnx", ".nnc", ".pt2")
_OPTIONS = ("base", "uri", "update", "id", "repeat", "activate", "activate_at", "set")
_CALLED = {"updates": "--update", "nnpfc_id": "--id", "elements": "--set"}


def _common_case(args: argparse.Namespace) -> CommonCase:
    """What the options stand for."""
    from nnpf.elements import element_value
    from nnpf.injection import CommonCase
    from vsei.rules import DECODERS

    elements = {}
    for setting in args.set:
        name, equals, value = setting.partition("=")
        if not equals or not name.startswith(("nnpfc_", "nnpfa_")):
            raise UsageError(
                f"--set {setting}: give ELEMENT=VALUE with the standard's name, as in nnpfc_padding_type=1"
            )
        elements[name] = element_value(name, value)
    updates = []
    for update in args.update:
        payload, at, pictures = update.rpartition("@")
        if not at:
            raise UsageError(f"--update {update}: give MODEL@PICTURES, as in fitted.nnc@poc:8")
        updates.append((payload, pictures))
    return CommonCase(
        base=args.base,
        uri=args.uri,
        folder=Path() if args.output in (None, PIPE) else Path(args.output).parent,
        updates=updates,
        nnpfc_id=1 if args.id is None else args.id,
        repeat=args.repeat or "random_access",
        activate=args.activate,
        activate_at=args.activate_at,
        elements=elements,
        decoder=DECODERS[args.decoder] if args.decoder else None,
        called=lambda name: _CALLED.get(name, f"--{name.replace('_', '-')}"),
    )


# --- the report ------------------------------------------------------------------------------------------------------


_IGNORED = "nnpf-reserved-value"


class _Report:
    """What was put in where, and what it costs. Lines wait in a file until all is done: there may be very many."""

    def __init__(self, args: argparse.Namespace, lines: IO[str]) -> None:
        self._args, self._spool = args, lines
        self._noted: set[str] = set()
        self._lines = 0
        self.codec = Codec.VVC
        self.wary_of: str | None = None
        self.rate: Fraction | None = None
        self.done: Injected | None = None

    @property
    def counts(self) -> bool:
        """Whether pictures are to be counted: nothing needs it that is not shown."""
        return not self._args.quiet or self._args.json or self._args.dry_run or self._args.verbose

    def note(self, text: str, rule: Rule | None = None) -> None:
        """What a user should know. Of what rules warn of, each once: what a decoder needs that was asked for, what
        makes all decoders ignore a message, and with -v the rest."""
        asked_for = rule is None or self._args.verbose or rule.clause == self.wary_of or rule.name == _IGNORED
        if asked_for and not self._args.quiet and (rule.name if rule else text) not in self._noted:
            self._noted.add(rule.name if rule else text)
            print(f"nnpf: {text}" + (f" ({rule.name})" if rule else ""), file=sys.stderr)

    def tell(self, inserted: Inserted) -> None:
        args, start, message = self._args, inserted.start, inserted.message
        if not (args.json or args.dry_run or args.verbose):
            return
        name, size = payload_name(message.payload_type, self.codec), len(message.payload)
        if args.json:
            entry = {
                "decode_index": start.decode_index,
                "clvs": start.clvs,
                "layer_id": start.layer_id,
                "payload_type": message.payload_type,
                "name": name,
                "size": size,
            }
            self._spool.write((", " if self._lines else "") + json.dumps(entry))
            self._lines += 1
        else:
            self._spool.write(f"picture {start.decode_index} (CLVS {start.clvs}): {name}, {size} bytes\n")

    def show(self) -> None:
        args, done = self._args, self.done
        assert done is not None
        # Where the stream itself goes to standard output, the report can't.
        out = sys.stderr if args.output == PIPE and not args.dry_run else sys.stdout
        self._spool.seek(0)
        if args.json:
            rates = [self._bit_rate(size, done) for size in (done.bytes_in, done.bytes_out)]
            head = {
                "bytes_in": done.bytes_in,
                "bytes_out": done.bytes_out,
                "bytes_added": done.bytes_out - done.bytes_in,
                "nal_units_restored": done.nal_units_restored,
                "pictures": done.pictures or 0,
                "frame_rate": None if self.rate is None else str(self.rate),
                "bit_rate_in": rates[0],
                "bit_rate_out": rates[1],
            }
            out.write(json.dumps(head)[:-1] + ', "messages": [')
            _copy(self._spool, out)
            out.write("]}\n")
            return
        _copy(self._spool, out)
        if args.dry_run or not args.quiet:
            print(self._summary(done), file=out if args.dry_run else sys.stderr)

    def _bit_rate(self, size: int, done: Injected) -> float | None:
        """Bits per second"""
        return float(8 * size * self.rate / done.pictures) if self.rate is not None and done.pictures else None

    def _summary(self, done: Injected) -> str:
        added = done.bytes_out - done.bytes_in
        share = f" ({100 * added / done.bytes_in:+.2f} %)" if done.bytes_in else ""
        messages = f"{done.messages} message{'s' * (done.messages != 1)}"
        text = f"{'would add' if self._args.dry_run else 'added'} {messages}, {added} bytes{share}"
        before, after = self._bit_rate(done.bytes_in, done), self._bit_rate(done.bytes_out, done)
        if self.rate is not None and before is not None and after is not None:
            fps = f"{float(self.rate):.6g} pictures per second"
            return f"{text}; {before / 1000:.1f} -> {after / 1000:.1f} kbit/s at {fps}"
        if done.pictures:
            return f"{text}, {added / done.pictures:.1f} bytes per picture (--fps gives bit rates)"
        return text


def _copy(spool: IO[str], out: IO[str]) -> None:
    for piece in iter(lambda: spool.read(1 << 16), ""):
        out.write(piece)
