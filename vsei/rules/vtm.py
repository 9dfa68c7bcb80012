"""What stops or misleads the reference decoder, VTM 23.13: seen, or read in its source. In all of it VTM errs."""

from __future__ import annotations

from collections.abc import Iterator

from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.messages.nnpf import COLOURIZATION, RESOLUTION_RESAMPLING
from vsei.messages.processing_order import SeiProcessingOrder
from vsei.nal import Codec, Vvc, is_prefix_sei
from vsei.rules.book import Broken, Level, RuleBook
from vsei.rules.context import ActivationSeen, MessageSeen, NalUnitSeen, Payload
from vsei.rules.decoders import VTM
from vsei.rules.payloads import metadata_bits

BOOK = RuleBook("The reference decoder: `--for vtm`")
WHERE = VTM.version

# Payload types that it reads in prefix SEI.
_PREFIX_TYPES = frozenset(
    (
        *(0, 1, 3, 4, 5, 19, 22, 45, 47, 56, 129, 130, 133, 137, 142, 144, 145, 147, 148, 149, 150, 153, 154, 155, 156),
        *(165, 168, 177, 179, 180, *range(200, 209), *range(210, 222), *range(225, 228)),
    )
)
# It does not compare these: user data, nesting, generative face video.
_NOT_COMPARED = frozenset((4, 5, 133, 223, 224))
_NO_METADATA_BITS = 4  # nnpfc_for_human_viewing_idc and nnpfc_for_machine_analysis_idc are always read


@BOOK.rule(
    MessageSeen,
    "vtm-different-messages",
    WHERE,
    "A picture has no two different messages of one payload type: not base and update, not two filters or activations.",
)
def messages_of_a_type_are_the_same(s: MessageSeen) -> Iterator[Broken]:
    coded = s.found.coded
    first = s.unit.first.get(coded.payload_type)
    if coded.payload_type not in _NOT_COMPARED and first is not None and first != coded:
        yield Broken(None, f"another {s.found.name} stands in the same picture unit: the decoder stops")


@BOOK.rule(NalUnitSeen, "vtm-unknown-type", WHERE, "A prefix SEI NAL unit has a message of a type that it knows.")
def something_is_known(n: NalUnitSeen) -> Iterator[Broken]:
    types = [found.coded.payload_type for found in n.listed.messages]
    header = n.listed.header
    if header is None or header.codec is not Codec.VVC or header.nal_unit_type != Vvc.PREFIX_SEI or not types:
        return
    if not _PREFIX_TYPES.intersection(types):
        yield Broken(None, f"only payload types {types}: the decoder crashes")


@BOOK.rule(
    NnpfCharacteristics,
    "vtm-reserved-value",
    WHERE,
    "No reserved nnpfc_id, purpose below 128 (no spatial extrapolation), input order up to 3, auxiliary input up to 7.",
)
def values_are_known(m: NnpfCharacteristics) -> Iterator[Broken]:
    for element, refused in (
        ("nnpfc_purpose", m.nnpfc_purpose >= 128),
        ("nnpfc_id", 256 <= m.nnpfc_id <= 511 or m.nnpfc_id > VTM.max_id),
        ("nnpfc_auxiliary_inp_idc", (m.nnpfc_auxiliary_inp_idc or 0) > 7),
        ("nnpfc_inp_order_idc", (m.nnpfc_inp_order_idc or 0) > 3),
    ):
        if refused:
            yield Broken(element, f"{getattr(m, element)}: the decoder stops")


@BOOK.rule(
    NnpfCharacteristics,
    "vtm-chroma-location",
    WHERE,
    "No chroma location with colourization, the one case that the standard has it for.",
)
def colourization_has_no_location(m: NnpfCharacteristics) -> Iterator[Broken]:
    if m.nnpfc_purpose & COLOURIZATION and m.nnpfc_chroma_loc_info_present_flag:
        yield Broken("nnpfc_chroma_loc_info_present_flag", "1 with colourization: the decoder stops")


@BOOK.rule(
    Payload,
    "vtm-metadata-count",
    WHERE,
    "nnpfc_num_metadata_extension_bits is 0, or counts all elements but not the alignment before the application tag.",
)
def metadata_is_counted_its_way(p: Payload) -> Iterator[Broken]:
    if not isinstance(p.message, NnpfCharacteristics) or not p.message.nnpfc_num_metadata_extension_bits:
        return
    said, elements, _ = metadata_bits(p)
    if said != elements or said < _NO_METADATA_BITS:
        number = p.message.nnpfc_num_metadata_extension_bits
        yield Broken("nnpfc_num_metadata_extension_bits", f"{number}: the decoder reads {elements or 'other'} bits")


@BOOK.rule(
    NnpfActivation,
    "vtm-nnpfa-form",
    WHERE,
    "An NNPFA has the elements of V4: of the shorter form of V3 the closing bit is read as nnpfa_prompt_update_flag.",
)
def activation_has_the_form_of_v4(m: NnpfActivation) -> Iterator[Broken]:
    if m.nnpfa_cancel_flag or m.nnpfa_prompt_update_flag is not None:
        return
    bits = _ue_bits(m.nnpfa_target_id) + 4 + (m.nnpfa_persistence_flag or 0)
    bits += _ue_bits(m.nnpfa_num_output_entries or 0) + (m.nnpfa_num_output_entries or 0)
    if bits % 8:
        yield Broken("nnpfa_prompt_update_flag", "absent: the decoder reads the closing bits as this and what follows")


def _ue_bits(value: int) -> int:
    """Length of ue(v)"""
    return 2 * (value + 1).bit_length() - 1


@BOOK.rule(
    ActivationSeen,
    "vtm-no-output-flags",
    WHERE,
    "An NNPFA in prefix SEI has an output flag (so it does not cancel), unless an update of its filter came before.",
)
def prefix_activation_has_output_flags(a: ActivationSeen) -> Iterator[Broken]:
    if _checked_by_mistake(a) and not a.m.nnpfa_num_output_entries:
        what = "nnpfa_cancel_flag" if a.m.nnpfa_cancel_flag else "nnpfa_num_output_entries"
        yield Broken(what, "no output flags: the decoder stops with 'No NNPFC, no NNPFA'")


@BOOK.rule(
    ActivationSeen,
    "vtm-output-flags-by-chance",
    WHERE,
    "An NNPFA stands in suffix SEI, or an update of its filter came before: otherwise the decoder stops by chance.",
    Level.WARNING,
)
def prefix_activation_is_at_risk(a: ActivationSeen) -> Iterator[Broken]:
    if _checked_by_mistake(a) and a.m.nnpfa_num_output_entries:
        yield Broken(None, "in prefix SEI: the decoder stops where a memory address of it ends in a zero byte")


def _checked_by_mistake(a: ActivationSeen) -> bool:
    """It looks at the activation as if it were an NNPFC: the low byte of the address of its output flags (no flags, no
    address) is taken for nnpfc_base_flag. It is content where an update with the id came before in the stream."""
    header = a.found.header
    return is_prefix_sei(header.codec, header.nal_unit_type) and a.m.nnpfa_target_id not in a.clvs.updated_ever


@BOOK.rule(
    ActivationSeen,
    "vtm-activation-repeated",
    WHERE,
    "An NNPFA that is in force does not come again in its CLVS. At the end of the stream the decoder looks for the "
    "filters of all activations in its picture buffer, and finds those of the first picture of a CLVS in it alone.",
    Level.WARNING,
)
def activation_in_force_is_not_repeated(a: ActivationSeen) -> Iterator[Broken]:
    before = a.filter.in_force if a.filter is not None else None
    if before is None or a.unit.picture is None:
        return
    poc, payload = before
    if payload == a.found.coded.payload and poc < a.unit.picture.poc:
        yield Broken(None, "again: the decoder stops if its buffer has this picture at the end, and not the first one")


@BOOK.rule(
    ActivationSeen,
    "vtm-resampling",
    WHERE,
    "No filter with resolution resampling is active: the decoder stops at the end, and pictures are missing.",
)
def resampling_is_not_active(a: ActivationSeen) -> Iterator[Broken]:
    if not a.m.nnpfa_cancel_flag and a.filter is not None and a.filter.purpose & RESOLUTION_RESAMPLING:
        yield Broken("nnpfa_target_id", f"{a.m.nnpfa_target_id} resamples: the decoder stops before the last pictures")


@BOOK.rule(
    ActivationSeen,
    "vtm-properties",
    WHERE,
    "A filter that is active with output flags has its properties in the message.",
)
def active_filter_has_properties(a: ActivationSeen) -> Iterator[Broken]:
    base = a.filter.base if a.filter is not None else None
    if base is not None and not base.nnpfc_property_present_flag and a.m.nnpfa_num_output_entries:
        yield Broken("nnpfa_num_output_entries", "filter without properties: the decoder stops at the end")


@BOOK.rule(SeiProcessingOrder, "vtm-po-entries", WHERE, "An SEI processing order message has two entries or more.")
def order_has_entries(m: SeiProcessingOrder) -> Iterator[Broken]:
    if m.po_sei_num_minus1 == 0:
        yield Broken("po_sei_num_minus1", "0: the decoder stops")


@BOOK.rule(
    SeiProcessingOrder,
    "vtm-po-misread",
    WHERE,
    "An SEI processing order message has no prefixes, and no complexity of parameter type 2: they are misread.",
)
def order_is_read_right(m: SeiProcessingOrder) -> Iterator[Broken]:
    for i, flag in enumerate(m.po_sei_prefix_flag):
        if flag:
            yield Broken(f"po_sei_prefix_flag[{i}]", "1: the decoder reads one prefix bit too few")
    if m.po_parameter_type_idc == 2:
        yield Broken("po_parameter_type_idc", "2: the decoder reads a bit length that is not there")
