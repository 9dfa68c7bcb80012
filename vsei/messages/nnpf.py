"""Neural-network post-filter characteristics (NNPFC) and activation (NNPFA): H.274 V4 clauses 8.28.1 and 8.28.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vsei.errors import VseiError
from vsei.messages.form import Message
from vsei.syntax import Reader, Syntax

# nnpfc_purpose bits (H.274 Table 20)
VISUAL_QUALITY = 0x01
CHROMA_UPSAMPLING = 0x02
RESOLUTION_RESAMPLING = 0x04
PICTURE_RATE_UPSAMPLING = 0x08
BIT_DEPTH_UPSAMPLING = 0x10
COLOURIZATION = 0x20
TEMPORAL_EXTRAPOLATION = 0x40  # V4
SPATIAL_EXTRAPOLATION = 0x80  # V4
ALL_PURPOSES = 0xFF

# nnpfc_auxiliary_inp_idc bits
STRENGTH_INPUT = 1
PROMPT_INPUT = 2  # V4
SEED_INPUT = 4  # V4

MODE_NNC = 0  # nnpfc_mode_idc: the payload bytes are an ISO/IEC 15938-17 bitstream
MODE_URI = 1  # nnpfc_mode_idc: the filter is at nnpfc_uri, in the format that nnpfc_tag_uri names


@dataclass(frozen=True, kw_only=True, slots=True)
class NnpfCharacteristics(Message):
    """nn_post_filter_characteristics(), payloadType 210. None: the element is not in the message."""

    PAYLOAD_TYPE: ClassVar[int] = 210
    NAME: ClassVar[str] = "nnpfc"
    UNSHOWN: ClassVar[frozenset[str]] = frozenset({"closing", "nnpfc_reserved_metadata_extension"})

    nnpfc_purpose: int
    nnpfc_id: int
    nnpfc_base_flag: int
    nnpfc_mode_idc: int
    nnpfc_tag_uri: str | None = None
    nnpfc_uri: str | None = None
    nnpfc_property_present_flag: int
    nnpfc_num_input_pics_minus1: int | None = None
    nnpfc_input_pic_filtering_flag: tuple[int, ...] | None = None
    nnpfc_absent_input_pic_zero_flag: int | None = None
    nnpfc_out_sub_c_flag: int | None = None
    nnpfc_out_colour_format_idc: int | None = None
    nnpfc_pic_width_num_minus1: int | None = None
    nnpfc_pic_width_denom_minus1: int | None = None
    nnpfc_pic_height_num_minus1: int | None = None
    nnpfc_pic_height_denom_minus1: int | None = None
    nnpfc_interpolated_pics: tuple[int, ...] | None = None
    nnpfc_extrapolated_pics_minus1: int | None = None
    nnpfc_spatial_extrapolation_left_offset: int | None = None
    nnpfc_spatial_extrapolation_right_offset: int | None = None
    nnpfc_spatial_extrapolation_top_offset: int | None = None
    nnpfc_spatial_extrapolation_bottom_offset: int | None = None
    nnpfc_component_last_flag: int | None = None
    nnpfc_inp_format_idc: int | None = None
    nnpfc_auxiliary_inp_idc: int | None = None
    nnpfc_inband_prompt_flag: int | None = None
    nnpfc_prompt: str | None = None
    nnpfc_inband_seed_flag: int | None = None
    nnpfc_seed: int | None = None
    nnpfc_inp_order_idc: int | None = None
    nnpfc_inp_tensor_luma_bitdepth_minus8: int | None = None
    nnpfc_inp_tensor_chroma_bitdepth_minus8: int | None = None
    nnpfc_out_format_idc: int | None = None
    nnpfc_out_order_idc: int | None = None
    nnpfc_out_tensor_luma_bitdepth_minus8: int | None = None
    nnpfc_out_tensor_chroma_bitdepth_minus8: int | None = None
    nnpfc_separate_colour_description_present_flag: int | None = None
    nnpfc_colour_primaries: int | None = None
    nnpfc_transfer_characteristics: int | None = None
    nnpfc_matrix_coeffs: int | None = None
    nnpfc_full_range_flag: int | None = None
    nnpfc_chroma_loc_info_present_flag: int | None = None
    nnpfc_chroma_sample_loc_type_frame: int | None = None
    nnpfc_overlap: int | None = None
    nnpfc_constant_patch_size_flag: int | None = None
    nnpfc_patch_width_minus1: int | None = None
    nnpfc_patch_height_minus1: int | None = None
    nnpfc_extended_patch_width_cd_delta_minus1: int | None = None
    nnpfc_extended_patch_height_cd_delta_minus1: int | None = None
    nnpfc_padding_type: int | None = None
    nnpfc_luma_padding_val: int | None = None
    nnpfc_cb_padding_val: int | None = None
    nnpfc_cr_padding_val: int | None = None
    nnpfc_complexity_info_present_flag: int | None = None
    nnpfc_parameter_type_idc: int | None = None
    nnpfc_log2_parameter_bit_length_minus3: int | None = None
    nnpfc_num_parameters_idc: int | None = None
    nnpfc_num_kmac_operations_idc: int | None = None
    nnpfc_total_kilobyte_size: int | None = None
    nnpfc_num_metadata_extension_bits: int | None = None
    nnpfc_application_purpose_tag_uri_present_flag: int | None = None
    nnpfc_application_purpose_tag_uri: str | None = None
    nnpfc_scan_type_idc: int | None = None
    nnpfc_for_human_viewing_idc: int | None = None
    nnpfc_for_machine_analysis_idc: int | None = None
    nnpfc_reserved_metadata_extension: str | None = None
    nnpfc_payload: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NnpfActivation(Message):
    """nn_post_filter_activation(), payloadType 211. None: the element is not in the message.

    The form of V3 ends after the output flags; nnpfa_prompt_update_flag that is not None makes it the form of V4.
    """

    PAYLOAD_TYPE: ClassVar[int] = 211
    NAME: ClassVar[str] = "nnpfa"

    nnpfa_target_id: int
    nnpfa_cancel_flag: int
    nnpfa_persistence_flag: int | None = None
    nnpfa_target_base_flag: int | None = None
    nnpfa_no_prev_clvs_flag: int | None = None
    nnpfa_no_foll_clvs_flag: int | None = None
    nnpfa_num_output_entries: int | None = None
    nnpfa_output_flag: tuple[int, ...] | None = None
    nnpfa_prompt_update_flag: int | None = None
    nnpfa_prompt: str | None = None
    nnpfa_seed_update_flag: int | None = None
    nnpfa_seed: int | None = None
    nnpfa_selected_input_flag: int | None = None
    nnpfa_num_input_pic_shift: int | None = None


def nnpfc(s: Syntax) -> None:
    """nn_post_filter_characteristics( payloadSize ), H.274 8.28.1.1"""
    purpose = s.u(16, "nnpfc_purpose")
    s.ue("nnpfc_id")
    s.flag("nnpfc_base_flag")
    mode_idc = s.ue("nnpfc_mode_idc", max=255)
    if mode_idc == MODE_URI:
        s.align("nnpfc_alignment_zero_bit_a")
        s.st("nnpfc_tag_uri")
        s.st("nnpfc_uri")
    if s.flag("nnpfc_property_present_flag"):
        _properties(s, purpose, mode_idc)
    if mode_idc == MODE_NNC:
        s.align("nnpfc_alignment_zero_bit_b")
        s.rest("nnpfc_payload")


def _properties(s: Syntax, purpose: int, mode_idc: int) -> None:
    num_input_pics_minus1 = s.ue("nnpfc_num_input_pics_minus1", max=63)
    if num_input_pics_minus1 > 0:
        for i in range(num_input_pics_minus1 + 1):
            s.flag("nnpfc_input_pic_filtering_flag", i)
        s.flag("nnpfc_absent_input_pic_zero_flag")
    if purpose & CHROMA_UPSAMPLING:
        s.flag("nnpfc_out_sub_c_flag")
    if purpose & COLOURIZATION:
        s.u(2, "nnpfc_out_colour_format_idc", min=1)
    if purpose & RESOLUTION_RESAMPLING:
        s.ue("nnpfc_pic_width_num_minus1", max=65535)
        s.ue("nnpfc_pic_width_denom_minus1", max=65535)
        s.ue("nnpfc_pic_height_num_minus1", max=65535)
        s.ue("nnpfc_pic_height_denom_minus1", max=65535)
    if purpose & PICTURE_RATE_UPSAMPLING:
        for i in range(num_input_pics_minus1):
            s.ue("nnpfc_interpolated_pics", i, max=63)
    if purpose & TEMPORAL_EXTRAPOLATION:
        s.ue("nnpfc_extrapolated_pics_minus1", max=62)
    if purpose & SPATIAL_EXTRAPOLATION:
        for side in ("left", "right", "top", "bottom"):
            s.se(f"nnpfc_spatial_extrapolation_{side}_offset")
    s.flag("nnpfc_component_last_flag")

    inp_format_idc = s.ue("nnpfc_inp_format_idc", max=255)
    auxiliary_inp_idc = s.ue("nnpfc_auxiliary_inp_idc", max=255)
    if auxiliary_inp_idc & PROMPT_INPUT and s.flag("nnpfc_inband_prompt_flag"):
        s.align("nnpfc_alignment_zero_bit_c")
        s.st("nnpfc_prompt")
    if auxiliary_inp_idc & SEED_INPUT and s.flag("nnpfc_inband_seed_flag"):
        s.u(16, "nnpfc_seed")
    inp_order_idc = s.ue("nnpfc_inp_order_idc", max=255)
    if inp_format_idc == 1:
        if inp_order_idc != 1:
            s.ue("nnpfc_inp_tensor_luma_bitdepth_minus8", max=24)
        if inp_order_idc != 0:
            s.ue("nnpfc_inp_tensor_chroma_bitdepth_minus8", max=24)
    out_format_idc = s.ue("nnpfc_out_format_idc", max=255)
    out_order_idc = s.ue("nnpfc_out_order_idc", max=255)
    if out_format_idc == 1:
        if out_order_idc != 1:
            s.ue("nnpfc_out_tensor_luma_bitdepth_minus8", max=24)
        if out_order_idc != 0:
            s.ue("nnpfc_out_tensor_chroma_bitdepth_minus8", max=24)
    if s.flag("nnpfc_separate_colour_description_present_flag"):
        s.u(8, "nnpfc_colour_primaries")
        s.u(8, "nnpfc_transfer_characteristics")
        if out_format_idc == 1:
            s.u(8, "nnpfc_matrix_coeffs")
            s.flag("nnpfc_full_range_flag")
    if out_order_idc != 0 and s.flag("nnpfc_chroma_loc_info_present_flag"):
        s.ue("nnpfc_chroma_sample_loc_type_frame", max=6)

    if purpose & SPATIAL_EXTRAPOLATION:
        s.infer("nnpfc_overlap", 0)
        constant_patch_size_flag = s.infer("nnpfc_constant_patch_size_flag", 1)
    else:
        s.ue("nnpfc_overlap", max=16383)
        constant_patch_size_flag = s.flag("nnpfc_constant_patch_size_flag")
    if constant_patch_size_flag:
        s.ue("nnpfc_patch_width_minus1", max=32766)
        s.ue("nnpfc_patch_height_minus1", max=32766)
    else:
        s.ue("nnpfc_extended_patch_width_cd_delta_minus1")
        s.ue("nnpfc_extended_patch_height_cd_delta_minus1")
    if s.ue("nnpfc_padding_type", max=15) == 4:
        if inp_order_idc != 1:
            s.ue("nnpfc_luma_padding_val")
        if inp_order_idc != 0:
            s.ue("nnpfc_cb_padding_val")
            s.ue("nnpfc_cr_padding_val")
    if s.flag("nnpfc_complexity_info_present_flag"):
        if s.u(2, "nnpfc_parameter_type_idc") != 2:
            s.u(2, "nnpfc_log2_parameter_bit_length_minus3")
        s.u(6, "nnpfc_num_parameters_idc", max=52)
        s.ue("nnpfc_num_kmac_operations_idc")
        s.ue("nnpfc_total_kilobyte_size")
    _metadata_extension(s, purpose, mode_idc)


def _metadata_extension(s: Syntax, purpose: int, mode_idc: int) -> None:
    num_bits = s.ue("nnpfc_num_metadata_extension_bits", max=4096)
    if num_bits == 0:
        return
    if isinstance(s, Reader):
        understood, num_reserved = _metadata_layout(s, purpose, mode_idc, num_bits)
    else:
        understood = s.upcoming("nnpfc_for_machine_analysis_idc") is not None
        num_reserved = len(str(s.upcoming("nnpfc_reserved_metadata_extension") or ""))
    if understood:
        _metadata_elements(s, purpose)
    if num_reserved:
        s.bits(num_reserved, "nnpfc_reserved_metadata_extension")


def _metadata_elements(s: Syntax, purpose: int) -> None:
    if purpose == 0 and s.flag("nnpfc_application_purpose_tag_uri_present_flag"):
        s.align("nnpfc_metadata_alignment_zero_bit")
        s.st("nnpfc_application_purpose_tag_uri")
    if purpose & (SPATIAL_EXTRAPOLATION | RESOLUTION_RESAMPLING):
        s.u(2, "nnpfc_scan_type_idc")
    s.u(2, "nnpfc_for_human_viewing_idc")
    s.u(2, "nnpfc_for_machine_analysis_idc")


def _metadata_layout(s: Reader, purpose: int, mode_idc: int, num_bits: int) -> tuple[bool, int]:
    """What the metadata extension holds: whether the elements of V4, and how many reserved bits.

    Streams count the bits in more ways than one, so the first reading that leaves a proper end of the payload is taken:
    1. every bit, as the text of nnpfc_num_metadata_extension_bits says;
    2. without the alignment bits before the tag URI, as the reference software counts (VTM 23.13, writer and reader):
       too few for 1, so that only what is counted in full, and could be 2 with reserved bits, is read as 1;
    3. nnpfc_scan_type_idc left out, an error of the reference software's writer (two bits too few);
    4. nothing understood: all bits are reserved, as in a message of V3.
    """
    ahead = Reader(s.source.data, s.source.pos, s.source.end)
    start = ahead.position
    readings: list[tuple[bool, int]] = []
    after: list[int] = []
    try:
        _metadata_elements(ahead, purpose)
        every_bit = ahead.position - start
        alignment = -(start + 1) % 8 if "nnpfc_application_purpose_tag_uri" in ahead.values.present else 0
        counts = [every_bit, every_bit - alignment]
        if "nnpfc_scan_type_idc" in ahead.values.present and num_bits == every_bit - 2:
            counts.append(num_bits)
        for count in counts:
            if count <= num_bits:
                readings.append((True, num_bits - count))
                after.append(ahead.position + num_bits - count)
    except VseiError:
        pass
    readings.append((False, num_bits))
    after.append(start + num_bits)
    for reading, end in zip(readings, after, strict=True):
        if _ends_properly(s, end, mode_idc):
            return reading
    return readings[0]


def _ends_properly(s: Reader, pos: int, mode_idc: int) -> bool:
    """Whether the payload can go on at bit `pos` after the properties: alignment zeros (then payload bytes), or its
    closing bits."""
    left = s.source.end - pos
    if left < 0:
        return False
    ahead = Reader(s.source.data, pos, s.source.end).source
    if mode_idc == MODE_NNC:
        return ahead.u(-pos % 8) == 0
    return left == 0 or (left < 8 and ahead.u(left) == 1 << (left - 1))


def nnpfa(s: Syntax) -> None:
    """nn_post_filter_activation( payloadSize ), H.274 8.28.2.1"""
    s.ue("nnpfa_target_id")
    if s.flag("nnpfa_cancel_flag"):
        return
    persistence_flag = s.flag("nnpfa_persistence_flag")
    s.flag("nnpfa_target_base_flag")
    s.flag("nnpfa_no_prev_clvs_flag")
    if persistence_flag:
        s.flag("nnpfa_no_foll_clvs_flag")
    for i in range(s.ue("nnpfa_num_output_entries")):
        s.flag("nnpfa_output_flag", i)
    # V3 ends here; V4 goes on when more than the closing bits is left (V4 8.28.2.1, more_data_in_payload).
    if s.more_data("nnpfa_prompt_update_flag"):
        if s.flag("nnpfa_prompt_update_flag"):
            s.align("nnpfa_alignment_zero_bit")
            s.st("nnpfa_prompt")
        if s.flag("nnpfa_seed_update_flag"):
            s.u(16, "nnpfa_seed")
        if s.flag("nnpfa_selected_input_flag"):
            s.ue("nnpfa_num_input_pic_shift")


def reserved_value(message: NnpfCharacteristics | NnpfActivation) -> tuple[str, int] | None:
    """The element whose value is reserved, so that a decoder ignores the message (H.274 8.28.1.2, 8.28.2.2), or None.

    Such a message is kept, shown and written back, never applied.
    """
    if isinstance(message, NnpfActivation):
        return ("nnpfa_target_id", message.nnpfa_target_id) if _reserved_id(message.nnpfa_target_id) else None
    if _reserved_id(message.nnpfc_id):
        return "nnpfc_id", message.nnpfc_id
    if message.nnpfc_purpose & ~ALL_PURPOSES:
        return "nnpfc_purpose", message.nnpfc_purpose
    if message.nnpfc_mode_idc > MODE_URI:
        return "nnpfc_mode_idc", message.nnpfc_mode_idc
    for element, largest in (
        ("nnpfc_inp_format_idc", 1),
        ("nnpfc_auxiliary_inp_idc", 7),
        ("nnpfc_inp_order_idc", 3),
        ("nnpfc_out_format_idc", 1),
        ("nnpfc_out_order_idc", 3),
        ("nnpfc_padding_type", 4),
    ):
        value = getattr(message, element)
        if value is not None and value > largest:
            return element, value
    return None


def _reserved_id(value: int) -> bool:
    return 256 <= value <= 511 or value >= 1 << 31
