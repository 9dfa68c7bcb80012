"""SEI processing order, its nesting, and phase indication (H.274 V4 clauses 8.29 to 8.31)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vsei.messages.form import Message
from vsei.sei import SeiMessage, sei_message
from vsei.syntax import Syntax


@dataclass(frozen=True, kw_only=True, slots=True)
class SeiProcessingOrder(Message):
    """sei_processing_order(), payloadType 213"""

    PAYLOAD_TYPE: ClassVar[int] = 213
    NAME: ClassVar[str] = "sei_processing_order"

    po_sei_id: int
    po_for_human_viewing_idc: int
    po_for_machine_analysis_idc: int
    po_reserved_zero_4bits: int = 0
    po_sei_num_minus1: int
    po_breadth_first_flag: int
    po_sei_wrapping_flag: tuple[int, ...]
    po_sei_importance_flag: tuple[int, ...]
    po_sei_processing_degree_flag: tuple[int, ...]
    po_sei_payload_type: tuple[int, ...]
    po_sei_prefix_flag: tuple[int, ...]
    po_sei_processing_order: tuple[int, ...]
    po_num_bits_in_prefix_indication_minus1: tuple[int | None, ...] | None = None
    po_sei_prefix_data_bits: tuple[str | None, ...] | None = None
    po_complexity_info_present_flag: int
    po_parameter_type_idc: int | None = None
    po_log2_parameter_bit_length_minus3: int | None = None
    po_num_parameters_idc: int | None = None
    po_num_kmac_operations_idc: int | None = None
    po_total_kilobyte_size: int | None = None


def processing_order(s: Syntax) -> None:
    """sei_processing_order( payloadSize )"""
    s.u(8, "po_sei_id")
    s.u(2, "po_for_human_viewing_idc")
    s.u(2, "po_for_machine_analysis_idc")
    s.u(4, "po_reserved_zero_4bits")
    entries = range(s.u(7, "po_sei_num_minus1") + 1)
    s.flag("po_breadth_first_flag")
    for i in entries:
        s.flag("po_sei_wrapping_flag", i)
        s.flag("po_sei_importance_flag", i)
        s.flag("po_sei_processing_degree_flag", i)
        s.u(13, "po_sei_payload_type", i)
        s.flag("po_sei_prefix_flag", i)
        s.u(8, "po_sei_processing_order", i)
    for i in entries:
        if s["po_sei_prefix_flag", i]:
            # VTM 23.13 writes the number itself here; the name and the text say minus 1, and so do we.
            num_bits = s.u(8, "po_num_bits_in_prefix_indication_minus1", i) + 1
            s.bits(num_bits, "po_sei_prefix_data_bits", i)
            s.align("po_byte_alignment_bit_equal_to_one", 1)
    if s.flag("po_complexity_info_present_flag"):
        # VTM 23.13's reader tests the presence flag here and so always reads the bit length; its writer does not.
        if s.u(2, "po_parameter_type_idc") != 2:
            s.u(2, "po_log2_parameter_bit_length_minus3")
        s.u(6, "po_num_parameters_idc", max=52)
        s.ue("po_num_kmac_operations_idc")
        s.ue("po_total_kilobyte_size")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeiProcessingOrderNesting(Message):
    """sei_processing_order_nesting(), payloadType 214. The messages inside are in `messages`."""

    PAYLOAD_TYPE: ClassVar[int] = 214
    NAME: ClassVar[str] = "sei_processing_order_nesting"
    UNSHOWN: ClassVar[frozenset[str]] = frozenset({"closing", "payload_type", "payload_size", "payload"})

    pon_num_po_ids_minus1: int
    pon_target_po_id: tuple[int, ...]
    pon_num_seis_minus1: int
    pon_processing_order: tuple[int, ...]
    payload_type: tuple[int, ...]
    payload_size: tuple[int, ...]
    payload: tuple[bytes, ...]

    @property
    def messages(self) -> tuple[SeiMessage, ...]:
        return tuple(map(SeiMessage, self.payload_type, self.payload))


def processing_order_nesting(s: Syntax) -> None:
    """sei_processing_order_nesting( payloadSize )"""
    for i in range(s.u(8, "pon_num_po_ids_minus1") + 1):
        s.u(8, "pon_target_po_id", i)
    for i in range(s.u(8, "pon_num_seis_minus1") + 1):
        s.u(8, "pon_processing_order", i)
        sei_message(s, i)


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseIndication(Message):
    """phase_indication(), payloadType 212: sampling phases for resampling, in units of 1 / (den_minus1 + 1) sample."""

    PAYLOAD_TYPE: ClassVar[int] = 212
    NAME: ClassVar[str] = "phase_indication"

    pi_hor_phase_num: int
    pi_hor_phase_den_minus1: int
    pi_ver_phase_num: int
    pi_ver_phase_den_minus1: int


def phase_indication(s: Syntax) -> None:
    """phase_indication( payloadSize )"""
    for direction in ("hor", "ver"):
        s.u(8, f"pi_{direction}_phase_num")
        s.u(8, f"pi_{direction}_phase_den_minus1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeiManifest(Message):
    """sei_manifest(), payloadType 200"""

    PAYLOAD_TYPE: ClassVar[int] = 200
    NAME: ClassVar[str] = "sei_manifest"

    manifest_num_sei_msg_types: int
    manifest_sei_payload_type: tuple[int, ...] | None = None
    manifest_sei_description: tuple[int, ...] | None = None


def sei_manifest(s: Syntax) -> None:
    """sei_manifest( payloadSize )"""
    for i in range(s.u(16, "manifest_num_sei_msg_types")):
        s.u(16, "manifest_sei_payload_type", i)
        s.u(8, "manifest_sei_description", i)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeiPrefixIndication(Message):
    """sei_prefix_indication(), payloadType 201"""

    PAYLOAD_TYPE: ClassVar[int] = 201
    NAME: ClassVar[str] = "sei_prefix_indication"

    prefix_sei_payload_type: int
    num_sei_prefix_indications_minus1: int
    num_bits_in_prefix_indication_minus1: tuple[int, ...]
    sei_prefix_data_bits: tuple[str, ...]


def sei_prefix_indication(s: Syntax) -> None:
    """sei_prefix_indication( payloadSize )"""
    s.u(16, "prefix_sei_payload_type")
    for i in range(s.u(8, "num_sei_prefix_indications_minus1") + 1):
        num_bits = s.u(16, "num_bits_in_prefix_indication_minus1", i) + 1
        s.bits(num_bits, "sei_prefix_data_bits", i)
        s.align("byte_alignment_bit_equal_to_one", 1)
