"""Show the SEI messages of a stream, with the pictures they stand at.

By default the NNPFC and NNPFA messages, element by element; nesting messages that hold one are shown with all that is
in them. PICTURES are written as for `nnpf inject`: poc:8,16-24, output:0-9, decode:5, clvs:1, time:1.5-3,
random_access, first. All indices are 0-based. Of a container, offsets count the bytes of the byte stream (Annex B)
that its NAL units make, those of the decoder configuration record first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnpf.errors import printable
from nnpf_tools import chosen
from nnpf_tools.files import PIPE, Progress, UsageError, add_common, progress
from nnpf_tools.streams import STREAM_HELP, open_source
from vsei import edit, selection
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.listing import Counts, Found, Listed, Wanted, nal_units_of
from vsei.messages import Message, NnpfActivation, NnpfCharacteristics
from vsei.messages.meanings import meaning, purposes
from vsei.messages.nnpf import reserved_value
from vsei.nal import Codec, type_name
from vsei.pictures import Picture
from vsei.source import Source
from vsei.syntax import TraceEntry

if TYPE_CHECKING:
    from nnpf.containers import Origin, Origins, Track

EPILOG = """examples:
  nnpf dump in.266                       NNPFC and NNPFA messages as a tree
  nnpf dump in.266 --summary             one screen
  nnpf dump in.266 --all                 one line for each NAL unit and SEI message
  nnpf dump in.266 --trace --type 210    every element with its bit position
  nnpf dump in.mp4 --picture time:1.5-3  what comes with the pictures that are on screen then
  nnpf dump in.266 --json | jq '.messages[].fields.nnpfc_id'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", help=STREAM_HELP)
    parser.add_argument("--all", action="store_true", help="one line for each NAL unit and SEI message")
    parser.add_argument("--summary", action="store_true", help="one screen for the whole stream")
    parser.add_argument("--trace", action="store_true", help="bit position, length, name and value of each element")
    parser.add_argument(
        "--type",
        metavar="N,...",
        help="payload types to show, by number or name, or all (default: NNPFC and NNPFA; with --all, --trace: all)",
    )
    parser.add_argument("--picture", metavar="PICTURES", help="only messages at these pictures")
    parser.add_argument("--limit", type=int, metavar="N", help="stop after N messages (with --all: NAL units)")
    add_common(parser, json=True)


def run(args: argparse.Namespace) -> int:
    _check_usage(args)
    pictures = _pictures(args.picture)
    with open_source(args) as source, progress(args, source.size, "B", scale=True) as bar:
        types = _types(args, source.codec)
        if pictures is not None and pictures.kind == "time":
            from nnpf.timing import at_times

            (pictures,) = at_times([pictures], source)
        elif pictures is not None and pictures.kind == "segments":
            source.keep()
            (indices,) = edit.pictures_of_stream(source.nal_units, source.codec, [pictures])
            pictures = selection.Selection("decode", tuple((i, i) for i in sorted(indices)))
        choice = _Choice(types, pictures)
        subject, units = _subject(args, source, bar)
        counts = Counts()
        wanted = Wanted(trace=args.trace, headers=args.all or (args.trace and not args.type))
        listed = _counted(nal_units_of(units, subject.codec, wanted), counts)
        if args.summary:
            _summary(args, subject, listed, counts, bar)
        elif args.all and not args.json:
            _all(listed, subject, args, choice)
        else:
            found: Iterator[Found] = (
                f for unit in listed if choice.has(unit) for f in unit.messages if choice.takes(f)
            )
            # JSON says how many pictures the stream has, so that is read to its end.
            found = _limited(found, args.limit, read_on=args.json)
            if args.json:
                _json(found, subject, counts, args, bar)
            elif args.trace:
                _traces(listed, subject, args, choice)
            else:
                _tree(found, subject, counts, args)
    return 0


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is shown.

    Attributes:
        title: its name and what it is.
        origins: where in a container NAL units come from; None of a byte stream.
        container: of the same, for JSON.
    """

    title: str
    codec: Codec
    origins: Origins | None = None
    container: dict[str, Any] | None = None

    def origin(self, offset: int) -> Origin | None:
        """Where the NAL unit at an offset comes from. Offsets must not fall."""
        return None if self.origins is None else self.origins.at(offset)


def _subject(args: argparse.Namespace, source: Source | Track, bar: Progress) -> tuple[_Subject, Iterator[NalUnit]]:
    name = "standard input" if args.stream == PIPE else str(args.stream)
    if isinstance(source, Source):
        return _Subject(f"{name}: {source.codec.standard}", source.codec), source.nal_units(bar)
    from nnpf.containers import Origins

    origins = Origins()
    facts = {"format": source.format.name, "stream": source.index, "time_base": str(source.time_base)}
    title = f"{name}: {source.codec.standard} in {source.format.name}, stream {source.index}"
    return _Subject(title, source.codec, origins, facts), source.nal_units(bar, origins)


def _pictures(text: str | None) -> selection.Selection | None:
    try:
        return selection.parse(text) if text is not None else None
    except VseiError as error:
        raise UsageError(f"--picture: {error}") from None


def _check_usage(args: argparse.Namespace) -> None:
    others = ("all", "trace", "type", "picture", "limit")
    if args.limit is not None and args.limit < 0:
        raise UsageError(f"--limit {args.limit}: at least 0")
    given = [f"--{name}" for name in others if getattr(args, name) not in (None, False)]
    if args.summary and given:
        raise UsageError(f"--summary is of the whole stream: not together with {', '.join(given)}")


def _types(args: argparse.Namespace, codec: Codec) -> frozenset[int] | None:
    """The payload types to show; None for all."""
    if args.type is None and (args.all or args.trace or args.summary):
        return None
    return chosen.payload_types(args.type, codec)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which messages are shown: types, and pictures that they stand at; None: all."""

    types: frozenset[int] | None
    pictures: selection.Selection | None

    def has(self, unit: Listed) -> bool:
        """Whether a NAL unit stands at one of the pictures."""
        return self.pictures is None or (
            unit.picture is not None and self.pictures.picks(unit.picture.start, unit.picture.poc, unit.output_index)
        )

    def takes(self, item: Found) -> bool:
        """Whether a message is of one of the types, or holds one that is."""
        return self.types is None or item.coded.payload_type in self.types or any(map(self.takes, item.inside))


def _flat(found: Iterable[Found]) -> Iterator[Found]:
    """Messages, each followed by those inside it."""
    for item in found:
        yield item
        yield from _flat(item.inside)


def _counted(listed: Iterable[Listed], counts: Counts) -> Iterator[Listed]:
    for unit in listed:
        counts.take(unit)
        yield unit


def _limited(found: Iterable[Found], limit: int | None, *, read_on: bool) -> Iterator[Found]:
    for i, item in enumerate(found):
        if limit is None or i < limit:
            yield item
        elif not read_on:
            return


# --- text ------------------------------------------------------------------------------------------------------------


def _place(subject: _Subject, picture: Picture | None, output_index: int | None, offset: int) -> str:
    """The line that stands over what belongs to a picture."""
    if picture is None:
        return "no picture"
    origin = subject.origin(offset)
    time = f"  {float(origin.seconds):.3f} s" if origin is not None and origin.seconds is not None else ""
    if origin is not None and origin.cut_off:
        time += ", cut off by the edit list"
    codec = subject.codec
    shown = "not output" if output_index is None else f"output {output_index}"
    if picture.second_field:
        shown = "second field"
    header = f"{type_name(codec, picture.nal_unit_type)} T{picture.temporal_id}"
    layer = f" layer {picture.layer_id}" if picture.layer_id else ""
    return f"picture {picture.decode_index}  POC {picture.poc}  {shown}  CLVS {picture.clvs}{time}  {header}{layer}"


def _tree(found: Iterable[Found], subject: _Subject, counts: Counts, args: argparse.Namespace) -> None:
    print(subject.title)
    last: object = _tree  # no picture is equal to it
    number = 0
    for item in found:
        number += 1
        if item.picture != last:
            last = item.picture
            print(_place(subject, item.picture, item.output_index, item.offset))
        _print_message(item, "  ", in_record=_in_record(subject, item))
    if number == 0:
        print("no messages of the kinds asked for" if args.type else "no NNPFC or NNPFA messages")
    if not args.quiet:
        read = " read" if args.limit is not None else ""  # there may be more
        counted = f"{counts.pictures} pictures, {counts.nal_units} NAL units{read}"
        print(f"{counted}, {number} messages shown", file=sys.stderr)


def _in_record(subject: _Subject, item: Found) -> bool:
    origin = subject.origin(item.offset)
    return origin is not None and origin.in_record


def _print_message(item: Found, indent: str, *, in_record: bool = False) -> None:
    place = "decoder configuration record, " if in_record else ""
    place += f"NAL unit {item.nal_index} at {item.offset}, {len(item.coded.payload)} bytes"
    print(f"{indent}{item.name}{_headline(item.message)}  ({place})")
    for problem in item.problems:
        print(f"{indent}  ! {problem}")
    if item.message is None:
        if not item.problems:
            print(f"{indent}  {_hex(item.coded.payload)}")
        return
    if isinstance(item.message, NnpfCharacteristics | NnpfActivation):
        reserved = reserved_value(item.message)
        if reserved is not None:
            print(f"{indent}  ! {reserved[0]} {reserved[1]} is reserved: decoders ignore this message")
    for name, value in item.message.fields().items():
        text = meaning(name, value)
        print(f"{indent}  {name + ':':<50} {_value(value)}" + (f"  ({text})" if text else ""))
    for inner in item.inside:
        _print_message(inner, indent + "  ")


def _headline(message: Message | None) -> str:
    if isinstance(message, NnpfCharacteristics):
        kind = "base" if message.nnpfc_base_flag else "update"
        return f" {message.nnpfc_id}: {kind}, {purposes(message.nnpfc_purpose)}"
    if isinstance(message, NnpfActivation):
        if message.nnpfa_cancel_flag:
            return f" of {message.nnpfa_target_id}: cancel"
        target = "base" if message.nnpfa_target_base_flag else "update"
        return f" of {message.nnpfa_target_id}: {target}" + (", persistent" if message.nnpfa_persistence_flag else "")
    return ""


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()}" if len(value) > 16 else _hex(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return printable(json.dumps(value, ensure_ascii=False)) if isinstance(value, str) else str(value)


def _hex(data: bytes, most: int = 24) -> str:
    return data[:most].hex(" ") + (f" ... ({len(data)} bytes)" if len(data) > most else "")


def _all(listed: Iterable[Listed], subject: _Subject, args: argparse.Namespace, choice: _Choice) -> None:
    print(subject.title)
    headers = _Headers(subject.codec)
    last: object = _all  # no picture is equal to it
    shown = 0
    for unit in listed:
        says = headers.one_line(unit)  # of what is not shown, too: later headers need it
        found = [item for item in unit.messages if choice.takes(item)]
        if not choice.has(unit) or (choice.types is not None and not found):
            continue
        if args.limit is not None and shown >= args.limit:
            return
        shown += 1
        if unit.first_of_picture or unit.picture != last:
            last = unit.picture
            print(_place(subject, unit.picture, unit.output_index, unit.offset))
        name = unit.header.name if unit.header is not None else "?"
        where = f"L{unit.header.layer_id} T{unit.header.temporal_id}" if unit.header is not None else ""
        print(f"  {unit.nal_index:>6} {unit.offset:>10} {unit.size:>8}  {name:<12} {where}  {says}".rstrip())
        if unit.problem is not None:
            print(f"         ! {unit.problem}")
        for item in found:
            _print_line(item, " " * 9)


def _print_line(item: Found, indent: str) -> None:
    kind, size = f"{item.coded.payload_type:>3} {item.name}", len(item.coded.payload)
    print(f"{indent}{kind}{_headline(item.message)}, {size} bytes")
    for problem in item.problems:
        print(f"{indent}    ! {problem}")
    for inner in item.inside:
        _print_line(inner, indent + "    ")


class _Headers:
    """Parameter sets and headers of a stream, as they come."""

    def __init__(self, codec: Codec) -> None:
        from vsei.structures import header_state

        self.state = header_state(codec)

    def trace(self, unit: Listed) -> tuple[str, list[TraceEntry], str | None]:
        """Name, elements and problem of what a NAL unit says."""
        entries: list[TraceEntry] = []
        if unit.header is None or not unit.data or unit.messages:
            return "", entries, None
        try:
            structure = self.state.read(unit.header, unit.data, entries)
        except VseiError as error:
            return "", entries, str(error)
        return (structure.name if structure else ""), entries, None

    def one_line(self, unit: Listed) -> str:
        """The few elements that tell most."""
        _, entries, problem = self.trace(unit)
        shown = [f"{e.element}={e.value!r}" for e in entries if e.element in _TELLING]
        return " ".join(shown) + (f" ! {problem}" if problem else "")


# Elements of parameter sets and headers that one line has room for.
_TELLING = frozenset(
    (
        "vps_video_parameter_set_id",
        "sps_seq_parameter_set_id",
        "sps_chroma_format_idc",
        "sps_bitdepth_minus8",
        "sps_pic_width_max_in_luma_samples",
        "sps_pic_height_max_in_luma_samples",
        "pps_pic_parameter_set_id",
        "pps_seq_parameter_set_id",
        "pps_init_qp_minus26",
        "pps_pic_width_in_luma_samples",
        "pps_pic_height_in_luma_samples",
        "aps_params_type",
        "aps_adaptation_parameter_set_id",
        "aud_pic_type",
        "ph_pic_order_cnt_lsb",
        "ph_qp_delta",
        "sh_slice_type",
        "sh_qp_delta",
        "sh_slice_address",
        "chroma_format_idc",
        "pic_width_in_luma_samples",
        "pic_height_in_luma_samples",
        "bit_depth_luma_minus8",
        "init_qp_minus26",
        "slice_pic_order_cnt_lsb",
        "slice_qp_delta",
        "slice_type",
        "slice_segment_address",
        "seq_parameter_set_id",
        "pic_parameter_set_id",
        "pic_width_in_mbs_minus1",
        "pic_height_in_map_units_minus1",
        "pic_init_qp_minus26",
        "frame_num",
        "pic_order_cnt_lsb",
        "first_mb_in_slice",
    )
)


def _traces(listed: Iterable[Listed], subject: _Subject, args: argparse.Namespace, choice: _Choice) -> None:
    print(subject.title)
    print("bit positions count from the start of the NAL unit, in SEI messages from the start of the payload;")
    print("emulation prevention bytes are left out")
    headers = _Headers(subject.codec)
    shown = 0
    for unit in listed:
        # Headers of what is not shown are read, too: later ones need them.
        name, entries, problem = headers.trace(unit) if args.type is None else ("", [], None)
        if not choice.has(unit):
            continue
        if unit.first_of_picture and (entries or args.type is None):
            print(_place(subject, unit.picture, unit.output_index, unit.offset))
        if entries or problem:
            print(f"NAL unit {unit.nal_index} at {unit.offset}: {unit.header.name if unit.header else '?'} {name}")
            _print_trace(entries, problem)
        for item in unit.messages:
            if not choice.takes(item):
                continue
            if args.limit is not None and shown >= args.limit:
                return
            shown += 1
            print(f"NAL unit {item.nal_index} at {item.offset}: {item.name}, {len(item.coded.payload)} bytes")
            _print_trace(item.trace, "; ".join(item.problems) or None)
            for inner in _flat(item.inside):
                print(f"  inside: {inner.name}, {len(inner.coded.payload)} bytes")
                _print_trace(inner.trace, "; ".join(inner.problems) or None)


def _print_trace(entries: Iterable[TraceEntry], problem: str | None) -> None:
    for entry in entries:
        print(f"  {entry.position:>8} {entry.length:>6}  {entry.element:<52} {_value(entry.value)}")
    if problem:
        print(f"  ! {problem}")


# --- JSON ------------------------------------------------------------------------------------------------------------


def _json(found: Iterable[Found], subject: _Subject, counts: Counts, args: argparse.Namespace, bar: Progress) -> None:
    """One document, written as it comes: memory does not grow with the stream."""
    write = sys.stdout.write
    write('{"messages": [')
    size = 0
    for i, item in enumerate(found):
        write(
            (",\n" if i else "\n")
            + json.dumps(_as_json(item, args.trace, subject.origin(item.offset)), ensure_ascii=False)
        )
        size = i + 1
    stream = {
        "path": None if args.stream == PIPE else args.stream,
        "codec": subject.codec.value,
        "bytes": _bytes(args, bar),
        "pictures": counts.pictures,
    }
    if subject.container is not None:
        stream["container"] = subject.container
    write(("\n" if size else "") + '], "stream": ' + json.dumps(stream) + "}\n")


def _as_json(item: Found, traced: bool, origin: Origin | None = None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "nal_index": item.nal_index,
        "offset": item.offset,
        "nal_type": item.header.nal_unit_type,
        "layer_id": item.header.layer_id,
        "temporal_id": item.header.temporal_id,
        "picture": None,
        "payload_type": item.coded.payload_type,
        "name": item.name,
        "size": len(item.coded.payload),
        "fields": {k: _plain(k, v) for k, v in item.message.fields().items()} if item.message is not None else {},
    }
    if item.picture is not None:
        out["picture"] = {
            "decode_index": item.picture.decode_index,
            "output_index": item.output_index,
            "poc": item.picture.poc,
            "clvs": item.picture.clvs,
        }
        if origin is not None:
            out["picture"]["time"] = None if origin.seconds is None else float(origin.seconds)
            if origin.cut_off:
                out["picture"]["cut_off"] = True
    if origin is not None and origin.in_record:
        out["in_configuration_record"] = True
    kept = _kept_bits(item.message)
    if kept:
        out["kept_bits"] = kept
    if item.problems:
        out["problems"] = list(item.problems)
    if item.inside:
        out["messages"] = [_as_json(inner, traced) for inner in item.inside]
    if traced:
        out["trace"] = [[e.position, e.length, e.element, _plain("", e.value)] for e in item.trace]
    return out


def _kept_bits(message: Message | None) -> dict[str, str]:
    """Bits without a meaning yet, that are written back as they are."""
    names = ("nnpfc_reserved_metadata_extension", "closing")
    return {name: bits for name in names if (bits := getattr(message, name, None))}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        if name.endswith("_payload") or len(value) > 64:
            return {"size": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(name, v) for v in value]
    return value


def _bytes(args: argparse.Namespace, bar: Progress) -> int:
    """Size of the input; of a pipe, also one with a name, what was read of it."""
    is_file = args.stream != PIPE and Path(args.stream).is_file()
    return Path(args.stream).stat().st_size if is_file else bar.count


# --- summary ---------------------------------------------------------------------------------------------------------


def _summary(
    args: argparse.Namespace, subject: _Subject, listed: Iterable[Listed], counts: Counts, bar: Progress
) -> None:
    kinds: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    filters: dict[int, Counter[str]] = {}
    formats: Counter[str] = Counter()
    for unit in listed:
        if unit.first_of_picture and unit.picture is not None:
            f = unit.picture.format
            chroma = ("4:0:0", "4:2:0", "4:2:2", "4:4:4")[f.chroma_format_idc]
            formats[f"{f.width}x{f.height} {chroma} {f.bit_depth_luma} bit"] += 1
        for item in _flat(unit.messages):
            kinds[item.name] += 1
            sizes[item.name] += item.coded.size
            m = item.message
            if isinstance(m, NnpfCharacteristics):
                uses = filters.setdefault(m.nnpfc_id, Counter())
                uses["base" if m.nnpfc_base_flag else "update"] += 1
            elif isinstance(m, NnpfActivation):
                filters.setdefault(m.nnpfa_target_id, Counter())["cancel" if m.nnpfa_cancel_flag else "activation"] += 1
    size = _bytes(args, bar)
    nnpf_bytes = sizes["nnpfc"] + sizes["nnpfa"]
    share = 100 * nnpf_bytes / size if size else 0.0
    data = {
        "path": None if args.stream == PIPE else args.stream,
        "codec": subject.codec.value,
        "bytes": size,
        "nal_units": counts.nal_units,
        "pictures": counts.pictures,
        "output_pictures": counts.output_pictures,
        "formats": dict(formats),
        "clvss": sum(counts.clvss.values()),
        "random_access_points": counts.random_access,
        "messages": {name: {"count": n, "bytes": sizes[name]} for name, n in kinds.items()},
        "filters": {str(i): dict(uses) for i, uses in filters.items()},
        "nnpf_bytes": nnpf_bytes,
        "nnpf_share": share / 100,
    }
    if subject.container is not None:
        data["container"] = subject.container
    if args.json:
        print(json.dumps(data))
        return
    print(f"{subject.title}, {size} bytes, {counts.nal_units} NAL units")
    print(f"pictures       {counts.pictures}, {counts.output_pictures} of them output; " + "; ".join(formats))
    print(f"sequences      {data['clvss']} CLVS, {counts.random_access} random access points")
    for name, count in kinds.most_common():
        print(f"{name:<32} {count:>6} messages {sizes[name]:>10} bytes")
    for i, uses in sorted(filters.items()):
        print(f"filter {i:<8} " + ", ".join(f"{n} {what}{'s' if n > 1 else ''}" for what, n in uses.items()))
    print(f"NNPFC and NNPFA take {nnpf_bytes} bytes, {share:.2f} % of the stream")
