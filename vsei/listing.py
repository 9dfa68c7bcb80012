"""What a stream holds, in order: its SEI messages with their pictures, and every NAL unit with what its headers say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vsei import limits, messages, sei
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.messages import Message
from vsei.nal import Codec, NalHeader, is_sei
from vsei.pictures import Picture, PictureUnit, picture_units, with_output_index
from vsei.sei import SeiMessage
from vsei.syntax import TraceEntry


@dataclass(frozen=True, slots=True)
class Found:
    """An SEI message and where it stands.

    Attributes:
        nal_index: 0-based, over all NAL units of the stream.
        offset: of the NAL unit's start code, in bytes.
        picture: of the picture unit that the NAL unit is in; None at the end of a stream, and where headers are broken.
        output_index: 0-based place of that picture in output order; None where it is not output.
        coded: payload type and bytes.
        message: element by element; None where the type is known by name and bytes only, and where it is broken.
        problems: what is wrong with it, each in one line.
        trace: the elements with their bit positions in the payload, where a trace was asked for.
        inside: the messages that a nesting message holds.
    """

    nal_index: int
    offset: int
    header: NalHeader
    picture: Picture | None
    output_index: int | None
    coded: SeiMessage
    message: Message | None
    problems: tuple[str, ...] = ()
    trace: tuple[TraceEntry, ...] = ()
    inside: tuple[Found, ...] = ()

    @property
    def name(self) -> str:
        return messages.payload_name(self.coded.payload_type, self.header.codec)


@dataclass(frozen=True, slots=True)
class Listed:
    """A NAL unit with its picture, and the SEI messages in it."""

    nal_index: int
    offset: int
    size: int  # bytes of the NAL unit, without start code
    header: NalHeader | None
    picture: Picture | None
    output_index: int | None
    messages: tuple[Found, ...] = ()
    problem: str | None = None
    data: bytes = b""  # of NAL units whose headers are of interest; empty for the others
    first_of_picture: bool = False


@dataclass(slots=True)
class _Unit:
    """What is kept of a picture unit until the place of its picture in output order is known."""

    nal_index: int
    units: list[tuple[int, int, int, NalHeader | None, bytes]]  # index, offset, size, header, data
    picture: Picture | None
    problem: VseiError | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much is read.

    Attributes:
        trace: keep the position of each element.
        headers: keep the bytes of NAL units other than SEI too (`Listed.data`), so that headers can be shown. Slices
            are cut to `slice_bytes`.
    """

    trace: bool = False
    headers: bool = False
    slice_bytes: int = 4096


def nal_units_of(nal_units: Iterable[NalUnit], codec: Codec, wanted: Wanted = Wanted()) -> Iterator[Listed]:
    """Every NAL unit of a stream, in order, with its picture. Memory holds as many pictures as the stream reorders."""
    kept = (_reduced(unit, codec, wanted) for unit in picture_units(nal_units, codec))
    for output_index, unit in with_output_index(kept, lambda u: u.picture):
        for i, (nal_index, offset, size, header, data) in enumerate(unit.units):
            found: tuple[Found, ...] = ()
            problem = str(unit.problem) if unit.problem is not None and i == 0 else None
            if header is None:
                problem = problem or "the NAL unit header is broken"
            elif is_sei(codec, header.nal_unit_type):
                parsed = sei.parse(header, data)
                found = tuple(
                    _found(m, nal_index, offset, header, unit.picture, output_index, wanted.trace, 0)
                    for m in parsed.messages
                )
                if parsed.problem is not None:
                    problem = str(parsed.problem)
            yield Listed(
                nal_index,
                offset,
                size,
                header,
                unit.picture,
                output_index,
                found,
                problem,
                data,
                first_of_picture=i == 0,
            )


def sei_messages(nal_units: Iterable[NalUnit], codec: Codec, *, trace: bool = False) -> Iterator[Found]:
    """The SEI messages of a stream, in order. Messages inside nesting messages are in `inside` of theirs."""
    for listed in nal_units_of(nal_units, codec, Wanted(trace=trace)):
        yield from listed.messages


def _reduced(unit: PictureUnit, codec: Codec, wanted: Wanted) -> _Unit:
    kept = []
    for i, (nal, header) in enumerate(zip(unit.units, unit.headers, strict=True)):
        data = b""
        if header is not None and is_sei(codec, header.nal_unit_type):
            data = bytes(nal.data)
        elif wanted.headers:
            data = bytes(nal.data[: wanted.slice_bytes]) if len(nal.data) > wanted.slice_bytes else bytes(nal.data)
        kept.append((unit.nal_index + i, nal.offset, len(nal.data), header, data))
    return _Unit(unit.nal_index, kept, unit.picture, unit.problem)


def _found(
    coded: SeiMessage,
    nal_index: int,
    offset: int,
    header: NalHeader,
    picture: Picture | None,
    output_index: int | None,
    traced: bool,
    depth: int,
) -> Found:
    entries: list[TraceEntry] | None = [] if traced else None
    problems: list[str] = []
    message: Message | None = None
    inside: tuple[Found, ...] = ()
    try:
        decoded = messages.decode(coded, header.codec, entries)
    except VseiError as error:
        problems.append(str(error))
    else:
        if decoded is not None:
            message = decoded.message
            problems += [f"{o.element}: {o.value}, must be {o.allowed}" for o in decoded.out_of_range]
            if not decoded.exact:
                problems.append("written again, its bytes would differ (fixed bits that have another value)")
    nested: tuple[SeiMessage, ...] = getattr(message, "messages", ())
    if nested and depth >= limits.current().nesting_depth:
        problems.append(f"nested more than {limits.current().nesting_depth} deep (--set-limit nesting_depth=N)")
    elif nested:
        inside = tuple(_found(m, nal_index, offset, header, picture, output_index, traced, depth + 1) for m in nested)
    return Found(
        nal_index, offset, header, picture, output_index, coded, message, tuple(problems), tuple(entries or ()), inside
    )


@dataclass(slots=True)
class Counts:
    """Totals over a stream, filled as it is read."""

    nal_units: int = 0
    pictures: int = 0
    output_pictures: int = 0
    clvss: dict[int, int] = field(default_factory=dict)  # layer -> number
    random_access: int = 0
    sei_bytes: int = 0

    def take(self, listed: Listed) -> None:
        self.nal_units += 1
        self.sei_bytes += sum(m.coded.size for m in listed.messages)
        picture = listed.picture
        if listed.first_of_picture and picture is not None:
            self.pictures += 1
            self.output_pictures += listed.output_index is not None
            self.clvss[picture.layer_id] = max(self.clvss.get(picture.layer_id, 0), picture.clvs + 1)
            self.random_access += picture.random_access
