"""Rules on one SEI processing order message, its nesting message, and phase indication."""

from __future__ import annotations

from collections.abc import Iterator

from vsei.messages import NnpfActivation, NnpfCharacteristics
from vsei.messages.processing_order import PhaseIndication, SeiProcessingOrder, SeiProcessingOrderNesting
from vsei.rules.book import STANDARD, Broken, Level

PHASE = "H.274 8.29"
PO = "H.274 8.30"
PON = "H.274 8.31"

# Of these payload types one message holds for all of a sequence, so a prefix of its bits tells nothing apart.
_WITHOUT_PREFIX = frozenset((137, 144, 147, 148, 179, 180, 200, 201, 208, 213))


@STANDARD.rule(SeiProcessingOrder, "po-order", PO, "po_sei_processing_order does not decrease.")
def orders_do_not_decrease(m: SeiProcessingOrder) -> Iterator[Broken]:
    yield from _decreasing("po_sei_processing_order", m.po_sei_processing_order)


@STANDARD.rule(SeiProcessingOrderNesting, "pon-order", PON, "pon_processing_order does not decrease.")
def nested_orders_do_not_decrease(m: SeiProcessingOrderNesting) -> Iterator[Broken]:
    yield from _decreasing("pon_processing_order", m.pon_processing_order)


def _decreasing(element: str, orders: tuple[int, ...]) -> Iterator[Broken]:
    for i in range(1, len(orders)):
        if orders[i] < orders[i - 1]:
            yield Broken(f"{element}[{i}]", f"{orders[i]} after {orders[i - 1]}")


@STANDARD.rule(SeiProcessingOrder, "po-nnpf-pair", PO, "NNPFC and NNPFA are listed together, an NNPFC first.")
def nnpf_comes_in_pairs(m: SeiProcessingOrder) -> Iterator[Broken]:
    types = m.po_sei_payload_type
    nnpfc, nnpfa = NnpfCharacteristics.PAYLOAD_TYPE, NnpfActivation.PAYLOAD_TYPE
    if nnpfa in types and nnpfc not in types[: types.index(nnpfa)]:
        yield Broken(f"po_sei_payload_type[{types.index(nnpfa)}]", "NNPFA without an NNPFC before it")
    if nnpfc in types and nnpfa not in types:
        yield Broken(f"po_sei_payload_type[{types.index(nnpfc)}]", "NNPFC without an NNPFA")


@STANDARD.rule(
    SeiProcessingOrder,
    "po-prefix-flag",
    PO,
    f"po_sei_prefix_flag is 0 for payload types {', '.join(map(str, sorted(_WITHOUT_PREFIX)))}.",
)
def prefixes_tell_something_apart(m: SeiProcessingOrder) -> Iterator[Broken]:
    for i, (payload_type, flag) in enumerate(zip(m.po_sei_payload_type, m.po_sei_prefix_flag, strict=True)):
        if flag and payload_type in _WITHOUT_PREFIX:
            yield Broken(f"po_sei_prefix_flag[{i}]", f"1 for payload type {payload_type}")


@STANDARD.rule(
    SeiProcessingOrder,
    "po-same-order",
    PO,
    "Entries of one payload type that no prefix tells apart have the same order.",
)
def same_messages_have_one_order(m: SeiProcessingOrder) -> Iterator[Broken]:
    prefixes = m.po_sei_prefix_data_bits or ()
    seen: dict[tuple[int, str | None], int] = {}
    for i, payload_type in enumerate(m.po_sei_payload_type):
        bits = prefixes[i] if i < len(prefixes) else None
        order = m.po_sei_processing_order[i]
        first = seen.setdefault((payload_type, bits), order)
        if order != first:
            yield Broken(f"po_sei_processing_order[{i}]", f"{order}, of payload type {payload_type} before {first}")


@STANDARD.rule(
    SeiProcessingOrder,
    "po-sub-chain",
    PO,
    "An entry of importance 0 and degree 1 ends a sub-chain, which an entry of importance 1 and degree 0 has begun.",
)
def sub_chains_begin_before_they_end(m: SeiProcessingOrder) -> Iterator[Broken]:
    inside = False
    for i, pair in enumerate(zip(m.po_sei_importance_flag, m.po_sei_processing_degree_flag, strict=True)):
        if pair == (1, 0):
            inside = True
        elif pair == (0, 1):
            if not inside:
                yield Broken(f"po_sei_processing_degree_flag[{i}]", "1 with importance 0 outside of a sub-chain")
            inside = False


@STANDARD.rule(
    SeiProcessingOrder,
    "po-complexity",
    PO,
    "Complexity is sent only where NNPFA is listed; decoders skip it otherwise.",
    Level.WARNING,
)
def complexity_has_a_filter(m: SeiProcessingOrder) -> Iterator[Broken]:
    if m.po_complexity_info_present_flag and NnpfActivation.PAYLOAD_TYPE not in m.po_sei_payload_type:
        yield Broken("po_complexity_info_present_flag", "1 without NNPFA in the list")


@STANDARD.rule(SeiProcessingOrder, "po-reserved-bits", PO, "po_reserved_zero_4bits is 0.", Level.WARNING)
def reserved_bits_are_zero(m: SeiProcessingOrder) -> Iterator[Broken]:
    if m.po_reserved_zero_4bits:
        yield Broken("po_reserved_zero_4bits", f"{m.po_reserved_zero_4bits}")


@STANDARD.rule(PhaseIndication, "phase-range", PHASE, "A phase is at most one sample: num <= den_minus1 + 1.")
def phases_are_within_a_sample(m: PhaseIndication) -> Iterator[Broken]:
    for direction in ("hor", "ver"):
        num, den = (getattr(m, f"pi_{direction}_phase_{part}") for part in ("num", "den_minus1"))
        if num > den + 1:
            yield Broken(f"pi_{direction}_phase_num", f"{num}, must be 0..{den + 1}")
