"""SEI put into a stream and taken out of it. Nothing else of the stream changes by a bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vsei import sei
from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.grouping import Group, PictureStart, Unit, groups
from vsei.nal import Avc, Codec, Hevc, NalHeader, Vvc, is_sei, sei_types
from vsei.pictures import Picture, picture_units, with_output_index
from vsei.sei import SeiMessage
from vsei.selection import Selection

# An inserted NAL unit may become the first of its access unit, which needs the zero_byte (B.2.2); and with it the
# trailing zeros of the unit before stay that unit's, so that taking it out again gives back every byte.
LONG_START_CODE = b"\0\0\0\1"

# What stands in front of prefix SEI in an access unit (H.266 7.4.2.4.4 and its like).
_BEFORE_SEI = {
    Codec.VVC: (Vvc.AUD, Vvc.OPI, Vvc.DCI, Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_SEI),
    Codec.HEVC: (Hevc.AUD, Hevc.VPS, Hevc.SPS, Hevc.PPS, Hevc.PREFIX_SEI),
    Codec.AVC: (Avc.AUD, Avc.SPS, Avc.SPS_EXT, Avc.SUBSET_SPS, Avc.PPS, Avc.SEI),
}

NNPF_TYPES = frozenset((210, 211))
OnExisting = Literal["error", "replace", "keep"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One message and the pictures that get it."""

    pictures: Selection
    message: SeiMessage


@dataclass(frozen=True, slots=True)
class Inserted:
    """A message as it was put in."""

    start: PictureStart
    message: SeiMessage


def inject(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    placements: Sequence[Placement],
    decided: Sequence[frozenset[int]] | None = None,
    on_existing: OnExisting = "error",
    tell: Callable[[Inserted], None] | None = None,
) -> Iterator[NalUnit]:
    """The stream with prefix SEI messages put in, one NAL unit for each, in the order of `placements`.

    They stand after the parameter sets and SEI that the picture unit has in front of its first slice (or picture
    header), with the layer and temporal id of the picture.

    Args:
        decided: the decode indices of each placement's pictures, from `decide`. Wanted where a selection needs picture
            headers (POC, output order).
        on_existing: what becomes of the NNPFC and NNPFA messages that the stream has already.
        tell: called for each message put in.

    Raises:
        VseiError: there are such messages, and `on_existing` is "error".
    """
    if on_existing != "keep":
        nal_units = strip(nal_units, codec, lambda place, message: _existing(place, message, on_existing))
    for group in groups(nal_units, codec):
        start = group.start
        wanted = _wanted(start, placements, decided) if start is not None else []
        if start is None or not wanted:
            yield from (unit.nal for unit in group.units)
            continue
        at = _place(group, codec)
        yield from (unit.nal for unit in group.units[:at])
        header = NalHeader(codec, sei_types(codec)[0], start.layer_id, start.temporal_id)
        for message in wanted:
            if tell is not None:
                tell(Inserted(start, message))
            data = memoryview(sei.build(header, [message]))
            yield NalUnit(group.units[at].nal.offset, LONG_START_CODE, data, 0)
        yield from (unit.nal for unit in group.units[at:])


def decide(nal_units: Iterable[NalUnit], codec: Codec, placements: Sequence[Placement]) -> list[frozenset[int]]:
    """For each placement the decode indices of its pictures: picture headers are read, so any selection works."""
    chosen: list[set[int]] = [set() for _ in placements]
    leading: dict[int, tuple[Picture, Picture | None]] = {}  # layer -> random access picture, first output before it

    def choose(picture: Picture, output_index: int | None, *, leads: bool = False) -> None:
        for indices, placement in zip(chosen, placements, strict=True):
            if placement.pictures.picks(picture.start, picture.poc, output_index, leads=leads):
                indices.add(picture.decode_index)

    pictures = (unit.picture for unit in picture_units(nal_units, codec))
    for output_index, picture in with_output_index(pictures, lambda p: p):
        if picture is None:
            continue
        choose(picture, output_index)
        after, first = leading.get(picture.layer_id, (None, None))
        if picture.random_access or after is None:
            if first is not None:
                choose(first, None, leads=True)
            leading[picture.layer_id] = picture, None
        elif output_index is not None and picture.poc < min(after.poc, first.poc if first else after.poc):
            leading[picture.layer_id] = after, picture
    for _, first in leading.values():
        if first is not None:
            choose(first, None, leads=True)
    return [frozenset(indices) for indices in chosen]


def _wanted(
    start: PictureStart, placements: Sequence[Placement], decided: Sequence[frozenset[int]] | None
) -> list[SeiMessage]:
    if decided is None:
        return [p.message for p in placements if p.pictures.picks(start)]
    return [p.message for p, indices in zip(placements, decided, strict=True) if start.decode_index in indices]


def _existing(place: Place, message: SeiMessage, on_existing: OnExisting) -> bool:
    if message.payload_type not in NNPF_TYPES:
        return False
    if on_existing == "error":
        raise VseiError("the stream has NNPF messages already; replace them or keep them", offset=place.unit.nal.offset)
    return True


def _place(group: Group, codec: Codec) -> int:
    """Where in the group inserted prefix SEI goes."""
    before = _BEFORE_SEI[codec]
    at = 0
    for i, unit in enumerate(group.units[: group.first_vcl]):
        if unit.header is not None and unit.header.nal_unit_type in before:
            at = i + 1
    return at


@dataclass(frozen=True, slots=True)
class Place:
    """Where an SEI message stands."""

    unit: Unit
    start: PictureStart | None  # the picture unit it is in, None at the end of the stream without a picture
    message_index: int  # in its NAL unit


Unwanted = Callable[[Place, SeiMessage], bool]


def strip(nal_units: Iterable[NalUnit], codec: Codec, unwanted: Unwanted) -> Iterator[NalUnit]:
    """The stream without the SEI messages that `unwanted` picks.

    Other messages of the same NAL unit stay as they are; a NAL unit left without any goes. SEI NAL units that cannot be
    parsed to their end are left alone.
    """
    for group in groups(nal_units, codec):
        for unit in group.units:
            if unit.header is None or not is_sei(codec, unit.header.nal_unit_type):
                yield unit.nal
                continue
            parsed = sei.parse(unit.header, unit.nal.data)
            kept = [
                message
                for i, message in enumerate(parsed.messages)
                if not unwanted(Place(unit, group.start, i), message)
            ]
            if len(kept) == len(parsed.messages) or parsed.problem is not None:
                yield unit.nal
            elif kept:
                yield unit.nal._replace(data=memoryview(sei.build(unit.header, kept, parsed.tail)))


def sei_units(nal_units: Iterable[NalUnit], codec: Codec) -> Iterator[tuple[Group, Unit, sei.SeiNalUnit]]:
    """All SEI NAL units of a stream, parsed, with the picture unit that each belongs to."""
    for group in groups(nal_units, codec):
        for unit in group.units:
            if unit.header is not None and is_sei(codec, unit.header.nal_unit_type):
                yield group, unit, sei.parse(unit.header, unit.nal.data)
