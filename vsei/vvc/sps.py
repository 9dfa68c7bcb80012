"""Sequence parameter set: H.266 7.3.2.4, range extension included."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.rbsp import limited
from vsei.syntax import Syntax, Values
from vsei.vvc.common import (
    MAX_REF_PIC_LISTS,
    MAX_SUBLAYERS,
    RefPicList,
    ceil_div,
    ceil_log2,
    dpb_parameters,
    general_timing_hrd_parameters,
    ols_timing_hrd_parameters,
    profile_tier_level,
    ref_pic_list_struct,
    vui_payload,
)

MAX_SUBPICS = 1000  # Table A.2: MaxSlicesPerAu is at most 1000, and every subpicture holds a slice
MAX_PIC_SIZE = 1 << 17  # samples; A.4.1 allows 16 888 by 16 888 at level 6.3, no level is the only way above it
MAX_QP_TABLE_POINTS = 112  # 7.4.3.4: points of a chroma QP table; QP goes from -48 to 63
MAX_VUI_BYTES = 1024  # 7.4.3.4: sps_vui_payload_size_minus1 is at most 1023


@dataclass(frozen=True, slots=True, eq=False)
class Sps:
    """A sequence parameter set with the variables that pictures need.

    Attributes:
        ref_pic_lists: the candidate lists, [listIdx][rplsIdx].
        max_dec_pic_buffering, max_num_reorder: pictures in the DPB, and those that wait for output, of the highest
            sublayer; None where the SPS does not say.
        max_latency: MaxLatencyPictures (7.4.4) of the highest sublayer; None is no limit.
    """

    values: Values
    ref_pic_lists: tuple[tuple[RefPicList, ...], tuple[RefPicList, ...]]
    max_dec_pic_buffering: int | None = None
    max_num_reorder: int | None = None
    max_latency: int | None = None


def seq_parameter_set_rbsp(s: Syntax) -> Sps:
    """7.3.2.4, without rbsp_trailing_bits()."""
    s.u(4, "sps_seq_parameter_set_id")
    vps_id = s.u(4, "sps_video_parameter_set_id")
    max_sublayers_minus1 = s.u(3, "sps_max_sublayers_minus1", max=MAX_SUBLAYERS - 1)
    chroma_format_idc = s.u(2, "sps_chroma_format_idc")
    ctb_log2 = s.u(2, "sps_log2_ctu_size_minus5", max=2) + 5
    ptl_dpb_hrd = s.flag("sps_ptl_dpb_hrd_params_present_flag")
    if ptl_dpb_hrd:
        profile_tier_level(s, 1, max_sublayers_minus1)
    s.flag("sps_gdr_enabled_flag")
    if s.flag("sps_ref_pic_resampling_enabled_flag"):
        s.flag("sps_res_change_in_clvs_allowed_flag")
    width = s.ue("sps_pic_width_max_in_luma_samples", min=1)
    height = s.ue("sps_pic_height_max_in_luma_samples", min=1)
    limited(s, "sps_pic_width_max_in_luma_samples", width, MAX_PIC_SIZE)
    limited(s, "sps_pic_height_max_in_luma_samples", height, MAX_PIC_SIZE)
    if s.flag("sps_conformance_window_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.ue(f"sps_conf_win_{side}_offset")
    if s.flag("sps_subpic_info_present_flag"):
        _subpictures(s, ceil_div(width, 1 << ctb_log2), ceil_div(height, 1 << ctb_log2))
    bit_depth_minus8 = limited(s, "sps_bitdepth_minus8", s.ue("sps_bitdepth_minus8", max=8), 8)
    s.flag("sps_entropy_coding_sync_enabled_flag")
    s.flag("sps_entry_point_offsets_present_flag")
    poc_lsb_bits = s.u(4, "sps_log2_max_pic_order_cnt_lsb_minus4", max=12) + 4
    if s.flag("sps_poc_msb_cycle_flag"):
        msb_bits = s.ue("sps_poc_msb_cycle_len_minus1", max=32 - poc_lsb_bits - 1) + 1
        limited(s, "sps_poc_msb_cycle_len_minus1", msb_bits, 32)
    for header in ("ph", "sh"):
        for i in range(8 * s.u(2, f"sps_num_extra_{header}_bytes", max=2)):
            s.flag(f"sps_extra_{header}_bit_present_flag", i)
    if ptl_dpb_hrd:
        sublayers = s.flag("sps_sublayer_dpb_params_flag") if max_sublayers_minus1 > 0 else 0
        dpb_parameters(s, max_sublayers_minus1, sublayers)
    _partitioning(s, ctb_log2, chroma_format_idc)
    transform_64 = s.flag("sps_max_luma_transform_size_64_flag") if ctb_log2 > 5 else 0
    transform_skip = s.flag("sps_transform_skip_enabled_flag")
    if transform_skip:
        s.ue("sps_log2_transform_skip_max_size_minus2", max=3)
        s.flag("sps_bdpcm_enabled_flag")
    if s.flag("sps_mts_enabled_flag"):
        s.flag("sps_explicit_mts_intra_enabled_flag")
        s.flag("sps_explicit_mts_inter_enabled_flag")
    lfnst = s.flag("sps_lfnst_enabled_flag")
    if chroma_format_idc != 0:
        _chroma_qp_tables(s, bit_depth_minus8)
    s.flag("sps_sao_enabled_flag")
    if s.flag("sps_alf_enabled_flag") and chroma_format_idc != 0:
        s.flag("sps_ccalf_enabled_flag")
    s.flag("sps_lmcs_enabled_flag")
    s.flag("sps_weighted_pred_flag")
    s.flag("sps_weighted_bipred_flag")
    s.flag("sps_long_term_ref_pics_flag")
    if vps_id > 0:
        s.flag("sps_inter_layer_prediction_enabled_flag")
    s.flag("sps_idr_rpl_present_flag")
    same_lists = s.flag("sps_rpl1_same_as_rpl0_flag")
    lists: list[tuple[RefPicList, ...]] = []
    for i in range(1 if same_lists else 2):
        count = s.ue("sps_num_ref_pic_lists", i, max=MAX_REF_PIC_LISTS)
        limited(s, "sps_num_ref_pic_lists", count, MAX_REF_PIC_LISTS)
        lists.append(tuple(ref_pic_list_struct(s, i, j, s.values) for j in range(count)))
    if same_lists:
        s.infer("sps_num_ref_pic_lists", len(lists[0]), 1)
    s.flag("sps_ref_wraparound_enabled_flag")
    _inter(s, ctb_log2)
    s.flag("sps_isp_enabled_flag")
    s.flag("sps_mrl_enabled_flag")
    s.flag("sps_mip_enabled_flag")
    if chroma_format_idc != 0:
        s.flag("sps_cclm_enabled_flag")
    if chroma_format_idc == 1:
        s.flag("sps_chroma_horizontal_collocated_flag")
        s.flag("sps_chroma_vertical_collocated_flag")
    palette = s.flag("sps_palette_enabled_flag")
    act = s.flag("sps_act_enabled_flag") if chroma_format_idc == 3 and not transform_64 else 0
    if transform_skip or palette:
        s.ue("sps_min_qp_prime_ts", max=8)
    if s.flag("sps_ibc_enabled_flag"):
        s.ue("sps_six_minus_max_num_ibc_merge_cand", max=5)
    if s.flag("sps_ladf_enabled_flag"):
        intervals = s.u(2, "sps_num_ladf_intervals_minus2") + 2
        s.se("sps_ladf_lowest_interval_qp_offset", min=-63, max=63)
        for i in range(intervals - 1):
            s.se("sps_ladf_qp_offset", i, min=-63, max=63)
            s.ue("sps_ladf_delta_threshold_minus1", i, max=(1 << (bit_depth_minus8 + 8)) - 3)
    scaling_list = s.flag("sps_explicit_scaling_list_enabled_flag")
    if lfnst and scaling_list:
        s.flag("sps_scaling_matrix_for_lfnst_disabled_flag")
    if act and scaling_list and s.flag("sps_scaling_matrix_for_alternative_colour_space_disabled_flag"):
        s.flag("sps_scaling_matrix_designated_colour_space_flag")
    s.flag("sps_dep_quant_enabled_flag")
    s.flag("sps_sign_data_hiding_enabled_flag")
    if s.flag("sps_virtual_boundaries_enabled_flag") and s.flag("sps_virtual_boundaries_present_flag"):
        virtual_boundaries(s, "sps", width, height)
    if ptl_dpb_hrd and s.flag("sps_timing_hrd_params_present_flag"):
        general = general_timing_hrd_parameters(s)
        sublayers = s.flag("sps_sublayer_cpb_params_present_flag") if max_sublayers_minus1 > 0 else 0
        ols_timing_hrd_parameters(s, 0 if sublayers else max_sublayers_minus1, max_sublayers_minus1, general)
    s.flag("sps_field_seq_flag")
    if s.flag("sps_vui_parameters_present_flag"):
        size = s.ue("sps_vui_payload_size_minus1", max=MAX_VUI_BYTES - 1) + 1
        limited(s, "sps_vui_payload_size_minus1", size, MAX_VUI_BYTES)
        s.align("sps_vui_alignment_zero_bit")
        vui_payload(s, size)
    if s.flag("sps_extension_flag"):
        range_extension = s.flag("sps_range_extension_flag")
        more = s.u(7, "sps_extension_7bits")
        if range_extension:
            sps_range_extension(s, transform_skip)
        if more:
            s.extension("sps_extension_data_flag")

    if not ptl_dpb_hrd:
        return Sps(s.values, (lists[0], lists[-1]))
    reorder = s["dpb_max_num_reorder_pics", max_sublayers_minus1]
    latency_plus1 = s["dpb_max_latency_increase_plus1", max_sublayers_minus1]
    return Sps(
        s.values,
        (lists[0], lists[-1]),
        s["dpb_max_dec_pic_buffering_minus1", max_sublayers_minus1] + 1,
        reorder,
        reorder + latency_plus1 - 1 if latency_plus1 else None,
    )


def sps_range_extension(s: Syntax, transform_skip: int) -> None:
    """7.3.2.23"""
    s.flag("sps_extended_precision_flag")
    if transform_skip:
        s.flag("sps_ts_residual_coding_rice_present_in_sh_flag")
    s.flag("sps_rrc_rice_extension_flag")
    s.flag("sps_persistent_rice_adaptation_enabled_flag")
    s.flag("sps_reverse_last_sig_coeff_enabled_flag")


def virtual_boundaries(s: Syntax, prefix: str, width: int, height: int) -> None:
    """The same elements stand in the SPS and in the picture header."""
    for direction, axis, size in (("ver", "x", width), ("hor", "y", height)):
        name = f"{prefix}_num_{direction}_virtual_boundaries"
        for i in range(limited(s, name, s.ue(name, max=0 if size <= 8 else 3), 3)):
            s.ue(f"{prefix}_virtual_boundary_pos_{axis}_minus1", i, max=max(0, ceil_div(size, 8) - 2))


def _subpictures(s: Syntax, width_in_ctbs: int, height_in_ctbs: int) -> None:
    num_minus1 = s.ue("sps_num_subpics_minus1", max=MAX_SUBPICS - 1)
    limited(s, "sps_num_subpics_minus1", num_minus1, MAX_SUBPICS - 1)
    if num_minus1 > 0:
        independent = s.flag("sps_independent_subpics_flag")
        same_size = s.flag("sps_subpic_same_size_flag")
        x_bits, y_bits = ceil_log2(width_in_ctbs), ceil_log2(height_in_ctbs)
        # Where the picture is one CTU wide (or high) these elements are absent, and would have 0 bits.
        for i in range(num_minus1 + 1):
            if i == 0 or not same_size:
                if i > 0 and x_bits:
                    s.u(x_bits, "sps_subpic_ctu_top_left_x", i)
                if i > 0 and y_bits:
                    s.u(y_bits, "sps_subpic_ctu_top_left_y", i)
                if i < num_minus1 and x_bits:
                    s.u(x_bits, "sps_subpic_width_minus1", i)
                if i < num_minus1 and y_bits:
                    s.u(y_bits, "sps_subpic_height_minus1", i)
            if not independent:
                s.flag("sps_subpic_treated_as_pic_flag", i)
                s.flag("sps_loop_filter_across_subpic_enabled_flag", i)
    id_bits = s.ue("sps_subpic_id_len_minus1", max=15) + 1
    limited(s, "sps_subpic_id_len_minus1", id_bits, 16)
    if s.flag("sps_subpic_id_mapping_explicitly_signalled_flag") and s.flag("sps_subpic_id_mapping_present_flag"):
        for i in range(num_minus1 + 1):
            s.u(id_bits, "sps_subpic_id", i)


def _partitioning(s: Syntax, ctb_log2: int, chroma_format_idc: int) -> None:
    """Coding block and quadtree sizes"""
    min_cb_log2 = s.ue("sps_log2_min_luma_coding_block_size_minus2", max=min(4, ctb_log2 - 2)) + 2
    s.flag("sps_partition_constraints_override_enabled_flag")
    most_qt = max(0, min(6, ctb_log2) - min_cb_log2)
    most_depth = max(0, 2 * (ctb_log2 - min_cb_log2))
    s.ue("sps_log2_diff_min_qt_min_cb_intra_slice_luma", max=most_qt)
    if s.ue("sps_max_mtt_hierarchy_depth_intra_slice_luma", max=most_depth):
        s.ue("sps_log2_diff_max_bt_min_qt_intra_slice_luma", max=ctb_log2)
        s.ue("sps_log2_diff_max_tt_min_qt_intra_slice_luma", max=6)
    if chroma_format_idc != 0 and s.flag("sps_qtbtt_dual_tree_intra_flag"):
        s.ue("sps_log2_diff_min_qt_min_cb_intra_slice_chroma", max=most_qt)
        if s.ue("sps_max_mtt_hierarchy_depth_intra_slice_chroma", max=most_depth):
            s.ue("sps_log2_diff_max_bt_min_qt_intra_slice_chroma", max=6)
            s.ue("sps_log2_diff_max_tt_min_qt_intra_slice_chroma", max=6)
    s.ue("sps_log2_diff_min_qt_min_cb_inter_slice", max=most_qt)
    if s.ue("sps_max_mtt_hierarchy_depth_inter_slice", max=most_depth):
        s.ue("sps_log2_diff_max_bt_min_qt_inter_slice", max=ctb_log2)
        s.ue("sps_log2_diff_max_tt_min_qt_inter_slice", max=6)


def _chroma_qp_tables(s: Syntax, bit_depth_minus8: int) -> None:
    joint = s.flag("sps_joint_cbcr_enabled_flag")
    same = s.flag("sps_same_qp_table_for_chroma_flag")
    for i in range(1 if same else 3 if joint else 2):
        start = s.se("sps_qp_table_start_minus26", i, min=-26 - 6 * bit_depth_minus8, max=36)
        points = s.ue("sps_num_points_in_qp_table_minus1", i, max=max(0, 36 - start)) + 1
        limited(s, "sps_num_points_in_qp_table_minus1", points, MAX_QP_TABLE_POINTS)
        for j in range(points):
            s.ue("sps_delta_qp_in_val_minus1", i, j)
            s.ue("sps_delta_qp_diff_val", i, j)


def _inter(s: Syntax, ctb_log2: int) -> None:
    """Motion vector prediction and merging"""
    sbtmvp = s.flag("sps_temporal_mvp_enabled_flag") and s.flag("sps_sbtmvp_enabled_flag")
    amvr = s.flag("sps_amvr_enabled_flag")
    if s.flag("sps_bdof_enabled_flag"):
        s.flag("sps_bdof_control_present_in_ph_flag")
    s.flag("sps_smvd_enabled_flag")
    if s.flag("sps_dmvr_enabled_flag"):
        s.flag("sps_dmvr_control_present_in_ph_flag")
    if s.flag("sps_mmvd_enabled_flag"):
        s.flag("sps_mmvd_fullpel_only_enabled_flag")
    max_merge_cand = 6 - s.ue("sps_six_minus_max_num_merge_cand", max=5)
    s.flag("sps_sbt_enabled_flag")
    if s.flag("sps_affine_enabled_flag"):
        s.ue("sps_five_minus_max_num_subblock_merge_cand", max=5 - sbtmvp)
        s.flag("sps_6param_affine_enabled_flag")
        if amvr:
            s.flag("sps_affine_amvr_enabled_flag")
        if s.flag("sps_affine_prof_enabled_flag"):
            s.flag("sps_prof_control_present_in_ph_flag")
    s.flag("sps_bcw_enabled_flag")
    s.flag("sps_ciip_enabled_flag")
    if max_merge_cand >= 2 and s.flag("sps_gpm_enabled_flag") and max_merge_cand >= 3:
        s.ue("sps_max_num_merge_cand_minus_max_num_gpm_cand", max=max_merge_cand - 2)
    s.ue("sps_log2_parallel_merge_level_minus2", max=ctb_log2 - 2)
