"""SEI put into a stream and taken out of it. Nothing else of the stream changes by a bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vsei import sei
from vsei.annexb import NalUnit
from vsei.grouping import Group, PictureStart, Unit, groups
from vsei.nal import Avc, Codec, Hevc, NalHeader, Vvc, is_sei, sei_types
from vsei.sei import SeiMessage

# An inserted NAL unit may become the first of its access unit, which needs the zero_byte (B.2.2); and with it the
# trailing zeros of the unit before stay that unit's, so that taking it out again gives back every byte.
LONG_START_CODE = b"\0\0\0\1"

# What stands in front of prefix SEI in an access unit (H.266 7.4.2.4.4 and its like).
_BEFORE_SEI = {
    Codec.VVC: (Vvc.AUD, Vvc.OPI, Vvc.DCI, Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_SEI),
    Codec.HEVC: (Hevc.AUD, Hevc.VPS, Hevc.SPS, Hevc.PPS, Hevc.PREFIX_SEI),
    Codec.AVC: (Avc.AUD, Avc.SPS, Avc.SPS_EXT, Avc.SUBSET_SPS, Avc.PPS, Avc.SEI),
}

Plan = Callable[[PictureStart], Sequence[SeiMessage]]


def insert(nal_units: Iterable[NalUnit], codec: Codec, plan: Plan) -> Iterator[NalUnit]:
    """The stream with the prefix SEI messages that `plan` gives for each picture, one NAL unit for each message.

    They stand after the parameter sets and SEI that the picture unit has in front of its first slice (or picture
    header), with the layer and temporal id of the picture.
    """
    for group in groups(nal_units, codec):
        messages = plan(group.start) if group.start is not None else ()
        if not messages or group.start is None:
            yield from (unit.nal for unit in group.units)
            continue
        at = _place(group, codec)
        yield from (unit.nal for unit in group.units[:at])
        header = NalHeader(codec, sei_types(codec)[0], group.start.layer_id, group.start.temporal_id)
        offset = group.units[at].nal.offset
        for message in messages:
            data = sei.build(header, [message])
            yield NalUnit(offset, LONG_START_CODE, memoryview(data), 0)
        yield from (unit.nal for unit in group.units[at:])


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
