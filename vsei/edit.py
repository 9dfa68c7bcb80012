"""SEI put into a stream and taken out of it. Nothing else of the stream changes by a bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from vsei import sei
from vsei.annexb import START_CODE, NalUnit
from vsei.errors import VseiError
from vsei.grouping import Group, PictureStart, Unit, groups
from vsei.leading import NotSimple, first_leading
from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.nal import Codec, NalHeader, is_sei, is_vcl, sei_types
from vsei.nested import any_message, without
from vsei.outline import BEFORE_SEI
from vsei.pictures import Picture, picture_units, with_output_index
from vsei.restoring import Taken, TakenMessage, TakenPart, TakenUnit, rebuilt, with_messages
from vsei.sei import TRAILING_BITS, SeiMessage, SeiNalUnit
from vsei.selection import Selection

LONG_START_CODE = b"\0" + START_CODE

NNPF_TYPES = frozenset((NnpfCharacteristics.PAYLOAD_TYPE, NnpfActivation.PAYLOAD_TYPE))
OnExisting = Literal["error", "replace", "keep"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One message and the pictures that get it.

    Attributes:
        suffix: it goes behind the slices, in a suffix SEI NAL unit (H.264 has none: there the type is the same).
        clvs: only in this CLVS (0-based).
    """

    pictures: Selection
    message: SeiMessage
    suffix: bool = False
    clvs: int | None = None


@dataclass(frozen=True, slots=True)
class Inserted:
    """A message as it was put in."""

    start: PictureStart
    message: SeiMessage


Tell = Callable[[Inserted], None]
See = Callable[[PictureStart], None]


def inject(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    placements: Sequence[Placement],
    decided: Sequence[frozenset[int]] | None = None,
    on_existing: OnExisting = "error",
    tell: Tell | None = None,
    see: See | None = None,
) -> Iterator[NalUnit]:
    """The stream with SEI messages put in, one NAL unit for each, in the order of `placements`.

    Prefix SEI stands after the parameter sets and SEI that the picture unit has in front of its first slice (or picture
    header), suffix SEI after its last slice; with the layer and temporal id of the picture. A start code is as long as
    that of the NAL unit behind it: the first of an access unit needs the zero_byte (B.2.2), and with it the trailing
    zeros of the NAL unit before stay that one's. `vsei.splicing` does the same with files, and is much faster.

    Args:
        decided: the decode indices of each placement's pictures, from `decide`. Wanted where a selection needs picture
            headers (POC, output order).
        on_existing: what becomes of the NNPFC and NNPFA messages that the stream has already.
        tell: called for each message put in, just before its NAL unit is given.
        see: called for each picture.

    Raises:
        VseiError: there are such messages, and `on_existing` is "error".
    """
    if on_existing == "replace":
        nal_units = strip(nal_units, codec, lambda _, message: message.payload_type in NNPF_TYPES)
    for group in groups(nal_units, codec):
        if on_existing == "error":
            for unit in group.units:
                if unit.header is not None and is_sei(codec, unit.header.nal_unit_type):
                    refuse_existing(unit.header, unit.nal.data, unit.nal.offset)
        start = group.start
        if start is not None and see is not None:
            see(start)
        wanted = wanted_at(start, placements, decided) if start is not None else []
        if start is None or not wanted:
            yield from (unit.nal for unit in group.units)
            continue
        in_front = [p for p in wanted if not p.suffix]
        behind = [p for p in wanted if p.suffix]
        at, at_end = place(group, codec), _place_of_suffix(group, codec)
        yield from (unit.nal for unit in group.units[:at])
        nal = group.units[at].nal
        prefix, start_code = nal.prefix, nal.prefix[-start_code_size(nal) :]
        for placement in in_front:
            if tell is not None:
                tell(Inserted(start, placement.message))
            yield NalUnit(nal.offset, prefix, memoryview(nal_unit_of(placement, codec, start)), 0)
            prefix = start_code  # what leads the stream stays in front
        yield nal._replace(prefix=prefix)
        yield from (unit.nal for unit in group.units[at + 1 : at_end])
        last = group.units[at_end - 1].nal
        for placement in behind:
            if tell is not None:
                tell(Inserted(start, placement.message))
            yield NalUnit(last.offset, LONG_START_CODE, memoryview(nal_unit_of(placement, codec, start)), 0)
        yield from (unit.nal for unit in group.units[at_end:])


def nal_unit_of(placement: Placement, codec: Codec, start: PictureStart) -> bytes:
    """The SEI NAL unit that brings a message to a picture."""
    kind = sei_types(codec)[-1 if placement.suffix else 0]
    return sei.build(NalHeader(codec, kind, start.layer_id, start.temporal_id), [placement.message])


def start_code_size(nal: NalUnit) -> int:
    """3 or 4 bytes."""
    return len(LONG_START_CODE) if nal.prefix.endswith(LONG_START_CODE) else len(START_CODE)


def pictures_of(nal_units: Iterable[NalUnit], codec: Codec, selections: Sequence[Selection]) -> list[frozenset[int]]:
    """For each selection the decode indices of its pictures: picture headers are read, so any selection works."""
    chosen: list[set[int]] = [set() for _ in selections]
    # Of each layer the random access picture, and of those output before it the first one, with its output index.
    leading: dict[int, tuple[Picture, tuple[Picture, int] | None]] = {}

    def choose(picture: Picture, output_index: int | None, *, leads: bool = False) -> None:
        for indices, selection in zip(chosen, selections, strict=True):
            if selection.picks(picture.start, picture.poc, output_index, leads=leads):
                indices.add(picture.decode_index)

    pictures = (unit.picture for unit in picture_units(nal_units, codec))
    for output_index, picture in with_output_index(pictures, lambda p: p):
        if picture is None:
            continue
        choose(picture, output_index)
        after, first = leading.get(picture.layer_id, (None, None))
        if picture.random_access or after is None:
            if first is not None:
                choose(*first, leads=True)
            leading[picture.layer_id] = picture, None
        elif output_index is not None and picture.poc < min(after.poc, first[0].poc if first else after.poc):
            leading[picture.layer_id] = after, (picture, output_index)
    for _, first in leading.values():
        if first is not None:
            choose(*first, leads=True)
    return [frozenset(indices) for indices in chosen]


def pictures_of_stream(
    read: Callable[[], Iterable[NalUnit]], codec: Codec, selections: Sequence[Selection]
) -> list[frozenset[int]]:
    """As `pictures_of`, the quick way where there is one.

    Args:
        read: gives the NAL units of the stream, from its start; called more than once.
    """
    simple = (not s.after if s.kind == "segments" else not s.needs_headers for s in selections)
    if codec is Codec.VVC and all(simple):
        chosen: list[set[int]] = [set() for _ in selections]

        def see(start: PictureStart) -> None:
            for indices, selection in zip(chosen, selections, strict=True):
                if selection.picks(start):
                    indices.add(start.decode_index)

        with suppress(NotSimple):
            first = first_leading(read(), see)
            return [
                frozenset(indices) | (first if selection.kind == "segments" else frozenset())
                for indices, selection in zip(chosen, selections, strict=True)
            ]
    return pictures_of(read(), codec, selections)


def decide(nal_units: Iterable[NalUnit], codec: Codec, placements: Sequence[Placement]) -> list[frozenset[int]]:
    """For each placement the decode indices of its pictures, whatever it is that selects them."""
    return pictures_of(nal_units, codec, [p.pictures for p in placements])


def wanted_at(
    start: PictureStart, placements: Sequence[Placement], decided: Sequence[frozenset[int]] | None
) -> list[Placement]:
    """The placements that a picture is among."""
    if decided is None:
        found = [p for p in placements if p.pictures.picks(start)]
    else:
        found = [p for p, indices in zip(placements, decided, strict=True) if start.decode_index in indices]
    return [p for p in found if p.clvs is None or p.clvs == start.clvs]


def refuse_existing(header: NalHeader, data: bytes | memoryview, offset: int) -> None:
    """VseiError where an SEI NAL unit holds NNPFC or NNPFA messages. `offset`: in the stream."""

    def is_nnpf(message: SeiMessage) -> bool:
        return message.payload_type in NNPF_TYPES

    if any(any_message(m, header.codec, is_nnpf) for m in sei.parse(header, data).messages):
        problem = "the stream has NNPF messages already (--on-existing replace, or keep)"
        raise VseiError(problem, offset=offset)


def place(group: Group, codec: Codec) -> int:
    """Where in the group inserted prefix SEI goes."""
    before = BEFORE_SEI[codec]
    at = 0
    for i, unit in enumerate(group.units[: group.first_vcl]):
        if unit.header is not None and unit.header.nal_unit_type in before:
            at = i + 1
    return at


def _place_of_suffix(group: Group, codec: Codec) -> int:
    """Where in the group inserted suffix SEI goes: after the last slice."""
    return 1 + max(
        (i for i, unit in enumerate(group.units) if unit.header and is_vcl(codec, unit.header.nal_unit_type)),
        default=group.first_vcl,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where an SEI message stands."""

    unit: Unit
    start: PictureStart | None  # the picture unit it is in, None at the end of the stream without a picture
    message_index: int  # in its NAL unit; of messages inside a message, that of the outermost


Unwanted = Callable[[Place, SeiMessage], bool]


def strip(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    unwanted: Unwanted,
    tell: Callable[[Place, Taken], None] | None = None,
) -> Iterator[NalUnit]:
    """The stream without the SEI messages that `unwanted` picks, also those inside nesting messages.

    Other messages of the same NAL unit stay as they are; a NAL unit (or nesting message) left without any goes. What
    cannot be parsed stays.

    Args:
        tell: called for each NAL unit that something is taken out of, with what it takes to put it back
            (`vsei.restoring.restore`); the place is that of the first message that went.
    """
    index = 0  # of the next NAL unit of the stripped stream
    zeros = 0  # after the last one that stayed
    lead = b""  # leads the stream; goes to the first that stays
    for group in groups(nal_units, codec):
        gone: list[tuple[Place, TakenUnit]] = []  # since the last that stayed
        for i, unit in enumerate(group.units):
            header, nal = unit.header, unit.nal
            kept, part = nal, None
            lead += nal.prefix[: -start_code_size(nal)]
            if header is not None and is_sei(codec, header.nal_unit_type):
                parsed = sei.parse(header, nal.data)
                new = _thinned(unit, group, codec, parsed, unwanted)
                changed = next(
                    (k for k, (a, b) in enumerate(zip(new, parsed.messages, strict=True)) if a is not b), None
                )
                left = [m for m in new if m is not None]
                if changed is not None and not left and parsed.tail.rstrip(b"\0") == TRAILING_BITS:
                    gap = len(lead) if index == 0 else zeros
                    gone.append((Place(unit, group.start, changed), _unit_taken(nal, header, parsed, index, gap)))
                    zeros = 0
                    continue
                if changed is not None:
                    kept = nal._replace(data=memoryview(rebuilt(nal.data, header, left, parsed.tail)))
                    part = Place(unit, group.start, changed), _part_taken(nal, kept, codec, parsed, new, index)
            start_code = kept.prefix[-start_code_size(kept) :]
            if gone and i == len(gone) and gone[0][1].start_code > len(start_code):
                # It is the first NAL unit of the picture unit now, so it inherits its zero_byte (B.2.2).
                start_code = LONG_START_CODE
                gone[0] = gone[0][0], replace(gone[0][1], zero_byte_stays=True)
            _tell_all(gone, tell)
            if part is not None and tell is not None:
                tell(*part)
            yield kept._replace(prefix=lead + start_code)
            gone, lead, zeros, index = [], b"", nal.zeros, index + 1
        _tell_all(gone, tell)


def _tell_all(gone: Sequence[tuple[Place, TakenUnit]], tell: Callable[[Place, Taken], None] | None) -> None:
    if tell is not None:
        for place, taken in gone:
            tell(place, taken)


def _thinned(unit: Unit, group: Group, codec: Codec, parsed: SeiNalUnit, unwanted: Unwanted) -> list[SeiMessage | None]:
    """What is left of each message."""
    return [
        without(message, codec, lambda m, place=Place(unit, group.start, i): unwanted(place, m))  # type: ignore[misc]
        for i, message in enumerate(parsed.messages)
    ]


def _unit_taken(nal: NalUnit, header: NalHeader, parsed: SeiNalUnit, before: int, gap: int) -> TakenUnit:
    taken = TakenUnit(before, header, parsed.messages, parsed.tail, start_code_size(nal), nal.zeros, gap)
    return taken if taken.nal_unit() == nal.data else replace(taken, raw=bytes(nal.data))


def _part_taken(
    nal: NalUnit, kept: NalUnit, codec: Codec, parsed: SeiNalUnit, new: Sequence[SeiMessage | None], index: int
) -> TakenPart:
    taken = TakenPart(
        index,
        tuple(
            TakenMessage(i, before, replaces=after is not None)
            for i, (before, after) in enumerate(zip(parsed.messages, new, strict=True))
            if after is not before
        ),
    )
    return taken if with_messages(kept.data, codec, taken) == nal.data else replace(taken, raw=bytes(nal.data))


def sei_units(nal_units: Iterable[NalUnit], codec: Codec) -> Iterator[tuple[Group, Unit, SeiNalUnit]]:
    """All SEI NAL units of a stream, parsed, with the picture unit that each belongs to."""
    for group in groups(nal_units, codec):
        for unit in group.units:
            if unit.header is not None and is_sei(codec, unit.header.nal_unit_type):
                yield group, unit, sei.parse(unit.header, unit.nal.data)
