"""Slice segment header: H.265 7.3.6; of the base layer."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.hevc.common import MAX_LONG_TERM_PICS, st_ref_pic_set
from vsei.hevc.parameter_sets import ParameterSets, Pps, Sps
from vsei.nal import Hevc
from vsei.rbsp import limited
from vsei.syntax import Syntax, Values

B_SLICE, P_SLICE, I_SLICE = 0, 1, 2  # slice_type (Table 7-7)
MAX_ENTRY_POINTS = 440 * 135  # 7.4.7.1 and Table A.9: tiles times CTU rows
MAX_EXTENSION_BYTES = 256  # 7.4.7.1: slice_segment_header_extension_length
IDR = (Hevc.IDR_W_RADL, Hevc.IDR_N_LP)


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """slice_segment_header() and the sets it refers to. A dependent one holds little more than its address."""

    values: Values
    sps: Sps
    pps: Pps

    @property
    def slice_qp_y(self) -> int:
        """SliceQpY (7.4.7.1)"""
        return 26 + self.pps.values["init_qp_minus26"] + self.values["slice_qp_delta"]


def slice_segment_header(s: Syntax, nal_unit_type: int, sets: ParameterSets) -> SliceHeader:
    """7.3.6.1, byte_alignment() included."""
    first = s.flag("first_slice_segment_in_pic_flag")
    if 16 <= nal_unit_type <= 23:
        s.flag("no_output_of_prior_pics_flag")
    pps_id = s.ue("slice_pic_parameter_set_id", max=63)
    sps_and_pps = sets.of_picture(s, pps_id)
    sps, pps = sps_and_pps[0].values, sps_and_pps[1].values
    dependent = 0
    if not first:
        if pps["dependent_slice_segments_enabled_flag"]:
            dependent = s.flag("dependent_slice_segment_flag")
        ctbs = pic_size_in_ctbs(sps)
        s.u((ctbs - 1).bit_length(), "slice_segment_address", max=ctbs - 1)
    if not dependent:
        _independent(s, nal_unit_type, sps_and_pps[0], pps)
    if pps["tiles_enabled_flag"] or pps["entropy_coding_sync_enabled_flag"]:
        points = s.ue("num_entry_point_offsets", max=MAX_ENTRY_POINTS)
        if points:
            bits = limited(s, "offset_len_minus1", s.ue("offset_len_minus1", max=31) + 1, 32)
            for i in range(limited(s, "num_entry_point_offsets", points, MAX_ENTRY_POINTS)):
                s.u(bits, "entry_point_offset_minus1", i)
    if pps["slice_segment_header_extension_present_flag"]:
        length = s.ue("slice_segment_header_extension_length", max=MAX_EXTENSION_BYTES)
        for i in range(limited(s, "slice_segment_header_extension_length", length, MAX_EXTENSION_BYTES)):
            s.u(8, "slice_segment_header_extension_data_byte", i)
    s.fixed(1, "alignment_bit_equal_to_one", 1)
    s.align("alignment_bit_equal_to_zero")
    return SliceHeader(s.values, *sps_and_pps)


def pic_size_in_ctbs(sps: Values) -> int:
    """PicSizeInCtbsY"""
    ctb_log2 = sps["log2_min_luma_coding_block_size_minus3"] + 3 + sps["log2_diff_max_min_luma_coding_block_size"]
    width, height = sps["pic_width_in_luma_samples"], sps["pic_height_in_luma_samples"]
    return -(-width >> ctb_log2) * -(-height >> ctb_log2)


def _independent(s: Syntax, nal_unit_type: int, sps_: Sps, pps: Values) -> None:
    """What only an independent slice segment has."""
    sps = sps_.values
    chroma = sps["chroma_format_idc"] != 0 and not sps.get("separate_colour_plane_flag")
    for i in range(pps["num_extra_slice_header_bits"]):
        s.flag("slice_reserved_flag", i)
    slice_type = s.ue("slice_type", max=2)
    if pps["output_flag_present_flag"]:
        s.flag("pic_output_flag")
    if sps.get("separate_colour_plane_flag"):
        s.u(2, "colour_plane_id", max=2)
    pictures = 0  # NumPicTotalCurr
    temporal_mvp = 0
    if nal_unit_type not in IDR:
        pictures = _reference_pictures(s, sps_)
        if sps["sps_temporal_mvp_enabled_flag"]:
            temporal_mvp = s.flag("slice_temporal_mvp_enabled_flag")
    pictures += pps.get("pps_curr_pic_ref_enabled_flag")
    sao = 0
    if sps["sample_adaptive_offset_enabled_flag"]:
        sao = s.flag("slice_sao_luma_flag")
        if chroma:
            sao |= s.flag("slice_sao_chroma_flag")
    if slice_type != I_SLICE:
        _inter(s, slice_type, sps, pps, pictures, temporal_mvp, chroma)
    s.se("slice_qp_delta")
    if pps["pps_slice_chroma_qp_offsets_present_flag"]:
        s.se("slice_cb_qp_offset", min=-12, max=12)
        s.se("slice_cr_qp_offset", min=-12, max=12)
    if pps.get("pps_slice_act_qp_offsets_present_flag"):
        for component in ("y", "cb", "cr"):
            s.se(f"slice_act_{component}_qp_offset", min=-12, max=12)
    if pps.get("chroma_qp_offset_list_enabled_flag"):
        s.flag("cu_chroma_qp_offset_enabled_flag")
    disabled = pps.get("pps_deblocking_filter_disabled_flag")
    if pps.get("deblocking_filter_override_enabled_flag") and s.flag("deblocking_filter_override_flag"):
        disabled = s.flag("slice_deblocking_filter_disabled_flag")
        if not disabled:
            s.se("slice_beta_offset_div2", min=-6, max=6)
            s.se("slice_tc_offset_div2", min=-6, max=6)
    if pps["pps_loop_filter_across_slices_enabled_flag"] and (sao or not disabled):
        s.flag("slice_loop_filter_across_slices_enabled_flag")


def _reference_pictures(s: Syntax, sps_: Sps) -> int:
    """The reference picture set, and how many pictures of it the current picture may use."""
    sps = sps_.values
    poc_lsb_bits = sps["log2_max_pic_order_cnt_lsb_minus4"] + 4
    s.u(poc_lsb_bits, "slice_pic_order_cnt_lsb")
    count = len(sps_.ref_pic_sets)
    if not s.flag("short_term_ref_pic_set_sps_flag"):
        with s.structure("st_ref_pic_set"):
            chosen = st_ref_pic_set(s, count, sps_.ref_pic_sets, in_slice=True)
    else:
        index = s.u((count - 1).bit_length(), "short_term_ref_pic_set_idx", max=count - 1) if count > 1 else 0
        if index >= count:
            raise s.fail("short_term_ref_pic_set_idx", f"{index}, but the SPS has {count} sets")
        chosen = sps_.ref_pic_sets[index]
    pictures = chosen.num_used
    if sps["long_term_ref_pics_present_flag"]:
        candidates = sps["num_long_term_ref_pics_sps"]
        from_sps = s.ue("num_long_term_sps", max=candidates) if candidates > 0 else 0
        coded = s.ue("num_long_term_pics", max=MAX_LONG_TERM_PICS)
        for i in range(limited(s, "num_long_term_pics", from_sps + coded, MAX_LONG_TERM_PICS + 1)):
            if i < from_sps:
                index = s.u((candidates - 1).bit_length(), "lt_idx_sps", i, max=candidates - 1) if candidates > 1 else 0
                if index >= candidates:
                    raise s.fail(f"lt_idx_sps[{i}]", f"{index}, but the SPS has {candidates} pictures")
                pictures += sps["used_by_curr_pic_lt_sps_flag", index]
            else:
                s.u(poc_lsb_bits, "poc_lsb_lt", i)
                pictures += s.flag("used_by_curr_pic_lt_flag", i)
            if s.flag("delta_poc_msb_present_flag", i):
                s.ue("delta_poc_msb_cycle_lt", i)
    return pictures


def _inter(
    s: Syntax, slice_type: int, sps: Values, pps: Values, pictures: int, temporal_mvp: int, chroma: bool
) -> None:
    """Reference picture lists, prediction weights and what else only P and B slices have."""
    lists = 2 if slice_type == B_SLICE else 1
    active = [pps[f"num_ref_idx_l{x}_default_active_minus1"] + 1 for x in range(lists)]
    if s.flag("num_ref_idx_active_override_flag"):
        active = [s.ue(f"num_ref_idx_l{x}_active_minus1", max=14) + 1 for x in range(lists)]
    for x in range(lists):
        limited(s, f"num_ref_idx_l{x}_active_minus1", active[x], 15)
    if pps["lists_modification_present_flag"] and pictures > 1:
        for x in range(lists):
            if s.flag(f"ref_pic_list_modification_flag_l{x}"):
                for i in range(active[x]):
                    s.u((pictures - 1).bit_length(), f"list_entry_l{x}", i, max=pictures - 1)
    if slice_type == B_SLICE:
        s.flag("mvd_l1_zero_flag")
    if pps["cabac_init_present_flag"]:
        s.flag("cabac_init_flag")
    if temporal_mvp:
        from_l0 = s.flag("collocated_from_l0_flag") if slice_type == B_SLICE else 1
        entries = active[0 if from_l0 else 1]
        if entries > 1:
            s.ue("collocated_ref_idx", max=entries - 1)
    if pps["weighted_pred_flag"] if slice_type == P_SLICE else pps["weighted_bipred_flag"]:
        if pps.get("pps_curr_pic_ref_enabled_flag"):
            # Which weights are present depends on where the current picture stands in the lists.
            raise s.fail("luma_log2_weight_denom", "weights with the current picture as a reference are out of reach")
        _pred_weight_table(s, active, chroma, sps)
    s.ue("five_minus_max_num_merge_cand", max=4)
    if sps.get("motion_vector_resolution_control_idc") == 2:
        s.flag("use_integer_mv_flag")


def _pred_weight_table(s: Syntax, active: list[int], chroma: bool, sps: Values) -> None:
    """7.3.6.3"""
    luma_half = 1 << (sps["bit_depth_luma_minus8"] + 7 if sps.get("high_precision_offsets_enabled_flag") else 7)
    chroma_half = 1 << (sps["bit_depth_chroma_minus8"] + 7 if sps.get("high_precision_offsets_enabled_flag") else 7)
    denominator = s.ue("luma_log2_weight_denom", max=7)
    if chroma:
        s.se("delta_chroma_log2_weight_denom", min=-denominator, max=7 - denominator)
    for x, count in enumerate(active):
        luma_flags = [s.flag(f"luma_weight_l{x}_flag", i) for i in range(count)]
        chroma_flags = [s.flag(f"chroma_weight_l{x}_flag", i) if chroma else 0 for i in range(count)]
        for i in range(count):
            if luma_flags[i]:
                s.se(f"delta_luma_weight_l{x}", i, min=-128, max=127)
                s.se(f"luma_offset_l{x}", i, min=-luma_half, max=luma_half - 1)
            if chroma_flags[i]:
                for j in range(2):
                    s.se(f"delta_chroma_weight_l{x}", i, j, min=-128, max=127)
                    s.se(f"delta_chroma_offset_l{x}", i, j, min=-4 * chroma_half, max=4 * chroma_half - 1)
