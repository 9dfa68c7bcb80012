"""Rules on SEI NAL units: headers, closing bits, place in the picture unit."""

from __future__ import annotations

from collections.abc import Iterator

from vsei import sei
from vsei.edit import NNPF_TYPES
from vsei.errors import VseiError
from vsei.listing import Listed
from vsei.nal import Avc, Codec, Hevc, Vvc, is_prefix_sei, is_sei
from vsei.rules.book import STANDARD, Broken, Level
from vsei.rules.context import MessageSeen, NalUnitSeen

HEADER = "H.266 7.4.2.2"
ORDER = "H.266 7.4.2.4.4"
SEI = "H.266 D.2.2"

_ACCESS_UNIT_DELIMITER = {Codec.VVC: Vvc.AUD, Codec.HEVC: Hevc.AUD, Codec.AVC: Avc.AUD}
# Messages whose layer is that of the NAL unit.
_OF_A_LAYER = NNPF_TYPES | {212, 213, 214}
# Messages that may not come more than four times with the same content in a picture unit, as far as they are of
# interest here.
_MAX_REPEATS = 4
_REPEATS_BOUNDED = NNPF_TYPES | {212}


@STANDARD.rule(NalUnitSeen, "nal-header", HEADER, "A NAL unit has a whole header with its fixed bits.")
def header_is_readable(n: NalUnitSeen) -> Iterator[Broken]:
    if n.listed.header is None:
        fault = n.unit.listed[0].problem
        told = fault is not None and _is_at(fault, n.listed)
        yield Broken("nal_unit_header", fault if told and fault else "cut off, or a fixed bit of it is wrong")


@STANDARD.rule(
    NalUnitSeen,
    "picture-headers",
    "H.266 7.3.2",
    "Parameter sets, picture and slice headers can be read; what depends on the picture is not checked otherwise.",
)
def picture_headers_are_readable(n: NalUnitSeen) -> Iterator[Broken]:
    # The first NAL unit of a picture unit carries the fault of all of it.
    fault = n.listed.problem
    if n.position > 0 or fault is None or n.listed.header is None or _sei_problem(n) is not None:
        return
    if not any(other.header is None and _is_at(fault, other) for other in n.unit.listed):
        yield Broken(None, fault)


def _is_at(fault: str, listed: Listed) -> bool:
    """Whether a fault, as text, is that of this NAL unit."""
    return fault.startswith((f"offset {listed.offset}:", f"offset {listed.offset} "))


@STANDARD.rule(NalUnitSeen, "sei-rbsp", "H.266 7.3.6", "An SEI RBSP is whole messages, then rbsp_trailing_bits.")
def sei_rbsp_is_whole(n: NalUnitSeen) -> Iterator[Broken]:
    problem = _sei_problem(n)
    if problem is not None:
        yield Broken(problem.element, str(problem) if problem.element is None else problem.problem)


def _sei_problem(n: NalUnitSeen) -> VseiError | None:
    header = n.listed.header
    if n.listed.problem is None or header is None or not is_sei(header.codec, header.nal_unit_type):
        return None
    return sei.parse(header, n.listed.data).problem


@STANDARD.rule(
    NalUnitSeen,
    "sei-picture",
    ORDER,
    "An SEI NAL unit belongs to a picture, whose slices follow prefix SEI, and come before suffix SEI.",
)
def sei_has_a_picture(n: NalUnitSeen) -> Iterator[Broken]:
    header = n.listed.header
    if header is None or not is_sei(header.codec, header.nal_unit_type):
        return
    slices = n.unit.slices
    if not slices:
        yield Broken("nal_unit_type", f"{header.name} without a picture")
    elif n.position < slices[0] and not is_prefix_sei(header.codec, header.nal_unit_type):
        # The other way round, prefix SEI after slices is for the next picture.
        yield Broken("nal_unit_type", f"{header.name} before the first slice of its picture")


@STANDARD.rule(NalUnitSeen, "sei-after-aud", ORDER, "An access unit delimiter stands before all else.")
def delimiter_comes_first(n: NalUnitSeen) -> Iterator[Broken]:
    header = n.listed.header
    if header is not None and header.nal_unit_type == _ACCESS_UNIT_DELIMITER[header.codec] and n.position > 0:
        before = n.unit.listed[n.position - 1].header
        if before is not None and is_sei(before.codec, before.nal_unit_type):
            yield Broken("nal_unit_type", f"{header.name} after {before.name}")


@STANDARD.rule(
    NalUnitSeen,
    "sei-temporal-id",
    HEADER,
    "An SEI NAL unit has the TemporalId of its picture (in H.265 that or a higher one).",
)
def temporal_id_is_the_pictures(n: NalUnitSeen) -> Iterator[Broken]:
    header, picture = n.listed.header, n.unit.picture
    if header is None or picture is None or not is_sei(header.codec, header.nal_unit_type):
        return
    found, wanted = header.temporal_id, picture.temporal_id
    if (header.codec is Codec.VVC and found != wanted) or (header.codec is Codec.HEVC and found < wanted):
        yield Broken("nuh_temporal_id_plus1", f"{found + 1}, of the picture {wanted + 1}")


@STANDARD.rule(
    NalUnitSeen, "sei-layer-id", SEI, "An SEI NAL unit with messages for a layer has the nuh_layer_id of its picture."
)
def layer_id_is_the_pictures(n: NalUnitSeen) -> Iterator[Broken]:
    header, picture = n.listed.header, n.unit.picture
    if header is None or picture is None or header.layer_id == picture.layer_id:
        return
    if any(found.coded.payload_type in _OF_A_LAYER for found in n.listed.messages):
        yield Broken("nuh_layer_id", f"{header.layer_id}, of the picture {picture.layer_id}")


@STANDARD.rule(
    NalUnitSeen,
    "nnpf-prefix",
    "H.274 8.28.2.2",
    "NNPFC and NNPFA are prefix SEI: they are there before the slices of the picture that they are for.",
    Level.WARNING,  # the reference software writes and reads them as suffix SEI too
)
def nnpf_is_prefix(n: NalUnitSeen) -> Iterator[Broken]:
    header = n.listed.header
    if header is None or is_prefix_sei(header.codec, header.nal_unit_type):
        return
    names = sorted({found.name for found in n.listed.messages if found.coded.payload_type in NNPF_TYPES})
    if names:
        yield Broken("nal_unit_type", f"{', '.join(names)} in {header.name}")


@STANDARD.rule(
    MessageSeen,
    "sei-repetition",
    SEI,
    "The same NNPFC, NNPFA or phase indication comes at most four times in a picture.",
)
def repeats_are_bounded(s: MessageSeen) -> Iterator[Broken]:
    if s.found.coded.payload_type in _REPEATS_BOUNDED and s.repeats == _MAX_REPEATS + 1:
        yield Broken(None, f"the same payload more than {_MAX_REPEATS} times")
