"""Rules on payloads of every known type: they can be read, hold allowed values, and close as they must."""

from __future__ import annotations

from collections.abc import Iterator

from vsei import limits
from vsei.messages import NnpfCharacteristics
from vsei.rules.book import STANDARD, Broken, Level
from vsei.rules.context import Payload, Reserved

SEI = "H.266 D.2.2"
CLOSING = "H.266 D.2.1"
NNPFC = "H.274 8.28.1.2"


@STANDARD.rule(Payload, "payload-syntax", CLOSING, "A payload holds all elements that its syntax asks for.")
def payload_is_readable(p: Payload) -> Iterator[Broken]:
    if p.error is not None:
        where = "" if p.error.bit is None else f"bit {p.error.bit}: "
        yield Broken(p.error.element, where + p.error.problem)


@STANDARD.rule(
    Payload, "element-range", "semantics of the element", "An element has a value of its range; fixed bits have theirs."
)
def elements_are_in_range(p: Payload) -> Iterator[Broken]:
    for item in p.out_of_range:
        yield Broken(item.element, f"{item.value}, must be {item.allowed}")


@STANDARD.rule(
    Payload,
    "payload-closing",
    CLOSING,
    "A payload that does not end with a whole byte is closed by a one and zeros.",
)
def payload_is_closed(p: Payload) -> Iterator[Broken]:
    closing = p.message.closing if p.message is not None else None
    if closing is not None and "1" not in closing[-8:]:
        yield Broken("sei_payload_bit_equal_to_one", f"the last 8 of {len(closing)} bits after the elements are 0")


@STANDARD.rule(
    Payload,
    "payload-extension",
    CLOSING,
    "Nothing but the closing bits follows the last element that this edition knows.",
    Level.WARNING,  # a later edition may have put it there, and decoders skip it
)
def payload_has_no_extension(p: Payload) -> Iterator[Broken]:
    closing = p.message.closing if p.message is not None else None
    if closing is not None and "1" in closing[-8:]:
        bits = len(closing.rstrip("0")) - 1
        yield Broken("sei_reserved_payload_extension_data", f"{bits} bits that decoders of this edition skip")


@STANDARD.rule(
    Payload,
    "nesting-depth",
    "H.266 D.6.2",
    f"Messages are nested no deeper than {limits.current().nesting_depth} times; usually once.",
)
def nesting_has_an_end(p: Payload) -> Iterator[Broken]:
    if p.too_deep:
        yield Broken(None, f"nested more than {limits.current().nesting_depth} deep; not looked into")


@STANDARD.rule(
    Reserved,
    "nnpf-reserved-value",
    NNPFC,
    "No element has a value that is reserved for later editions: decoders ignore the message.",
    Level.WARNING,
)
def value_is_not_reserved(r: Reserved) -> Iterator[Broken]:
    yield Broken(r.element, f"{r.value} is reserved: decoders ignore this message")


@STANDARD.rule(
    Payload,
    "nnpfc-metadata-count",
    NNPFC,
    "nnpfc_num_metadata_extension_bits counts all elements of the metadata extension.",
)
def metadata_is_counted(p: Payload) -> Iterator[Broken]:
    said, elements, _ = metadata_bits(p)
    if said and elements > said:
        yield Broken("nnpfc_num_metadata_extension_bits", f"{said}, but the elements have {elements} bits")


@STANDARD.rule(
    Payload,
    "nnpfc-metadata-alignment",
    NNPFC,
    "nnpfc_num_metadata_extension_bits counts the alignment bits before the application tag URI too.",
    Level.WARNING,  # the reference software does not count them
)
def metadata_alignment_is_counted(p: Payload) -> Iterator[Broken]:
    said, elements, alignment = metadata_bits(p)
    if alignment and said == elements:
        yield Broken("nnpfc_num_metadata_extension_bits", f"{said}, with alignment {elements + alignment}")


def metadata_bits(p: Payload) -> tuple[int, int, int]:
    """nnpfc_num_metadata_extension_bits, the bits that its elements (reserved ones too) have, and the bits of
    alignment among them. All 0 where there is no metadata extension with elements that are understood."""
    if not isinstance(p.message, NnpfCharacteristics) or p.message.nnpfc_for_machine_analysis_idc is None:
        return 0, 0, 0
    names = [entry.element for entry in p.trace]
    first = names.index("nnpfc_num_metadata_extension_bits")
    elements = alignment = 0
    for entry in p.trace[first + 1 :]:
        if entry.element == "nnpfc_metadata_alignment_zero_bit":
            alignment += entry.length
        elif entry.element in METADATA:
            elements += entry.length
    return int(p.trace[first].value), elements, alignment


METADATA = frozenset(
    (
        "nnpfc_application_purpose_tag_uri_present_flag",
        "nnpfc_application_purpose_tag_uri",
        "nnpfc_scan_type_idc",
        "nnpfc_for_human_viewing_idc",
        "nnpfc_for_machine_analysis_idc",
        "nnpfc_reserved_metadata_extension",
    )
)
