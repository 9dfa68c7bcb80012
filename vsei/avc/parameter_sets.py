"""Sequence and picture parameter sets: H.264 7.3.2.1, 7.3.2.2, and VUI parameters: E.1."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsei.rbsp import limited
from vsei.syntax import Syntax, Values

# Limits keep hostile values from making long loops; a value beyond one ends the structure with an error.
MAX_CPB_COUNT = 32  # E.2.2: cpb_cnt_minus1 is 0..31
MAX_POC_CYCLE = 255  # 7.4.2.1.1: num_ref_frames_in_pic_order_cnt_cycle
MAX_SLICE_GROUPS = 8  # A.2: num_slice_groups_minus1 is at most 7
MAX_MBS = 139264  # Table A-1: MaxFS of level 6.2

# profile_idc of the profiles that have chroma_format_idc and what comes with it (7.3.2.1.1)
HIGH_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
EXTENDED_SAR = 255


@dataclass(frozen=True, slots=True, eq=False)
class Sps:
    """A sequence parameter set, with the variables that pictures need.

    Attributes:
        chroma_array_type: ChromaArrayType.
        offset_for_ref_frame: of pic_order_cnt_type 1.
    """

    values: Values
    chroma_array_type: int
    offset_for_ref_frame: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pps:
    """A picture parameter set."""

    values: Values


@dataclass(slots=True)
class ParameterSets:
    """By identifier, as last received."""

    sps: dict[int, Sps] = field(default_factory=dict)
    pps: dict[int, Pps] = field(default_factory=dict)

    def of_picture(self, s: Syntax, pps_id: int) -> tuple[Sps, Pps]:
        """The sets that a slice header refers to. VseiError when one has not come."""
        pps = self.pps.get(pps_id)
        if pps is None:
            raise s.fail("pic_parameter_set_id", f"PPS {pps_id} has not come")
        return self.of_pps(s, pps.values["seq_parameter_set_id"]), pps

    def of_pps(self, s: Syntax, sps_id: int) -> Sps:
        """The SPS that a PPS refers to. VseiError when it has not come."""
        sps = self.sps.get(sps_id)
        if sps is None:
            raise s.fail("seq_parameter_set_id", f"SPS {sps_id} has not come")
        return sps


def nal_unit_header(s: Syntax) -> None:
    """7.3.1, without the extensions of nal_unit_type 14, 20 and 21."""
    s.u(1, "forbidden_zero_bit", max=0)
    s.u(2, "nal_ref_idc")
    s.u(5, "nal_unit_type")


def seq_parameter_set_data(s: Syntax) -> Sps:
    """7.3.2.1.1"""
    profile_idc = s.u(8, "profile_idc")
    for i in range(6):
        s.flag(f"constraint_set{i}_flag")
    s.u(2, "reserved_zero_2bits", max=0)
    s.u(8, "level_idc")
    s.ue("seq_parameter_set_id", max=31)
    chroma_format_idc = chroma_array_type = 1
    if profile_idc in HIGH_PROFILES:
        chroma_format_idc = limited(s, "chroma_format_idc", s.ue("chroma_format_idc", max=3), 3)
        chroma_array_type = chroma_format_idc
        if chroma_format_idc == 3 and s.flag("separate_colour_plane_flag"):
            chroma_array_type = 0
        for component in ("luma", "chroma"):
            name = f"bit_depth_{component}_minus8"
            limited(s, name, s.ue(name, max=6), 6)
        s.flag("qpprime_y_zero_transform_bypass_flag")
        if s.flag("seq_scaling_matrix_present_flag"):
            _scaling_lists(s, "seq", 8 if chroma_format_idc != 3 else 12)
    limited(s, "log2_max_frame_num_minus4", s.ue("log2_max_frame_num_minus4", max=12), 12)
    offsets: tuple[int, ...] = ()
    poc_type = limited(s, "pic_order_cnt_type", s.ue("pic_order_cnt_type", max=2), 2)
    if poc_type == 0:
        limited(s, "log2_max_pic_order_cnt_lsb_minus4", s.ue("log2_max_pic_order_cnt_lsb_minus4", max=12), 12)
    elif poc_type == 1:
        s.flag("delta_pic_order_always_zero_flag")
        s.se("offset_for_non_ref_pic")
        s.se("offset_for_top_to_bottom_field")
        cycle = s.ue("num_ref_frames_in_pic_order_cnt_cycle", max=MAX_POC_CYCLE)
        limited(s, "num_ref_frames_in_pic_order_cnt_cycle", cycle, MAX_POC_CYCLE)
        offsets = tuple(s.se("offset_for_ref_frame", i) for i in range(cycle))
    s.ue("max_num_ref_frames", max=16)
    s.flag("gaps_in_frame_num_value_allowed_flag")
    width = limited(s, "pic_width_in_mbs_minus1", s.ue("pic_width_in_mbs_minus1"), MAX_MBS) + 1
    height = limited(s, "pic_height_in_map_units_minus1", s.ue("pic_height_in_map_units_minus1"), MAX_MBS) + 1
    limited(s, "PicSizeInMapUnits", width * height, MAX_MBS)
    if not s.flag("frame_mbs_only_flag"):
        s.flag("mb_adaptive_frame_field_flag")
    s.flag("direct_8x8_inference_flag")
    if s.flag("frame_cropping_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.ue(f"frame_crop_{side}_offset")
    if s.flag("vui_parameters_present_flag"):
        vui_parameters(s)
    return Sps(s.values, chroma_array_type, offsets)


def _scaling_lists(s: Syntax, prefix: str, count: int) -> None:
    for i in range(count):
        if s.flag(f"{prefix}_scaling_list_present_flag", i):
            scaling_list(s, i, 16 if i < 6 else 64)


def scaling_list(s: Syntax, number: int, size: int) -> None:
    """7.3.2.1.1.1"""
    scale = 8
    for j in range(size):
        scale = (scale + s.se("delta_scale", number, j, min=-128, max=127)) % 256
        if scale == 0:
            break


def vui_parameters(s: Syntax) -> None:
    """E.1.1"""
    if s.flag("aspect_ratio_info_present_flag") and s.u(8, "aspect_ratio_idc") == EXTENDED_SAR:
        s.u(16, "sar_width")
        s.u(16, "sar_height")
    if s.flag("overscan_info_present_flag"):
        s.flag("overscan_appropriate_flag")
    if s.flag("video_signal_type_present_flag"):
        s.u(3, "video_format")
        s.flag("video_full_range_flag")
        if s.flag("colour_description_present_flag"):
            s.u(8, "colour_primaries")
            s.u(8, "transfer_characteristics")
            s.u(8, "matrix_coefficients")
    if s.flag("chroma_loc_info_present_flag"):
        s.ue("chroma_sample_loc_type_top_field", max=5)
        s.ue("chroma_sample_loc_type_bottom_field", max=5)
    if s.flag("timing_info_present_flag"):
        s.u(32, "num_units_in_tick", min=1)
        s.u(32, "time_scale", min=1)
        s.flag("fixed_frame_rate_flag")
    present = 0
    for kind in ("nal", "vcl"):
        if s.flag(f"{kind}_hrd_parameters_present_flag"):
            present = 1
            with s.structure(f"{kind}_hrd_parameters"):
                hrd_parameters(s)
    if present:
        s.flag("low_delay_hrd_flag")
    s.flag("pic_struct_present_flag")
    if s.flag("bitstream_restriction_flag"):
        s.flag("motion_vectors_over_pic_boundaries_flag")
        s.ue("max_bytes_per_pic_denom", max=16)
        s.ue("max_bits_per_mb_denom", max=16)
        s.ue("log2_max_mv_length_horizontal", max=15)
        s.ue("log2_max_mv_length_vertical", max=15)
        s.ue("max_num_reorder_frames", max=16)
        s.ue("max_dec_frame_buffering", max=16)


def hrd_parameters(s: Syntax) -> None:
    """E.1.2"""
    cpbs = limited(s, "cpb_cnt_minus1", s.ue("cpb_cnt_minus1", max=MAX_CPB_COUNT - 1) + 1, MAX_CPB_COUNT)
    s.u(4, "bit_rate_scale")
    s.u(4, "cpb_size_scale")
    for i in range(cpbs):
        s.ue("bit_rate_value_minus1", i)
        s.ue("cpb_size_value_minus1", i)
        s.flag("cbr_flag", i)
    s.u(5, "initial_cpb_removal_delay_length_minus1")
    s.u(5, "cpb_removal_delay_length_minus1")
    s.u(5, "dpb_output_delay_length_minus1")
    s.u(5, "time_offset_length")


def pic_parameter_set_rbsp(s: Syntax, sets: ParameterSets) -> Pps:
    """7.3.2.2, without rbsp_trailing_bits()."""
    s.ue("pic_parameter_set_id", max=255)
    sps_id = s.ue("seq_parameter_set_id", max=31)
    s.flag("entropy_coding_mode_flag")
    s.flag("bottom_field_pic_order_in_frame_present_flag")
    groups = s.ue("num_slice_groups_minus1", max=MAX_SLICE_GROUPS - 1) + 1
    if limited(s, "num_slice_groups_minus1", groups, MAX_SLICE_GROUPS) > 1:
        _slice_groups(s, groups)
    s.ue("num_ref_idx_l0_default_active_minus1", max=31)
    s.ue("num_ref_idx_l1_default_active_minus1", max=31)
    s.flag("weighted_pred_flag")
    s.u(2, "weighted_bipred_idc", max=2)
    s.se("pic_init_qp_minus26", min=-(26 + 36), max=25)
    s.se("pic_init_qs_minus26", min=-26, max=25)
    s.se("chroma_qp_index_offset", min=-12, max=12)
    s.flag("deblocking_filter_control_present_flag")
    s.flag("constrained_intra_pred_flag")
    s.flag("redundant_pic_cnt_present_flag")
    if s.more_rbsp_data("transform_8x8_mode_flag"):
        transform_8x8 = s.flag("transform_8x8_mode_flag")
        if s.flag("pic_scaling_matrix_present_flag"):
            # The one place where a PPS cannot be read without its SPS.
            chroma_format_idc = sets.of_pps(s, sps_id).values.get("chroma_format_idc", 1) if transform_8x8 else 1
            _scaling_lists(s, "pic", 6 + (2 if chroma_format_idc != 3 else 6) * transform_8x8)
        s.se("second_chroma_qp_index_offset", min=-12, max=12)
    return Pps(s.values)


def _slice_groups(s: Syntax, groups: int) -> None:
    kind = s.ue("slice_group_map_type", max=6)
    if kind == 0:
        for i in range(groups):
            s.ue("run_length_minus1", i)
    elif kind == 2:
        for i in range(groups - 1):
            s.ue("top_left", i)
            s.ue("bottom_right", i)
    elif kind in (3, 4, 5):
        s.flag("slice_group_change_direction_flag")
        s.ue("slice_group_change_rate_minus1")
    elif kind == 6:
        size = s.ue("pic_size_in_map_units_minus1", max=MAX_MBS - 1) + 1
        for i in range(limited(s, "pic_size_in_map_units_minus1", size, MAX_MBS)):
            s.u((groups - 1).bit_length(), "slice_group_id", i, max=groups - 1)
