"""Put post-filter SEI messages into a stream, without re-encoding: not a bit of the video changes.

What goes where is in a specification file (YAML), or for the common case in options: one base filter, updates for
chosen pictures, active everywhere. PICTURES are written as random_access, clvs_start, first, all, poc:8,16-24,
output:0-9 (0-based, output order; plain numbers mean this), decode:5 (0-based, decoding order), clvs:1, or segments:
random access pictures, and of the pictures that lead each the one that is output first.

What is written is checked against the standard first. Existing NNPF messages are an error, unless --on-existing says
otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from nnpf_tools.files import PIPE, Progress, UsageError, add_common, check_output, open_output, progress
from nnpf_tools.streams import Source, open_source, write_units
from vsei import edit, selection
from vsei.annexb import NalUnit, split
from vsei.edit import Inserted, OnExisting, Placement
from vsei.errors import VseiError
from vsei.frame_rate import frame_rate
from vsei.grouping import PictureStart, groups
from vsei.messages import payload_name
from vsei.nal import Codec
from vsei.pictures import PictureFormat, picture_units
from vsei.restoring import Taken, restore
from vsei.splicing import splice

if TYPE_CHECKING:
    from nnpf.spec import Spec, Target
    from nnpf.yaml_document import KeyPath
    from vsei.rules import Decoder, Rule

EPILOG = """examples:
  nnpf inject in.266 --base filter.onnx -o out.266
  nnpf inject in.266 --base filter.nnc --update fitted.nnc@poc:0 --activate update -o out.266
  nnpf inject in.266 spec.yaml -o out.266 --on-existing replace
  nnpf inject in.266 spec.yaml --dry-run --fps 50          what would go where, and what it costs
  nnpf inject in.266 --base filter.onnx --for vtm -o out.266
  cat in.266 | nnpf inject - spec.yaml -o - | nnpf dump -
  nnpf inject --print-schema > inject.schema.json
"""

# So many pictures are checked with their messages before anything is written (with --for: all). Rules that need what
# came before are broken early, if at all, and reading headers takes much longer than copying.
CHECKED_PICTURES = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", nargs="?", help="byte stream (Annex B), or - for standard input")
    parser.add_argument("spec", nargs="?", help="specification file (YAML)")
    parser.add_argument("-o", "--output", metavar="OUT", help="stream to write, or - for standard output")
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
    parser.add_argument("--no-check", action="store_true", help="write messages that break the standard, too")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, write nothing")
    parser.add_argument(
        "--fps", type=_frame_rate, metavar="RATE", help="pictures per second, as 50 or 30000/1001, for bit rates"
    )
    parser.add_argument("--print-schema", action="store_true", help="print the JSON Schema of the specification file")
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
    given = _specification(args)
    with open_source(args) as source, tempfile.SpooledTemporaryFile(1 << 20, "w+", encoding="utf-8") as lines:
        report = _Report(args, cast(IO[str], lines))
        plan = _plan(args, given, source, report)
        with progress(args, source.size, "B", scale=True) as bar:
            if args.dry_run:
                _edit(source, plan, cast(BinaryIO, _Nowhere()), report, bar)
            else:
                with open_output(args.output, force=args.force, inputs=(args.stream,)) as out:
                    _edit(source, plan, out, report, bar)
        report.show()
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    if args.stream is None:
        raise UsageError("give a stream: nnpf inject STREAM SPEC.yaml -o OUT")
    options = [f"--{name.replace('_', '-')}" for name in _OPTIONS if getattr(args, name) not in (None, [])]
    if args.spec is None and args.base is None and not args.update:
        raise UsageError("give either a specification file or --base (and --update)")
    if args.spec is not None and options:
        raise UsageError(f"{', '.join(options)}: not together with a specification file, which says this")
    if args.output is None and not args.dry_run:
        raise UsageError("give an output: -o OUT, or -o - for standard output")


# --- the specification -----------------------------------------------------------------------------------------------

_OPTIONS = ("base", "uri", "update", "id", "repeat", "activate", "activate_at", "set")


def _specification(args: argparse.Namespace) -> Spec:
    from nnpf import spec

    if args.spec is None:
        return _own(args)
    return spec.read(Path(args.spec))


def _own(args: argparse.Namespace) -> Spec:
    """The specification that the options stand for."""
    from nnpf import spec
    from vsei.rules import DECODERS

    nnpfc, nnpfa = _elements(args.set)
    nnpfc_id = 1 if args.id is None else args.id
    entry: dict[str, object] = {"id": nnpfc_id, "repeat": args.repeat or "random_access", "updates": []}
    labels: dict[KeyPath, str] = {("filters", 0): "--base", ("filters", 0, "base"): "--base"}
    labels[("filters", 0, "id")] = labels[("activations", 0, "target")] = "--id"
    labels[("filters", 0, "nnpfc")] = "--set "
    if args.base:
        entry |= {"base": args.base, "nnpfc": nnpfc}
        if args.uri:
            entry["uri"] = args.uri
        elif args.base.endswith(spec.ONNX_SUFFIX) and not (args.decoder and DECODERS[args.decoder].uri_prefix):
            entry["uri"] = _uri_from(args.base, args.output)
    updates = []
    for i, update in enumerate(args.update):
        payload, at, pictures = update.rpartition("@")
        if not at:
            raise UsageError(f"--update {update}: give MODEL@PICTURES, as in fitted.nnc@poc:8")
        _check_pictures("--update", pictures)
        updates.append({"payload": payload, "at": pictures})
        labels[("filters", 0, "updates", i)] = labels[("filters", 0, "updates", i, "payload")] = f"--update {update}"
    entry["updates"] = updates
    if args.activate == "update" and not updates:
        raise UsageError("--activate update: there is no --update")
    if args.activate == "none" and (nnpfa or args.activate_at):
        raise UsageError("--activate none: there is no activation to set or to place")
    activations: list[dict[str, object]] = []
    if args.activate != "none":
        # What is there is activated: without --base, the stream has it, or nobody.
        of_base = int(args.activate == "base" or (args.activate is None and not (updates and args.activate_at)))
        activations.append({"target": nnpfc_id, "nnpfa": {"nnpfa_target_base_flag": of_base, **nnpfa}})
        if args.activate_at is not None:
            _check_pictures("--activate-at", args.activate_at)
            activations[0]["at"] = args.activate_at
        elif args.activate is None:
            # See `_following`.
            of_update = {"nnpfa_target_base_flag": 0, **nnpfa}
            activations += [{"target": nnpfc_id, "nnpfa": of_update, "at": update["at"]} for update in updates]
    data = {"filters": [entry], "activations": activations}
    labels |= {("activations", i): "--activate" for i in range(len(activations))}
    labels |= {("activations", i, "nnpfa"): "--set " for i in range(len(activations))}
    if not 0 <= nnpfc_id < 2**32 - 1:
        raise UsageError(f"--id {nnpfc_id}: must be 0..{2**32 - 2}")
    # By construction it conforms to the schema; loading what checks that takes longer than most streams.
    return spec.Spec(data, None, Path(), labels=labels)


def _check_pictures(option: str, pictures: str) -> None:
    try:
        selection.parse(pictures)
    except VseiError as error:
        raise UsageError(f"{option}: {error}") from None


def _elements(settings: Sequence[str]) -> tuple[dict[str, object], dict[str, object]]:
    """--set ELEMENT=VALUE, sorted by message."""
    nnpfc: dict[str, object] = {}
    nnpfa: dict[str, object] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.startswith(("nnpfc_", "nnpfa_")):
            raise UsageError(
                f"--set {setting}: give ELEMENT=VALUE with the standard's name, as in nnpfc_padding_type=1"
            )
        (nnpfc if name.startswith("nnpfc_") else nnpfa)[name] = _value(value)
    return nnpfc, nnpfa


_NUMBER = re.compile(r"-?[0-9]{1,20}")


def _value(text: str) -> object:
    if _NUMBER.fullmatch(text):
        return int(text)
    parts = [part.strip() for part in text.split(",")]
    return [int(part) for part in parts] if all(map(_NUMBER.fullmatch, parts)) else text


def _uri_from(model: str, output: str | None) -> str:
    """How the stream names the model: by its path from the folder of the stream, which is where `apply` looks."""
    from nnpf import spec

    folder = Path(output).parent if output not in (None, PIPE) else Path()
    try:
        path = Path(model).resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        # The model lies elsewhere: only its name is sent; `apply` is told where with --model-root or --model-map.
        path = Path(model).name
    return spec.local_uri(path)


# --- the plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done. `decided`: the pictures of each placement, where NAL unit types do not tell them."""

    codec: Codec
    placements: Sequence[Placement]
    decided: Sequence[frozenset[int]] | None
    taken: Sequence[Taken]
    stripped: int | None  # NAL units that the stream should have before `taken` is put back
    on_existing: OnExisting


def _plan(args: argparse.Namespace, given: Spec, source: Source, report: _Report) -> _Plan:
    from nnpf import spec

    codec = source.codec
    decoder = _decoder(args.decoder, codec)
    wanted = given.data.get("codec", codec.value)
    if wanted != codec.value:
        raise given.error(["codec"], f"{wanted}, the stream is {codec.value}")
    report.wary_of = decoder.version if decoder is not None else None
    report.rate = args.fps or frame_rate(split([source.head]), codec)
    target = spec.Target(
        codec=codec, picture=_picture_format(source), decoder=decoder, checked=not args.no_check, note=report.note
    )
    on_existing = args.on_existing or given.data.get("on_existing", "error")
    placements = spec.placements(given, codec, target)
    taken = spec.taken(given, codec)
    stripped = given.data.get("stripped_stream", {}).get("nal_units")
    decided: Sequence[frozenset[int]] | None = None
    if decoder is not None or any(p.pictures.needs_headers for p in placements):
        source.keep()
        decided = edit.pictures_of_stream(source.nal_units, codec, [p.pictures for p in placements])
        for placement, indices in zip(placements, decided, strict=True):
            if not indices:
                raise VseiError(f"the stream has no picture {placement.pictures}")
    if args.update and args.activate is None and args.activate_at is None and decided is not None:
        decided = _following(source, decided)
    if decoder is not None and decided is not None:
        from vsei.arranging import arrange

        starts = [group.start for group in groups(source.nal_units(), codec) if group.start is not None]
        decided = arrange(placements, decided, starts, decoder)
        # The arrangement has dealt with it: what it adds may lie beyond.
        placements = [replace(p, clvs=None) for p in placements]
    plan = _Plan(codec, placements, decided, taken, stripped, on_existing)
    if not args.no_check and placements:
        _check(source, plan, target)
    return plan


def _following(source: Source, decided: Sequence[frozenset[int]]) -> Sequence[frozenset[int]]:
    """The default of --activate: the base, then updates. The last placements are the updates, and the activations."""
    from vsei.arranging import follow_updates, orders

    count = (len(decided) - 1) // 2
    before, updates, base = decided[: -2 * count - 1], decided[-2 * count - 1 : -count - 1], decided[-count - 1]
    left, found = follow_updates(base, updates, orders(source.nal_units(), source.codec))
    return [*before, *updates, left, *found]


def _decoder(name: str | None, codec: Codec) -> Decoder | None:
    if name is None:
        return None
    from vsei.rules import DECODERS

    if codec is not Codec.VVC:
        raise UsageError(f"{DECODERS[name].version} decodes {Codec.VVC.standard}, the stream is {codec.standard}")
    return DECODERS[name]


def _picture_format(source: Source) -> PictureFormat | None:
    """The format of the first picture, where its headers can be read."""
    units = picture_units(split([source.head]), source.codec)
    return next((unit.picture.format for unit in units if unit.picture is not None), None)


def _check(source: Source, plan: _Plan, target: Target) -> None:
    """VseiError where messages that go in break a rule in the stream.

    A stream that can be read again is checked as it will be written; of a pipe only its head, before it is written.
    """
    from vsei.listing import nal_units_of
    from vsei.rules import Level, check

    def units() -> Iterator[NalUnit]:
        pictures = 0
        whole = source.nal_units() if source.size is not None else split([source.head])
        for group in groups(whole, plan.codec):
            pictures += group.start is not None
            if target.decoder is None and pictures > CHECKED_PICTURES:
                return
            yield from (unit.nal for unit in group.units)

    put_in: set[int] = set()  # NAL units

    def marked() -> Iterator[NalUnit]:
        coming: list[Inserted] = []
        edited = _edited(units(), replace(plan, taken=()), coming.append)
        for index, unit in enumerate(edited):
            if coming:
                put_in.add(index)
                coming.clear()
            yield unit

    for finding in check(nal_units_of(marked(), plan.codec), plan.codec, decoder=target.decoder):
        if finding.picture is None or finding.nal_index not in put_in:
            continue
        element = f"{finding.element}: " if finding.element else ""
        text = f"{finding.name or 'NAL unit'} at picture {finding.picture.decode_index}: {element}{finding.message}"
        if finding.rule.level is Level.VIOLATION:
            raise VseiError(f"{text} ({finding.rule.name}, {finding.rule.clause}; --no-check writes it all the same)")
        target.note(text, finding.rule)


# --- the edit --------------------------------------------------------------------------------------------------------


class _Nowhere:
    """Where a dry run writes."""

    def write(self, data: bytes) -> int:
        return len(data)


def _edit(source: Source, plan: _Plan, out: BinaryIO, report: _Report, bar: Progress) -> None:
    if plan.taken or plan.on_existing == "replace" or any(p.suffix for p in plan.placements):
        report.bytes_out = write_units(out, _edited(source.nal_units(bar), plan, report.tell, report.see))
        report.bytes_in = bar.count
        report.put_back(plan.taken)
        _check_placed(plan, report)
        return
    result = splice(
        source.rest(),
        out,
        plan.codec,
        plan.placements,
        plan.decided,
        keep_existing=plan.on_existing == "keep",
        tell=report.tell,
        count=report.counts,
        advance=bar.advance,
        head=source.head,
    )
    report.bytes_in, report.bytes_out, report.pictures = result.bytes_in, result.bytes_out, result.pictures or 0
    _check_placed(plan, report)


def _check_placed(plan: _Plan, report: _Report) -> None:
    """VseiError where a message has found no picture."""
    for placement in plan.placements if plan.decided is None else ():
        if id(placement.message) not in report.placed:
            raise VseiError(f"the stream has no picture {placement.pictures}")


def _edited(
    units: Iterable[NalUnit],
    plan: _Plan,
    tell: edit.Tell | None = None,
    see: edit.See | None = None,
) -> Iterator[NalUnit]:
    """The NAL units of the stream with the messages in."""
    codec = plan.codec
    if plan.taken:
        # What stands there already is dealt with first: places are counted without it.
        units = restore(
            _counted(edit.inject(units, codec, [], None, plan.on_existing), plan.stripped), codec, plan.taken
        )
        return edit.inject(units, codec, plan.placements, plan.decided, "keep", tell, see)
    return edit.inject(units, codec, plan.placements, plan.decided, plan.on_existing, tell, see)


def _counted(units: Iterable[NalUnit], expected: int | None) -> Iterator[NalUnit]:
    """VseiError where the stream is not the one that the places are counted in."""
    count = 0
    for unit in units:
        count += 1
        yield unit
    if expected is not None and count != expected:
        raise VseiError(
            f"{count} NAL units; the stream that the messages were taken out of has {expected} without them"
        )


# --- the report ------------------------------------------------------------------------------------------------------


class _Report:
    """What was put in where, and what it costs. Lines wait in a file until all is done: there may be very many."""

    def __init__(self, args: argparse.Namespace, lines: IO[str]) -> None:
        self._args, self._spool = args, lines
        self._noted: set[str] = set()
        self.wary_of: str | None = None
        self.placed: set[int] = set()  # id() of messages
        self.rate: Fraction | None = None
        self.messages = self.restored = self.pictures = 0
        self.bytes_in = self.bytes_out = 0

    @property
    def counts(self) -> bool:
        """Whether pictures are to be counted: nothing needs it that is not shown."""
        return not self._args.quiet or self._args.json or self._args.dry_run or self._args.verbose

    def note(self, text: str, rule: Rule | None = None) -> None:
        """What a user should know. Of what rules warn of, each once: what a decoder needs that was asked for, and with
        -v the rest."""
        asked_for = rule is None or self._args.verbose or rule.clause == self.wary_of
        if asked_for and not self._args.quiet and (rule.name if rule else text) not in self._noted:
            self._noted.add(rule.name if rule else text)
            print(f"nnpf: {text}" + (f" ({rule.name})" if rule else ""), file=sys.stderr)

    def see(self, start: PictureStart) -> None:
        self.pictures += 1

    def tell(self, inserted: Inserted) -> None:
        args, start, message = self._args, inserted.start, inserted.message
        self.messages += 1
        self.placed.add(id(message))
        if not (args.json or args.dry_run or args.verbose):
            return
        name, size = payload_name(message.payload_type), len(message.payload)
        if args.json:
            entry = {
                "decode_index": start.decode_index,
                "clvs": start.clvs,
                "layer_id": start.layer_id,
                "payload_type": message.payload_type,
                "name": name,
                "size": size,
            }
            self._spool.write(("" if self.messages == 1 else ", ") + json.dumps(entry))
        else:
            self._spool.write(f"picture {start.decode_index} (CLVS {start.clvs}): {name}, {size} bytes\n")

    def put_back(self, taken: Sequence[Taken]) -> None:
        self.restored = len(taken)
        self.messages += sum(len(part.payload_types) for part in taken)

    def show(self) -> None:
        args = self._args
        # Where the stream itself goes to standard output, the report can't.
        out = sys.stderr if args.output == PIPE and not args.dry_run else sys.stdout
        self._spool.seek(0)
        if args.json:
            rates = [self._bit_rate(size) for size in (self.bytes_in, self.bytes_out)]
            head = {
                "bytes_in": self.bytes_in,
                "bytes_out": self.bytes_out,
                "bytes_added": self.bytes_out - self.bytes_in,
                "nal_units_restored": self.restored,
                "pictures": self.pictures,
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
            print(self._summary(), file=out if args.dry_run else sys.stderr)

    def _bit_rate(self, size: int) -> float | None:
        """Bits per second"""
        return float(8 * size * self.rate / self.pictures) if self.rate is not None and self.pictures else None

    def _summary(self) -> str:
        added = self.bytes_out - self.bytes_in
        share = f" ({100 * added / self.bytes_in:+.2f} %)" if self.bytes_in else ""
        text = f"{'would add' if self._args.dry_run else 'added'} {self.messages} messages, {added} bytes{share}"
        before, after = self._bit_rate(self.bytes_in), self._bit_rate(self.bytes_out)
        if self.rate is not None and before is not None and after is not None:
            fps = f"{float(self.rate):.6g} pictures per second"
            return f"{text}; {before / 1000:.1f} -> {after / 1000:.1f} kbit/s at {fps}"
        if self.pictures:
            return f"{text}, {added / self.pictures:.1f} bytes per picture (--fps gives bit rates)"
        return text


def _copy(spool: IO[str], out: IO[str]) -> None:
    for piece in iter(lambda: spool.read(1 << 16), ""):
        out.write(piece)
