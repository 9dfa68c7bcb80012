"""Structures that several parameter sets and headers of H.266 share: 7.3.2.22, 7.3.3, 7.3.4, 7.3.5, 7.3.9 to 7.3.11.

Element names and subscripts are the standard's. Where a structure occurs several times under the same names, each one
is a nested structure.
"""

from __future__ import annotations

from typing import NamedTuple

from vsei.rbsp import limited
from vsei.syntax import Syntax, Values

# Limits keep hostile values from making long loops; a value beyond one ends the structure with an error.
MAX_SUBLAYERS = 7  # 7.4.3.3: vps_max_sublayers_minus1 is 0..6
MAX_LAYERS = 64  # vps_max_layers_minus1 is u(6)
MAX_REF_ENTRIES = 29  # 7.4.11: num_ref_entries is at most MaxDpbSize + 13, and MaxDpbSize at most 16 (A.4.2)
MAX_REF_PIC_LISTS = 64  # 7.4.3.4: sps_num_ref_pic_lists
MAX_CPB_COUNT = 32  # 7.4.6.1: hrd_cpb_cnt_minus1 is 0..31
MAX_EXTENSION_BYTES = 256  # 7.4.3.7, 7.4.8: ph_extension_length, sh_slice_header_extension_length


def ceil_log2(value: int) -> int:
    """Ceil( Log2( value ) ) for value >= 1."""
    return (value - 1).bit_length()


def ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)


def nal_unit_header(s: Syntax) -> None:
    """7.3.1.2"""
    s.u(1, "forbidden_zero_bit", max=0)
    s.u(1, "nuh_reserved_zero_bit")
    s.u(6, "nuh_layer_id", max=55)
    s.u(5, "nal_unit_type")
    s.u(3, "nuh_temporal_id_plus1", min=1)


def extension_data(s: Syntax, prefix: str) -> None:
    """The `..._extension_flag` that ends most structures, and the bits after it when it is 1."""
    if s.flag(f"{prefix}_extension_flag"):
        s.extension(f"{prefix}_extension_data_flag")


_STRUCTURE_CONSTRAINTS = (
    "gci_no_mixed_nalu_types_in_pic_constraint_flag",
    "gci_no_trail_constraint_flag",
    "gci_no_stsa_constraint_flag",
    "gci_no_rasl_constraint_flag",
    "gci_no_radl_constraint_flag",
    "gci_no_idr_constraint_flag",
    "gci_no_cra_constraint_flag",
    "gci_no_gdr_constraint_flag",
    "gci_no_aps_constraint_flag",
    "gci_no_idr_rpl_constraint_flag",
    "gci_one_tile_per_pic_constraint_flag",
    "gci_pic_header_in_slice_header_constraint_flag",
    "gci_one_slice_per_pic_constraint_flag",
    "gci_no_rectangular_slice_constraint_flag",
    "gci_one_slice_per_subpic_constraint_flag",
    "gci_no_subpic_info_constraint_flag",
)
_TOOL_CONSTRAINTS = (
    "gci_no_partition_constraints_override_constraint_flag",
    "gci_no_mtt_constraint_flag",
    "gci_no_qtbtt_dual_tree_intra_constraint_flag",
    "gci_no_palette_constraint_flag",
    "gci_no_ibc_constraint_flag",
    "gci_no_isp_constraint_flag",
    "gci_no_mrl_constraint_flag",
    "gci_no_mip_constraint_flag",
    "gci_no_cclm_constraint_flag",
    "gci_no_ref_pic_resampling_constraint_flag",
    "gci_no_res_change_in_clvs_constraint_flag",
    "gci_no_weighted_prediction_constraint_flag",
    "gci_no_ref_wraparound_constraint_flag",
    "gci_no_temporal_mvp_constraint_flag",
    "gci_no_sbtmvp_constraint_flag",
    "gci_no_amvr_constraint_flag",
    "gci_no_bdof_constraint_flag",
    "gci_no_smvd_constraint_flag",
    "gci_no_dmvr_constraint_flag",
    "gci_no_mmvd_constraint_flag",
    "gci_no_affine_motion_constraint_flag",
    "gci_no_prof_constraint_flag",
    "gci_no_bcw_constraint_flag",
    "gci_no_ciip_constraint_flag",
    "gci_no_gpm_constraint_flag",
    "gci_no_luma_transform_size_64_constraint_flag",
    "gci_no_transform_skip_constraint_flag",
    "gci_no_bdpcm_constraint_flag",
    "gci_no_mts_constraint_flag",
    "gci_no_lfnst_constraint_flag",
    "gci_no_joint_cbcr_constraint_flag",
    "gci_no_sbt_constraint_flag",
    "gci_no_act_constraint_flag",
    "gci_no_explicit_scaling_list_constraint_flag",
    "gci_no_dep_quant_constraint_flag",
    "gci_no_sign_data_hiding_constraint_flag",
    "gci_no_cu_qp_delta_constraint_flag",
    "gci_no_chroma_qp_offset_constraint_flag",
    "gci_no_sao_constraint_flag",
    "gci_no_alf_constraint_flag",
    "gci_no_ccalf_constraint_flag",
    "gci_no_lmcs_constraint_flag",
    "gci_no_ladf_constraint_flag",
    "gci_no_virtual_boundaries_constraint_flag",
)
_ADDITIONAL_CONSTRAINTS = (  # since the second edition
    "gci_all_rap_pictures_constraint_flag",
    "gci_no_extended_precision_processing_constraint_flag",
    "gci_no_ts_residual_coding_rice_constraint_flag",
    "gci_no_rrc_rice_extension_constraint_flag",
    "gci_no_persistent_rice_adaptation_constraint_flag",
    "gci_no_reverse_last_sig_coeff_constraint_flag",
)


def general_constraints_info(s: Syntax) -> None:
    """7.3.3.2"""
    if s.flag("gci_present_flag"):
        s.flag("gci_intra_only_constraint_flag")
        s.flag("gci_all_layers_independent_constraint_flag")
        s.flag("gci_one_au_only_constraint_flag")
        s.u(4, "gci_sixteen_minus_max_bitdepth_constraint_idc", max=8)
        s.u(2, "gci_three_minus_max_chroma_format_constraint_idc")
        for name in _STRUCTURE_CONSTRAINTS:
            s.flag(name)
        s.u(2, "gci_three_minus_max_log2_ctu_size_constraint_idc")
        for name in _TOOL_CONSTRAINTS:
            s.flag(name)
        additional = s.u(8, "gci_num_additional_bits")
        if additional > 5:
            for name in _ADDITIONAL_CONSTRAINTS:
                s.flag(name)
            additional -= len(_ADDITIONAL_CONSTRAINTS)
        for i in range(additional):
            s.flag("gci_reserved_bit", i)
    s.align("gci_alignment_zero_bit")


def profile_tier_level(s: Syntax, profile_tier_present: int, max_sublayers_minus1: int) -> None:
    """7.3.3.1"""
    if profile_tier_present:
        s.u(7, "general_profile_idc")
        s.flag("general_tier_flag")
    s.u(8, "general_level_idc")
    s.flag("ptl_frame_only_constraint_flag")
    s.flag("ptl_multilayer_enabled_flag")
    if profile_tier_present:
        general_constraints_info(s)
    present = {i: s.flag("ptl_sublayer_level_present_flag", i) for i in range(max_sublayers_minus1 - 1, -1, -1)}
    s.align("ptl_reserved_zero_bit")
    for i in range(max_sublayers_minus1 - 1, -1, -1):
        if present[i]:
            s.u(8, "sublayer_level_idc", i)
    if profile_tier_present:
        for i in range(s.u(8, "ptl_num_sub_profiles")):
            s.u(32, "general_sub_profile_idc", i)


def dpb_parameters(s: Syntax, max_sublayers_minus1: int, sublayer_info: int) -> None:
    """7.3.4"""
    for i in range(0 if sublayer_info else max_sublayers_minus1, max_sublayers_minus1 + 1):
        most = s.ue("dpb_max_dec_pic_buffering_minus1", i, max=15)
        s.ue("dpb_max_num_reorder_pics", i, max=most)
        s.ue("dpb_max_latency_increase_plus1", i)


class TimingHrd(NamedTuple):
    """What ols_timing_hrd_parameters() needs to know of general_timing_hrd_parameters()."""

    nal: int
    vcl: int
    decoding_units: int
    cpbs: int


def general_timing_hrd_parameters(s: Syntax) -> TimingHrd:
    """7.3.5.1"""
    s.u(32, "num_units_in_tick", min=1)
    s.u(32, "time_scale", min=1)
    nal = s.flag("general_nal_hrd_params_present_flag")
    vcl = s.flag("general_vcl_hrd_params_present_flag")
    decoding_units, cpbs = 0, 0
    if nal or vcl:
        s.flag("general_same_pic_timing_in_all_ols_flag")
        decoding_units = s.flag("general_du_hrd_params_present_flag")
        if decoding_units:
            s.u(8, "tick_divisor_minus2")
        s.u(4, "bit_rate_scale")
        s.u(4, "cpb_size_scale")
        if decoding_units:
            s.u(4, "cpb_size_du_scale")
        cpbs = limited(s, "hrd_cpb_cnt_minus1", s.ue("hrd_cpb_cnt_minus1"), MAX_CPB_COUNT - 1) + 1
    return TimingHrd(nal, vcl, decoding_units, cpbs)


def ols_timing_hrd_parameters(s: Syntax, first_sublayer: int, max_sublayers: int, general: TimingHrd) -> None:
    """7.3.5.2"""
    for i in range(first_sublayer, max_sublayers + 1):
        within_cvs = s.flag("fixed_pic_rate_general_flag", i) or s.flag("fixed_pic_rate_within_cvs_flag", i)
        if within_cvs:
            s.ue("elemental_duration_in_tc_minus1", i, max=2047)
        elif (general.nal or general.vcl) and general.cpbs == 1:
            s.flag("low_delay_hrd_flag", i)
        if general.nal:
            with s.structure("nal_sublayer_hrd_parameters", i):
                sublayer_hrd_parameters(s, i, general)
        if general.vcl:
            with s.structure("vcl_sublayer_hrd_parameters", i):
                sublayer_hrd_parameters(s, i, general)


def sublayer_hrd_parameters(s: Syntax, sublayer: int, general: TimingHrd) -> None:
    """7.3.5.3"""
    for j in range(general.cpbs):
        s.ue("bit_rate_value_minus1", sublayer, j)
        s.ue("cpb_size_value_minus1", sublayer, j)
        if general.decoding_units:
            s.ue("cpb_size_du_value_minus1", sublayer, j)
            s.ue("bit_rate_du_value_minus1", sublayer, j)
        s.flag("cbr_flag", sublayer, j)


def vui_payload(s: Syntax, size: int) -> None:
    """7.3.10, with the vui_parameters() of H.274 7.2. `size`: bytes."""
    end = s.position + 8 * size
    vui_parameters(s)
    if s.position > end:
        raise s.fail("vui_payload", f"vui_parameters() does not fit in {size} bytes")
    if s.position < end:
        s.extension("vui_reserved_payload_extension_data", end)
        s.fixed(1, "vui_payload_bit_equal_to_one", 1)
        s.align("vui_payload_bit_equal_to_zero")
    if s.position != end:
        raise s.fail("vui_payload", f"does not fill its {size} bytes")


def vui_parameters(s: Syntax) -> None:
    """H.274 7.2"""
    progressive = s.flag("vui_progressive_source_flag")
    interlaced = s.flag("vui_interlaced_source_flag")
    s.flag("vui_non_packed_constraint_flag")
    s.flag("vui_non_projected_constraint_flag")
    if s.flag("vui_aspect_ratio_info_present_flag"):
        s.flag("vui_aspect_ratio_constant_flag")
        if s.u(8, "vui_aspect_ratio_idc") == 255:
            s.u(16, "vui_sar_width")
            s.u(16, "vui_sar_height")
    if s.flag("vui_overscan_info_present_flag"):
        s.flag("vui_overscan_appropriate_flag")
    if s.flag("vui_colour_description_present_flag"):
        s.u(8, "vui_colour_primaries")
        s.u(8, "vui_transfer_characteristics")
        s.u(8, "vui_matrix_coeffs")
        s.flag("vui_full_range_flag")
    if s.flag("vui_chroma_loc_info_present_flag"):
        if progressive and not interlaced:
            s.ue("vui_chroma_sample_loc_type_frame", max=6)
        else:
            s.ue("vui_chroma_sample_loc_type_top_field", max=6)
            s.ue("vui_chroma_sample_loc_type_bottom_field", max=6)


class RefPicList(NamedTuple):
    """What later syntax needs to know of a ref_pic_list_struct()."""

    num_ref_entries: int
    num_ltrp_entries: int  # NumLtrpEntries
    ltrp_in_header: int


NO_LIST = RefPicList(0, 0, 0)


def ref_pic_list_struct(s: Syntax, list_idx: int, rpls_idx: int, sps: Values) -> RefPicList:
    """7.3.11. `sps`: the elements of the SPS, as far as they come before its reference picture lists."""
    long_term = sps.get("sps_long_term_ref_pics_flag")
    inter_layer = sps.get("sps_inter_layer_prediction_enabled_flag")
    weighted = sps.get("sps_weighted_pred_flag") or sps.get("sps_weighted_bipred_flag")
    poc_lsb_bits = sps["sps_log2_max_pic_order_cnt_lsb_minus4"] + 4

    entries = s.ue("num_ref_entries", list_idx, rpls_idx, max=MAX_REF_ENTRIES)
    limited(s, "num_ref_entries", entries, MAX_REF_ENTRIES)
    ltrp_in_header = 0
    if long_term:
        if rpls_idx == sps["sps_num_ref_pic_lists", list_idx]:
            ltrp_in_header = 1  # inferred: the list stands in a header
        elif entries > 0:
            ltrp_in_header = s.flag("ltrp_in_header_flag", list_idx, rpls_idx)
    num_ltrp_entries = 0
    for i in range(entries):
        if inter_layer and s.flag("inter_layer_ref_pic_flag", list_idx, rpls_idx, i):
            s.ue("ilrp_idx", list_idx, rpls_idx, i, max=MAX_LAYERS - 1)
        elif not long_term or s.flag("st_ref_pic_flag", list_idx, rpls_idx, i):
            abs_delta_poc_st = s.ue("abs_delta_poc_st", list_idx, rpls_idx, i, max=2**15 - 1)
            if not (weighted and i != 0):
                abs_delta_poc_st += 1
            if abs_delta_poc_st > 0:
                s.flag("strp_entry_sign_flag", list_idx, rpls_idx, i)
        else:
            if not ltrp_in_header:
                s.u(poc_lsb_bits, "rpls_poc_lsb_lt", list_idx, rpls_idx, num_ltrp_entries)
            num_ltrp_entries += 1
    return RefPicList(entries, num_ltrp_entries, ltrp_in_header)
