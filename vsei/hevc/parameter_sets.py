"""Video, sequence and picture parameter sets: H.265 7.3.2.1 to 7.3.2.3, and VUI parameters: E.2.1.

The range and screen content extensions are understood; multilayer and 3D extensions are kept as bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vsei.hevc.common import (
    MAX_LONG_TERM_PICS,
    MAX_PIC_SIZE,
    MAX_SHORT_TERM_SETS,
    MAX_SUB_LAYERS,
    CommonHrd,
    RefPicSet,
    hrd_parameters,
    profile_tier_level,
    scaling_list_data,
    st_ref_pic_set,
    sub_layer_ordering_info,
)
from vsei.rbsp import limited
from vsei.syntax import Syntax, Values

MAX_LAYER_SETS = 1024  # 7.4.3.1: vps_num_layer_sets_minus1 is at most 1023
MAX_TILE_COLUMNS, MAX_TILE_ROWS = 40, 44  # Table A.9, level 7.2
MAX_PALETTE_PREDICTORS = 128  # 7.4.3.2.5: PaletteMaxPredictorSize


@dataclass(frozen=True, slots=True, eq=False)
class Vps:
    """A video parameter set."""

    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class Sps:
    """A sequence parameter set, with the short-term reference picture sets that it holds."""

    values: Values
    ref_pic_sets: list[RefPicSet]


@dataclass(frozen=True, slots=True, eq=False)
class Pps:
    """A picture parameter set."""

    values: Values


@dataclass(slots=True)
class ParameterSets:
    """By identifier, as last received; those of the base layer."""

    sps: dict[int, Sps] = field(default_factory=dict)
    pps: dict[int, Pps] = field(default_factory=dict)

    def of_picture(self, s: Syntax, pps_id: int) -> tuple[Sps, Pps]:
        """The sets that a slice header refers to. VseiError when one has not come."""
        pps = self.pps.get(pps_id)
        if pps is None:
            raise s.fail("slice_pic_parameter_set_id", f"PPS {pps_id} has not come")
        sps_id = pps.values["pps_seq_parameter_set_id"]
        sps = self.sps.get(sps_id)
        if sps is None:
            raise s.fail("pps_seq_parameter_set_id", f"SPS {sps_id} has not come")
        return sps, pps


def video_parameter_set_rbsp(s: Syntax) -> Vps:
    """7.3.2.1, without rbsp_trailing_bits()."""
    s.u(4, "vps_video_parameter_set_id")
    s.flag("vps_base_layer_internal_flag")
    s.flag("vps_base_layer_available_flag")
    s.u(6, "vps_max_layers_minus1", max=62)
    max_sub_layers_minus1 = s.u(3, "vps_max_sub_layers_minus1", max=MAX_SUB_LAYERS - 1)
    s.flag("vps_temporal_id_nesting_flag")
    s.u(16, "vps_reserved_0xffff_16bits", min=0xFFFF)
    profile_tier_level(s, max_sub_layers_minus1)
    sub_layer_ordering_info(s, "vps", max_sub_layers_minus1)
    max_layer_id = s.u(6, "vps_max_layer_id", max=62)
    layer_sets = s.ue("vps_num_layer_sets_minus1", max=MAX_LAYER_SETS - 1) + 1
    for i in range(1, limited(s, "vps_num_layer_sets_minus1", layer_sets, MAX_LAYER_SETS)):
        for j in range(max_layer_id + 1):
            s.flag("layer_id_included_flag", i, j)
    if s.flag("vps_timing_info_present_flag"):
        _timing(s, "vps")
        hrds = s.ue("vps_num_hrd_parameters", max=layer_sets)
        common = CommonHrd()
        for i in range(limited(s, "vps_num_hrd_parameters", hrds, MAX_LAYER_SETS)):
            s.ue("hrd_layer_set_idx", i, max=layer_sets - 1)
            common_present = s.flag("cprms_present_flag", i) if i > 0 else 1
            with s.structure("hrd_parameters", i):
                common = hrd_parameters(s, common_present, max_sub_layers_minus1, common)
    if s.flag("vps_extension_flag"):
        s.extension("vps_extension_data_flag")
    return Vps(s.values)


def _timing(s: Syntax, prefix: str) -> None:
    s.u(32, f"{prefix}_num_units_in_tick", min=1)
    s.u(32, f"{prefix}_time_scale", min=1)
    if s.flag(f"{prefix}_poc_proportional_to_timing_flag"):
        s.ue(f"{prefix}_num_ticks_poc_diff_one_minus1")


def seq_parameter_set_rbsp(s: Syntax) -> Sps:
    """7.3.2.2, without rbsp_trailing_bits(); of the base layer."""
    s.u(4, "sps_video_parameter_set_id")
    max_sub_layers_minus1 = s.u(3, "sps_max_sub_layers_minus1", max=MAX_SUB_LAYERS - 1)
    s.flag("sps_temporal_id_nesting_flag")
    profile_tier_level(s, max_sub_layers_minus1)
    s.ue("sps_seq_parameter_set_id", max=15)
    chroma_format_idc = s.ue("chroma_format_idc", max=3)
    limited(s, "chroma_format_idc", chroma_format_idc, 3)
    if chroma_format_idc == 3:
        s.flag("separate_colour_plane_flag")
    for direction in ("width", "height"):
        name = f"pic_{direction}_in_luma_samples"
        limited(s, name, s.ue(name, min=1), MAX_PIC_SIZE)
    if s.flag("conformance_window_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.ue(f"conf_win_{side}_offset")
    luma = limited(s, "bit_depth_luma_minus8", s.ue("bit_depth_luma_minus8", max=8), 8) + 8
    chroma = limited(s, "bit_depth_chroma_minus8", s.ue("bit_depth_chroma_minus8", max=8), 8) + 8
    poc_lsb_bits = s.ue("log2_max_pic_order_cnt_lsb_minus4", max=12) + 4
    limited(s, "log2_max_pic_order_cnt_lsb_minus4", poc_lsb_bits, 16)
    sub_layer_ordering_info(s, "sps", max_sub_layers_minus1)
    for name in ("log2_min_luma_coding_block_size_minus3", "log2_diff_max_min_luma_coding_block_size"):
        limited(s, name, s.ue(name, max=3), 3)
    s.ue("log2_min_luma_transform_block_size_minus2", max=3)
    s.ue("log2_diff_max_min_luma_transform_block_size", max=3)
    s.ue("max_transform_hierarchy_depth_inter", max=4)
    s.ue("max_transform_hierarchy_depth_intra", max=4)
    if s.flag("scaling_list_enabled_flag") and s.flag("sps_scaling_list_data_present_flag"):
        scaling_list_data(s)
    s.flag("amp_enabled_flag")
    s.flag("sample_adaptive_offset_enabled_flag")
    if s.flag("pcm_enabled_flag"):
        s.u(4, "pcm_sample_bit_depth_luma_minus1", max=luma - 1)
        s.u(4, "pcm_sample_bit_depth_chroma_minus1", max=chroma - 1)
        s.ue("log2_min_pcm_luma_coding_block_size_minus3", max=2)
        s.ue("log2_diff_max_min_pcm_luma_coding_block_size", max=2)
        s.flag("pcm_loop_filter_disabled_flag")
    count = s.ue("num_short_term_ref_pic_sets", max=MAX_SHORT_TERM_SETS)
    sets: list[RefPicSet] = []
    for i in range(limited(s, "num_short_term_ref_pic_sets", count, MAX_SHORT_TERM_SETS)):
        with s.structure("st_ref_pic_set", i):
            sets.append(st_ref_pic_set(s, i, sets, in_slice=False))
    if s.flag("long_term_ref_pics_present_flag"):
        count = s.ue("num_long_term_ref_pics_sps", max=MAX_LONG_TERM_PICS)
        for i in range(limited(s, "num_long_term_ref_pics_sps", count, MAX_LONG_TERM_PICS)):
            s.u(poc_lsb_bits, "lt_ref_pic_poc_lsb_sps", i)
            s.flag("used_by_curr_pic_lt_sps_flag", i)
    s.flag("sps_temporal_mvp_enabled_flag")
    s.flag("strong_intra_smoothing_enabled_flag")
    if s.flag("vui_parameters_present_flag"):
        vui_parameters(s, max_sub_layers_minus1)
    if s.flag("sps_extension_present_flag"):
        range_extension = s.flag("sps_range_extension_flag")
        multilayer = s.flag("sps_multilayer_extension_flag")
        three_d = s.flag("sps_3d_extension_flag")
        screen_content = s.flag("sps_scc_extension_flag")
        more = s.u(4, "sps_extension_4bits")
        if range_extension:
            for name in _SPS_RANGE_EXTENSION:
                s.flag(name)
        if multilayer:
            s.flag("inter_view_mv_vert_constraint_flag")
        if screen_content and not three_d:
            _sps_scc_extension(s, luma, chroma if chroma_format_idc else 0)
        if three_d or more:
            s.extension("sps_extension_data_flag")
    return Sps(s.values, sets)


_SPS_RANGE_EXTENSION = (
    "transform_skip_rotation_enabled_flag",
    "transform_skip_context_enabled_flag",
    "implicit_rdpcm_enabled_flag",
    "explicit_rdpcm_enabled_flag",
    "extended_precision_processing_flag",
    "intra_smoothing_disabled_flag",
    "high_precision_offsets_enabled_flag",
    "persistent_rice_adaptation_enabled_flag",
    "cabac_bypass_alignment_enabled_flag",
)


def _sps_scc_extension(s: Syntax, luma_bits: int, chroma_bits: int) -> None:
    """7.3.2.2.3"""
    s.flag("sps_curr_pic_ref_enabled_flag")
    if s.flag("palette_mode_enabled_flag"):
        s.ue("palette_max_size", max=64)
        s.ue("delta_palette_max_predictor_size", max=128)
        if s.flag("sps_palette_predictor_initializers_present_flag"):
            name = "sps_num_palette_predictor_initializers_minus1"
            entries = limited(s, name, s.ue(name, max=MAX_PALETTE_PREDICTORS - 1) + 1, MAX_PALETTE_PREDICTORS)
            for component, bits in enumerate((luma_bits, chroma_bits, chroma_bits)):
                if bits:
                    for i in range(entries):
                        s.u(bits, "sps_palette_predictor_initializer", component, i)
    s.u(2, "motion_vector_resolution_control_idc", max=2)
    s.flag("intra_boundary_filtering_disabled_flag")


def vui_parameters(s: Syntax, max_sub_layers_minus1: int) -> None:
    """E.2.1"""
    if s.flag("aspect_ratio_info_present_flag") and s.u(8, "aspect_ratio_idc") == 255:
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
            s.u(8, "matrix_coeffs")
    if s.flag("chroma_loc_info_present_flag"):
        s.ue("chroma_sample_loc_type_top_field", max=5)
        s.ue("chroma_sample_loc_type_bottom_field", max=5)
    s.flag("neutral_chroma_indication_flag")
    s.flag("field_seq_flag")
    s.flag("frame_field_info_present_flag")
    if s.flag("default_display_window_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.ue(f"def_disp_win_{side}_offset")
    if s.flag("vui_timing_info_present_flag"):
        _timing(s, "vui")
        if s.flag("vui_hrd_parameters_present_flag"):
            with s.structure("hrd_parameters"):
                hrd_parameters(s, 1, max_sub_layers_minus1, CommonHrd())
    if s.flag("bitstream_restriction_flag"):
        s.flag("tiles_fixed_structure_flag")
        s.flag("motion_vectors_over_pic_boundaries_flag")
        s.flag("restricted_ref_pic_lists_flag")
        s.ue("min_spatial_segmentation_idc", max=4095)
        s.ue("max_bytes_per_pic_denom", max=16)
        s.ue("max_bits_per_min_cu_denom", max=16)
        s.ue("log2_max_mv_length_horizontal", max=15)
        s.ue("log2_max_mv_length_vertical", max=15)


def pic_parameter_set_rbsp(s: Syntax) -> Pps:
    """7.3.2.3, without rbsp_trailing_bits(); of the base layer."""
    s.ue("pps_pic_parameter_set_id", max=63)
    s.ue("pps_seq_parameter_set_id", max=15)
    s.flag("dependent_slice_segments_enabled_flag")
    s.flag("output_flag_present_flag")
    s.u(3, "num_extra_slice_header_bits")
    s.flag("sign_data_hiding_enabled_flag")
    s.flag("cabac_init_present_flag")
    s.ue("num_ref_idx_l0_default_active_minus1", max=14)
    s.ue("num_ref_idx_l1_default_active_minus1", max=14)
    s.se("init_qp_minus26", min=-(26 + 48), max=25)
    s.flag("constrained_intra_pred_flag")
    transform_skip = s.flag("transform_skip_enabled_flag")
    if s.flag("cu_qp_delta_enabled_flag"):
        s.ue("diff_cu_qp_delta_depth", max=3)
    s.se("pps_cb_qp_offset", min=-12, max=12)
    s.se("pps_cr_qp_offset", min=-12, max=12)
    s.flag("pps_slice_chroma_qp_offsets_present_flag")
    s.flag("weighted_pred_flag")
    s.flag("weighted_bipred_flag")
    s.flag("transquant_bypass_enabled_flag")
    tiles = s.flag("tiles_enabled_flag")
    s.flag("entropy_coding_sync_enabled_flag")
    if tiles:
        columns = s.ue("num_tile_columns_minus1", max=MAX_TILE_COLUMNS - 1)
        rows = s.ue("num_tile_rows_minus1", max=MAX_TILE_ROWS - 1)
        if not s.flag("uniform_spacing_flag"):
            for i in range(limited(s, "num_tile_columns_minus1", columns, MAX_TILE_COLUMNS - 1)):
                s.ue("column_width_minus1", i)
            for i in range(limited(s, "num_tile_rows_minus1", rows, MAX_TILE_ROWS - 1)):
                s.ue("row_height_minus1", i)
        s.flag("loop_filter_across_tiles_enabled_flag")
    s.flag("pps_loop_filter_across_slices_enabled_flag")
    if s.flag("deblocking_filter_control_present_flag"):
        s.flag("deblocking_filter_override_enabled_flag")
        if not s.flag("pps_deblocking_filter_disabled_flag"):
            s.se("pps_beta_offset_div2", min=-6, max=6)
            s.se("pps_tc_offset_div2", min=-6, max=6)
    if s.flag("pps_scaling_list_data_present_flag"):
        scaling_list_data(s)
    s.flag("lists_modification_present_flag")
    s.ue("log2_parallel_merge_level_minus2", max=4)
    s.flag("slice_segment_header_extension_present_flag")
    if s.flag("pps_extension_present_flag"):
        range_extension = s.flag("pps_range_extension_flag")
        multilayer = s.flag("pps_multilayer_extension_flag")
        three_d = s.flag("pps_3d_extension_flag")
        screen_content = s.flag("pps_scc_extension_flag")
        more = s.u(4, "pps_extension_4bits")
        if range_extension:
            _pps_range_extension(s, transform_skip)
        if screen_content and not (multilayer or three_d):
            _pps_scc_extension(s)
        if multilayer or three_d or more:
            s.extension("pps_extension_data_flag")
    return Pps(s.values)


def _pps_range_extension(s: Syntax, transform_skip: int) -> None:
    """7.3.2.3.2"""
    if transform_skip:
        s.ue("log2_max_transform_skip_block_size_minus2", max=3)
    s.flag("cross_component_prediction_enabled_flag")
    if s.flag("chroma_qp_offset_list_enabled_flag"):
        s.ue("diff_cu_chroma_qp_offset_depth", max=3)
        length = s.ue("chroma_qp_offset_list_len_minus1", max=5) + 1
        for i in range(limited(s, "chroma_qp_offset_list_len_minus1", length, 6)):
            s.se("cb_qp_offset_list", i, min=-12, max=12)
            s.se("cr_qp_offset_list", i, min=-12, max=12)
    s.ue("log2_sao_offset_scale_luma", max=6)
    s.ue("log2_sao_offset_scale_chroma", max=6)


def _pps_scc_extension(s: Syntax) -> None:
    """7.3.2.3.3"""
    s.flag("pps_curr_pic_ref_enabled_flag")
    if s.flag("residual_adaptive_colour_transform_enabled_flag"):
        s.flag("pps_slice_act_qp_offsets_present_flag")
        s.se("pps_act_y_qp_offset_plus5", min=-7, max=17)
        s.se("pps_act_cb_qp_offset_plus5", min=-7, max=17)
        s.se("pps_act_cr_qp_offset_plus3", min=-9, max=15)
    if s.flag("pps_palette_predictor_initializers_present_flag"):
        name = "pps_num_palette_predictor_initializers"
        entries = limited(s, name, s.ue(name, max=MAX_PALETTE_PREDICTORS), MAX_PALETTE_PREDICTORS)
        if entries:
            monochrome = s.flag("monochrome_palette_flag")
            depths = [limited(s, "luma_bit_depth_entry_minus8", s.ue("luma_bit_depth_entry_minus8", max=8), 8) + 8]
            if not monochrome:
                chroma = s.ue("chroma_bit_depth_entry_minus8", max=8)
                depths += [limited(s, "chroma_bit_depth_entry_minus8", chroma, 8) + 8] * 2
            for component, bits in enumerate(depths):
                for i in range(entries):
                    s.u(bits, "pps_palette_predictor_initializer", component, i)
