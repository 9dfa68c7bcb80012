"""Rules on NNPFC and NNPFA messages that need what came before them in their CLVS: base, update, activation."""

from __future__ import annotations

from collections.abc import Iterator

from vsei.messages import NnpfActivation
from vsei.messages.derived import num_inp_pics_in_output_tensor
from vsei.messages.nnpf import PICTURE_RATE_UPSAMPLING
from vsei.nal import Codec, Hevc, Vvc
from vsei.rules.book import STANDARD, Broken, Level
from vsei.rules.context import MAX_FILTERS, ActivationSeen, CharacteristicsSeen, NestingSeen, digest, properties

NNPFC = "H.274 8.28.1.2"
NNPFA = "H.274 8.28.2.2"

_RASL = {Codec.VVC: (Vvc.RASL,), Codec.HEVC: (Hevc.RASL_N, Hevc.RASL_R), Codec.AVC: ()}
_GDR = {Codec.VVC: (Vvc.GDR,), Codec.HEVC: (), Codec.AVC: ()}


# --- NNPFC -----------------------------------------------------------------------------------------------------------


@STANDARD.rule(
    CharacteristicsSeen, "nnpfc-first-is-base", NNPFC, "The first NNPFC of an nnpfc_id in a CLVS has the base filter."
)
def first_is_a_base(c: CharacteristicsSeen) -> Iterator[Broken]:
    known = (c.filter is not None and c.filter.base is not None) or c.m.nnpfc_id in c.clvs.elsewhere
    if not c.m.nnpfc_base_flag and not known:
        yield Broken("nnpfc_base_flag", f"0, and no base of nnpfc_id {c.m.nnpfc_id} came before in the CLVS")


@STANDARD.rule(CharacteristicsSeen, "nnpfc-base-repeat", NNPFC, "A base that comes again in the CLVS is the same.")
def repeated_base_is_the_same(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.m.nnpfc_base_flag and c.filter is not None and c.filter.base is not None:
        if digest(c.found.coded.payload) == c.filter.base_digest:
            return
        yield Broken(_difference(c), f"another base of nnpfc_id {c.m.nnpfc_id} than the first one of the CLVS")


def _difference(c: CharacteristicsSeen) -> str:
    """The first element of a base that is not as in the first base of the CLVS."""
    assert c.filter is not None
    for element, value in properties(c.m):
        if value != c.filter.properties.get(element):
            return element
    return "nnpfc_payload_byte" if c.m.nnpfc_payload else "nnpfc_uri"


@STANDARD.rule(CharacteristicsSeen, "nnpfc-same-purpose", NNPFC, "All NNPFC of an nnpfc_id in a CLVS have one purpose.")
def purpose_is_the_same(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.filter is not None and c.m.nnpfc_purpose != c.filter.purpose:
        yield Broken("nnpfc_purpose", f"{c.m.nnpfc_purpose}, in the first NNPFC of the CLVS {c.filter.purpose}")


@STANDARD.rule(
    CharacteristicsSeen,
    "nnpfc-update-properties",
    NNPFC,
    "Properties in an update are those of the base; only the complexity may differ.",
)
def update_has_the_properties_of_its_base(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.m.nnpfc_base_flag or not c.m.nnpfc_property_present_flag or c.filter is None or not c.filter.properties:
        return
    for element, value in properties(c.m):
        if value != c.filter.properties[element]:
            yield Broken(element, "not as in the base")


@STANDARD.rule(
    CharacteristicsSeen,
    "nnpfc-after-nnpfa",
    NNPFA,
    "In a picture unit, NNPFC messages stand before the NNPFA messages of the same id.",
)
def characteristics_come_first(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.m.nnpfc_id in c.unit.activations:
        yield Broken("nnpfc_id", f"{c.m.nnpfc_id}, after an NNPFA for it in the same picture unit")


@STANDARD.rule(CharacteristicsSeen, "nnpfc-payload", NNPFC, "The payload of mode 0 is a bitstream of ISO/IEC 15938-17.")
def payload_decodes(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.report is not None and c.report.problem is not None:
        yield Broken("nnpfc_payload_byte", c.report.problem)


@STANDARD.rule(
    CharacteristicsSeen,
    "nnpfc-payload-unsupported",
    NNPFC,
    "All of the payload is known to the decoder here.",
    Level.WARNING,
)
def payload_decodes_whole(c: CharacteristicsSeen) -> Iterator[Broken]:
    for part in c.report.unsupported if c.report is not None else ():
        yield Broken("nnpfc_payload_byte", part)


@STANDARD.rule(
    CharacteristicsSeen,
    "nnpfc-num-parameters",
    NNPFC,
    "The filter in the payload of a base has no more parameters than nnpfc_num_parameters_idc allows.",
)
def parameters_are_within_the_bound(c: CharacteristicsSeen) -> Iterator[Broken]:
    idc = c.m.nnpfc_num_parameters_idc
    if not c.m.nnpfc_base_flag or not idc or c.report is None or c.report.num_parameters is None:
        return
    bound = (2048 << min(idc, 52)) - 1
    if c.report.num_parameters > bound:
        yield Broken("nnpfc_num_parameters_idc", f"{idc}: at most {bound}, the payload has {c.report.num_parameters}")


@STANDARD.rule(
    CharacteristicsSeen,
    "nnpfc-filter-count",
    "none",
    f"A CLVS has at most {MAX_FILTERS} filters; of more, base, update and activation are not compared.",
    Level.WARNING,
)
def filters_are_countable(c: CharacteristicsSeen) -> Iterator[Broken]:
    if c.filter is None and not c.clvs.full and len(c.clvs.filters) == MAX_FILTERS:
        yield Broken("nnpfc_id", f"{c.m.nnpfc_id} is one more than {MAX_FILTERS} filters")


# --- NNPFA -----------------------------------------------------------------------------------------------------------


@STANDARD.rule(NnpfActivation, "nnpfa-prompt", NNPFA, "A prompt in an NNPFA is not empty.")
def prompt_is_not_empty(m: NnpfActivation) -> Iterator[Broken]:
    if m.nnpfa_prompt == "":
        yield Broken("nnpfa_prompt", "is empty")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-target",
    NNPFA,
    "An NNPFC with the target's nnpfc_id came before in the CLVS, or stands in the same picture unit.",
)
def target_is_there(a: ActivationSeen) -> Iterator[Broken]:
    target = a.m.nnpfa_target_id
    known = a.filter is not None or target in a.clvs.elsewhere or a.clvs.full
    if not known and target not in a.unit.nnpf.nnpfc_ids:
        yield Broken("nnpfa_target_id", f"{target}: no NNPFC of that id in the CLVS so far")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-update",
    NNPFA,
    "Where the target is an update (nnpfa_target_base_flag 0), one came before in decoding order, in the CLVS.",
)
def update_is_there(a: ActivationSeen) -> Iterator[Broken]:
    if a.m.nnpfa_target_base_flag == 0 and a.filter is not None and not a.filter.updated:
        yield Broken("nnpfa_target_base_flag", f"0, and no update of {a.m.nnpfa_target_id} came in the CLVS so far")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-update-scope",
    NNPFC,
    "Where the target is an update, one of the updates so far is for a picture that is not output later.",
    Level.WARNING,  # by decoding order the update is there; by output order it is not yet in force
)
def update_is_in_force(a: ActivationSeen) -> Iterator[Broken]:
    if a.m.nnpfa_target_base_flag != 0 or a.filter is None or a.unit.picture is None:
        return
    first, poc = a.filter.first_update_poc, a.unit.picture.poc
    if first is not None and first > poc:
        yield Broken(
            "nnpfa_target_base_flag",
            f"0, and the first update of {a.m.nnpfa_target_id} holds from POC {first} on, the picture is POC {poc}",
        )


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-num-output-entries",
    NNPFA,
    "nnpfa_num_output_entries is at most the number of input pictures that the filter filters.",
)
def output_entries_have_pictures(a: ActivationSeen) -> Iterator[Broken]:
    entries = a.m.nnpfa_num_output_entries
    if entries is None or a.filter is None or a.filter.base is None or not a.filter.base.nnpfc_property_present_flag:
        return
    most = num_inp_pics_in_output_tensor(a.filter.base)
    if entries > most:
        yield Broken("nnpfa_num_output_entries", f"{entries}, must be 0..{most} for filter {a.m.nnpfa_target_id}")


@STANDARD.rule(
    ActivationSeen, "nnpfa-same-content", "H.266 D.2.2", "NNPFA of one picture with the same target are the same."
)
def activations_agree(a: ActivationSeen) -> Iterator[Broken]:
    first = a.unit.activations.get(a.m.nnpfa_target_id)
    if first is not None and first != a.found.coded.payload:
        yield Broken("nnpfa_target_id", f"{a.m.nnpfa_target_id} has another NNPFA in the same picture unit")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-prompt-needed",
    NNPFA,
    "Where the NNPFC sends an empty prompt (nnpfc_inband_prompt_flag 1), the NNPFA brings one.",
)
def prompt_comes_from_somewhere(a: ActivationSeen) -> Iterator[Broken]:
    base = a.filter.base if a.filter is not None else None
    if a.m.nnpfa_cancel_flag or base is None or not base.nnpfc_inband_prompt_flag or base.nnpfc_prompt:
        return
    if not a.m.nnpfa_prompt_update_flag:
        yield Broken("nnpfa_prompt_update_flag", f"0, and nnpfc_prompt of {a.m.nnpfa_target_id} is empty")


@STANDARD.rule(
    ActivationSeen, "nnpfa-picture-output", NNPFA, "A picture with an NNPFA is output (ph_pic_output_flag 1)."
)
def picture_is_output(a: ActivationSeen) -> Iterator[Broken]:
    picture = a.unit.picture
    if a.m.nnpfa_cancel_flag or picture is None or picture.output:
        return
    # A decoder that starts here does not output RASL pictures and pictures before a recovery point; others do.
    codec = a.found.header.codec
    if picture.nal_unit_type in _RASL[codec] or a.clvs.starts_with in (None, *_GDR[codec]):
        return
    yield Broken(None, "the picture is not output")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-absent-input",
    NNPFA,
    "Pictures are interpolated only between input pictures that exist.",
)
def interpolation_has_its_inputs(a: ActivationSeen) -> Iterator[Broken]:
    base = a.filter.base if a.filter is not None else None
    if a.m.nnpfa_cancel_flag or a.m.nnpfa_selected_input_flag or base is None or a.unit.output_index is None:
        return
    first = a.clvs.first_output_index if a.m.nnpfa_no_prev_clvs_flag else 0
    available = a.unit.output_index - first  # pictures of the layer that are output before this one
    counts = base.nnpfc_interpolated_pics or ()
    missing = [i for i, count in enumerate(counts) if count and i >= available]
    if missing:
        i = missing[0]
        yield Broken(
            f"nnpfc_interpolated_pics[{i}]",
            f"{counts[i]}, but only {available} pictures are output before this one, so inputPic[{i + 1}] is absent; "
            f"output:{first + missing[-1] + 1} is the first picture with all",
        )


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-interpolated-twice",
    NNPFA,
    "Nothing is interpolated twice: a filter that persists interpolates in one interval of its inputs.",
    Level.WARNING,  # two pictures or fewer may be left in the CLVS
)
def nothing_is_interpolated_twice(a: ActivationSeen) -> Iterator[Broken]:
    base = a.filter.base if a.filter is not None else None
    if base is None or not base.nnpfc_purpose & PICTURE_RATE_UPSAMPLING or not a.m.nnpfa_persistence_flag:
        return
    intervals = [i for i, count in enumerate(base.nnpfc_interpolated_pics or ()) if count]
    if len(intervals) > 1:
        yield Broken("nnpfa_persistence_flag", f"1, and filter {a.m.nnpfa_target_id} interpolates in {intervals}")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-selected-input",
    NNPFA,
    "nnpfa_selected_input_flag is 1 only where an SEI processing order message of the CLVS names NNPFA.",
)
def selected_input_needs_an_order(a: ActivationSeen) -> Iterator[Broken]:
    if a.m.nnpfa_selected_input_flag and NnpfActivation.PAYLOAD_TYPE not in a.clvs.listed_types:
        yield Broken("nnpfa_selected_input_flag", "1 without an SEI processing order message that names NNPFA")


@STANDARD.rule(
    ActivationSeen,
    "nnpfa-input-pic-shift",
    NNPFA,
    "nnpfa_num_input_pic_shift leaves the current picture among the input pictures of the filter.",
    Level.WARNING,  # the notes on the standard that this is built from do not say so
)
def current_picture_stays_an_input(a: ActivationSeen) -> Iterator[Broken]:
    shift, base = a.m.nnpfa_num_input_pic_shift, a.filter.base if a.filter is not None else None
    if not shift or base is None or not base.nnpfc_property_present_flag:
        return
    most = base.nnpfc_num_input_pics_minus1 or 0
    if shift > most:
        yield Broken("nnpfa_num_input_pic_shift", f"{shift}, must be 0..{most} for filter {a.m.nnpfa_target_id}")


# --- SEI processing order nesting ------------------------------------------------------------------------------------


@STANDARD.rule(
    NestingSeen,
    "pon-target",
    "H.274 8.31",
    "An SEI processing order message with each id that a nesting message is for came before it in the CLVS.",
    Level.WARNING,  # the notes on the standard that this is built from do not say so
)
def nesting_has_its_order(n: NestingSeen) -> Iterator[Broken]:
    for i, po_id in enumerate(n.m.pon_target_po_id):
        if po_id not in n.clvs.po_ids:
            yield Broken(f"pon_target_po_id[{i}]", f"{po_id}: no SEI processing order message of that id so far")
