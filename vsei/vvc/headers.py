"""Picture header and slice header: H.266 7.3.2.7, 7.3.2.8, 7.3.7."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.errors import VseiError
from vsei.nal import Vvc
from vsei.rbsp import limited
from vsei.syntax import Syntax, Values
from vsei.vvc.common import MAX_EXTENSION_BYTES, NO_LIST, RefPicList, ceil_log2, ref_pic_list_struct
from vsei.vvc.parameter_sets import ParameterSets
from vsei.vvc.pps import MAX_TILES, Pps, deblocking_offsets
from vsei.vvc.slices import raster_substreams, rectangular_slices, subpic_ids, substreams
from vsei.vvc.sps import Sps, virtual_boundaries

B_SLICE, P_SLICE, I_SLICE = 0, 1, 2  # sh_slice_type (Table 9)
MAX_ENTRY_POINTS = (
    1 << 16
)  # Table A.2 allows 990 tiles; with entropy sync each of 30 tile columns has up to 528 CTU rows
IDR = (Vvc.IDR_W_RADL, Vvc.IDR_N_LP)

Lists = tuple[RefPicList, RefPicList]
NO_LISTS: Lists = (NO_LIST, NO_LIST)


@dataclass(frozen=True, slots=True, eq=False)
class PictureHeader:
    """picture_header_structure() and the sets it refers to. `values` are those of the NAL unit it stands in."""

    values: Values
    sps: Sps
    pps: Pps
    lists: Lists


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """slice_header(). `values` hold the picture header too where that stands in the slice header."""

    values: Values
    picture: PictureHeader
    slice_type: int

    @property
    def slice_qp_y(self) -> int:
        """SliceQpY (7.4.8)"""
        pps, ph = self.picture.pps.values, self.picture.values
        in_ph = pps.get("pps_qp_delta_info_in_ph_flag")
        delta = ph.get("ph_qp_delta") if in_ph else self.values.get("sh_qp_delta")
        return 26 + pps["pps_init_qp_minus26"] + delta


def picture_header_structure(s: Syntax, sets: ParameterSets) -> PictureHeader:
    """7.3.2.8"""
    gdr_or_irap = s.flag("ph_gdr_or_irap_pic_flag")
    non_ref = s.flag("ph_non_ref_pic_flag")
    gdr = s.flag("ph_gdr_pic_flag") if gdr_or_irap else 0
    inter_allowed = s.flag("ph_inter_slice_allowed_flag")
    intra_allowed = s.flag("ph_intra_slice_allowed_flag") if inter_allowed else 1
    pps_id = s.ue("ph_pic_parameter_set_id", max=63)
    sps_and_pps = sets.of_picture(s, pps_id)
    sps, pps = sps_and_pps[0].values, sps_and_pps[1].values
    chroma = sps["sps_chroma_format_idc"] != 0

    poc_lsb_bits = sps["sps_log2_max_pic_order_cnt_lsb_minus4"] + 4
    s.u(poc_lsb_bits, "ph_pic_order_cnt_lsb")
    if gdr:
        s.ue("ph_recovery_poc_cnt", max=1 << poc_lsb_bits)
    for i in range(8 * sps["sps_num_extra_ph_bytes"]):
        if sps["sps_extra_ph_bit_present_flag", i]:
            s.flag("ph_extra_bit", i)
    if sps["sps_poc_msb_cycle_flag"] and s.flag("ph_poc_msb_cycle_present_flag"):
        s.u(sps["sps_poc_msb_cycle_len_minus1"] + 1, "ph_poc_msb_cycle_val")
    if sps["sps_alf_enabled_flag"] and pps.get("pps_alf_info_in_ph_flag"):
        _adaptive_loop_filter(s, "ph", sps, chroma)
    if sps["sps_lmcs_enabled_flag"] and s.flag("ph_lmcs_enabled_flag"):
        s.u(2, "ph_lmcs_aps_id")
        if chroma:
            s.flag("ph_chroma_residual_scale_flag")
    if sps["sps_explicit_scaling_list_enabled_flag"] and s.flag("ph_explicit_scaling_list_enabled_flag"):
        s.u(3, "ph_scaling_list_aps_id")
    if (
        sps["sps_virtual_boundaries_enabled_flag"]
        and not sps["sps_virtual_boundaries_present_flag"]
        and s.flag("ph_virtual_boundaries_present_flag")
    ):
        virtual_boundaries(s, "ph", pps["pps_pic_width_in_luma_samples"], pps["pps_pic_height_in_luma_samples"])
    if pps["pps_output_flag_present_flag"] and not non_ref:
        s.flag("ph_pic_output_flag")
    rpl_in_ph = pps.get("pps_rpl_info_in_ph_flag")
    lists = ref_pic_lists(s, *sps_and_pps) if rpl_in_ph else NO_LISTS
    override = 0
    if sps["sps_partition_constraints_override_enabled_flag"]:
        override = s.flag("ph_partition_constraints_override_flag")
    if intra_allowed:
        if override:
            _intra_partitioning(s, sps)
        if pps["pps_cu_qp_delta_enabled_flag"]:
            s.ue("ph_cu_qp_delta_subdiv_intra_slice")
        if pps.get("pps_cu_chroma_qp_offset_list_enabled_flag"):
            s.ue("ph_cu_chroma_qp_offset_subdiv_intra_slice")
    if inter_allowed:
        if override:
            s.ue("ph_log2_diff_min_qt_min_cb_inter_slice", max=6)
            if s.ue("ph_max_mtt_hierarchy_depth_inter_slice", max=10):
                s.ue("ph_log2_diff_max_bt_min_qt_inter_slice", max=7)
                s.ue("ph_log2_diff_max_tt_min_qt_inter_slice", max=6)
        if pps["pps_cu_qp_delta_enabled_flag"]:
            s.ue("ph_cu_qp_delta_subdiv_inter_slice")
        if pps.get("pps_cu_chroma_qp_offset_list_enabled_flag"):
            s.ue("ph_cu_chroma_qp_offset_subdiv_inter_slice")
        if sps["sps_temporal_mvp_enabled_flag"] and s.flag("ph_temporal_mvp_enabled_flag") and rpl_in_ph:
            from_l0 = s.flag("ph_collocated_from_l0_flag") if lists[1].num_ref_entries > 0 else 1
            entries = lists[0 if from_l0 else 1].num_ref_entries
            if entries > 1:
                s.ue("ph_collocated_ref_idx", max=entries - 1)
        if sps.get("sps_mmvd_fullpel_only_enabled_flag"):
            s.flag("ph_mmvd_fullpel_only_flag")
        if not rpl_in_ph or lists[1].num_ref_entries > 0:
            s.flag("ph_mvd_l1_zero_flag")
            if sps.get("sps_bdof_control_present_in_ph_flag"):
                s.flag("ph_bdof_disabled_flag")
            if sps.get("sps_dmvr_control_present_in_ph_flag"):
                s.flag("ph_dmvr_disabled_flag")
        if sps.get("sps_prof_control_present_in_ph_flag"):
            s.flag("ph_prof_disabled_flag")
        if pps.get("pps_wp_info_in_ph_flag"):
            pred_weight_table(s, sps, pps, lists, None)
    if pps.get("pps_qp_delta_info_in_ph_flag"):
        s.se("ph_qp_delta")
    if sps.get("sps_joint_cbcr_enabled_flag"):
        s.flag("ph_joint_cbcr_sign_flag")
    if sps["sps_sao_enabled_flag"] and pps.get("pps_sao_info_in_ph_flag"):
        s.flag("ph_sao_luma_enabled_flag")
        if chroma:
            s.flag("ph_sao_chroma_enabled_flag")
    if pps.get("pps_dbf_info_in_ph_flag") and s.flag("ph_deblocking_params_present_flag"):
        _deblocking(s, "ph", pps)
    if pps["pps_picture_header_extension_present_flag"]:
        _header_extension(s, "ph_extension_length", "ph_extension_data_byte")
    return PictureHeader(s.values, *sps_and_pps, lists)


def slice_header(s: Syntax, nal_unit_type: int, sets: ParameterSets, picture: PictureHeader | None) -> SliceHeader:
    """7.3.7, byte_alignment() included. `picture`: of the PH NAL unit of this picture, where it has one."""
    in_slice = s.flag("sh_picture_header_in_slice_header_flag")
    if in_slice:
        picture = picture_header_structure(s, sets)
    elif picture is None:
        raise s.fail("sh_picture_header_in_slice_header_flag", "0, but no picture header has come")
    sps, pps, ph = picture.sps.values, picture.pps.values, picture.values
    tiling = picture.pps.tiling
    chroma = sps["sps_chroma_format_idc"] != 0

    subpic = 0
    if sps["sps_subpic_info_present_flag"]:
        subpic_id = s.u(sps["sps_subpic_id_len_minus1"] + 1, "sh_subpic_id")
        try:
            subpic = subpic_ids(picture.sps, picture.pps)[subpic_id]
        except KeyError:
            raise s.fail("sh_subpic_id", f"{subpic_id}, no subpicture has it") from None
    rect = tiling.rect_slice if tiling is not None else 1
    choices = tiling.num_tiles if tiling is not None and not rect else 0
    if rect:
        choices = len(rectangular_slices(picture.sps, picture.pps)[subpic])
    address = s.u(ceil_log2(choices), "sh_slice_address", max=choices - 1) if choices > 1 else 0
    for i in range(8 * sps["sps_num_extra_sh_bytes"]):
        if sps["sps_extra_sh_bit_present_flag", i]:
            s.flag("sh_extra_bit", i)
    tiles = 1
    if not rect and choices - address > 1:
        tiles = s.ue("sh_num_tiles_in_slice_minus1", max=choices - 1) + 1
        limited(s, "sh_num_tiles_in_slice_minus1", tiles, MAX_TILES)
    slice_type = s.ue("sh_slice_type", max=2) if ph["ph_inter_slice_allowed_flag"] else I_SLICE
    if nal_unit_type in (Vvc.IDR_W_RADL, Vvc.IDR_N_LP, Vvc.CRA, Vvc.GDR):
        s.flag("sh_no_output_of_prior_pics_flag")
    if sps["sps_alf_enabled_flag"] and not pps.get("pps_alf_info_in_ph_flag"):
        _adaptive_loop_filter(s, "sh", sps, chroma)
    if not in_slice:
        if ph.get("ph_lmcs_enabled_flag"):
            s.flag("sh_lmcs_used_flag")
        if ph.get("ph_explicit_scaling_list_enabled_flag"):
            s.flag("sh_explicit_scaling_list_used_flag")
    rpl_in_ph = pps.get("pps_rpl_info_in_ph_flag")
    lists = picture.lists
    if not rpl_in_ph and (nal_unit_type not in IDR or sps["sps_idr_rpl_present_flag"]):
        lists = ref_pic_lists(s, picture.sps, picture.pps)
    active = _num_ref_idx_active(s, slice_type, lists, pps)
    if slice_type != I_SLICE:
        if pps["pps_cabac_init_present_flag"]:
            s.flag("sh_cabac_init_flag")
        if ph.get("ph_temporal_mvp_enabled_flag") and not rpl_in_ph:
            from_l0 = s.flag("sh_collocated_from_l0_flag") if slice_type == B_SLICE else 1
            entries = active[0 if from_l0 else 1]
            if entries > 1:
                s.ue("sh_collocated_ref_idx", max=entries - 1)
        weighted = pps["pps_weighted_pred_flag"] if slice_type == P_SLICE else pps["pps_weighted_bipred_flag"]
        if weighted and not pps.get("pps_wp_info_in_ph_flag"):
            pred_weight_table(s, sps, pps, lists, active)
    if not pps.get("pps_qp_delta_info_in_ph_flag"):
        s.se("sh_qp_delta")
    if pps.get("pps_slice_chroma_qp_offsets_present_flag"):
        s.se("sh_cb_qp_offset", min=-12, max=12)
        s.se("sh_cr_qp_offset", min=-12, max=12)
        if sps.get("sps_joint_cbcr_enabled_flag"):
            s.se("sh_joint_cbcr_qp_offset", min=-12, max=12)
    if pps.get("pps_cu_chroma_qp_offset_list_enabled_flag"):
        s.flag("sh_cu_chroma_qp_offset_enabled_flag")
    if sps["sps_sao_enabled_flag"] and not pps.get("pps_sao_info_in_ph_flag"):
        s.flag("sh_sao_luma_used_flag")
        if chroma:
            s.flag("sh_sao_chroma_used_flag")
    if (
        pps.get("pps_deblocking_filter_override_enabled_flag")
        and not pps.get("pps_dbf_info_in_ph_flag")
        and s.flag("sh_deblocking_params_present_flag")
    ):
        _deblocking(s, "sh", pps)
    _residual_coding(s, sps)
    if pps["pps_slice_header_extension_present_flag"]:
        _header_extension(s, "sh_slice_header_extension_length", "sh_slice_header_extension_data_byte")
    if sps["sps_entry_point_offsets_present_flag"]:
        if rect:
            areas = rectangular_slices(picture.sps, picture.pps)[subpic]
            if address >= len(areas):
                raise s.fail("sh_slice_address", f"{address}, but the subpicture has {len(areas)} slices")
            points = substreams(picture.sps, picture.pps, areas[address]) - 1
        else:
            try:
                points = raster_substreams(picture.sps, picture.pps, address, tiles) - 1
            except VseiError as error:
                raise s.fail("sh_num_tiles_in_slice_minus1", error.problem) from None
        if points > 0:
            bits = s.ue("sh_entry_offset_len_minus1", max=31) + 1
            limited(s, "sh_entry_offset_len_minus1", bits, 32)
            for i in range(limited(s, "NumEntryPoints", points, MAX_ENTRY_POINTS)):
                s.u(bits, "sh_entry_point_offset_minus1", i)
    s.fixed(1, "byte_alignment_bit_equal_to_one", 1)
    s.align("byte_alignment_bit_equal_to_zero")
    return SliceHeader(s.values, picture, slice_type)


def ref_pic_lists(s: Syntax, sps: Sps, pps: Pps) -> Lists:
    """7.3.9"""
    poc_lsb_bits = sps.values["sps_log2_max_pic_order_cnt_lsb_minus4"] + 4
    idx_in_list_1 = pps.values["pps_rpl1_idx_present_flag"]
    found: list[RefPicList] = []
    from_sps = idx = 0
    for i in range(2):
        candidates = sps.ref_pic_lists[i]
        coded = i == 0 or idx_in_list_1  # otherwise list 1 takes over the flag and the index of list 0
        if not candidates:
            from_sps = 0
        elif coded:
            from_sps = s.flag("rpl_sps_flag", i)
        if from_sps:
            if len(candidates) == 1:
                idx = 0
            elif coded:
                idx = s.u(ceil_log2(len(candidates)), "rpl_idx", i, max=len(candidates) - 1)
            if idx >= len(candidates):
                raise s.fail(f"rpl_idx[{i}]", f"{idx}, but the SPS has {len(candidates)} lists")
            chosen = candidates[idx]
        else:
            chosen = ref_pic_list_struct(s, i, len(candidates), sps.values)
        found.append(chosen)
        for j in range(chosen.num_ltrp_entries):
            if chosen.ltrp_in_header:
                s.u(poc_lsb_bits, "poc_lsb_lt", i, j)
            if s.flag("delta_poc_msb_cycle_present_flag", i, j):
                s.ue("delta_poc_msb_cycle_lt", i, j)
    return found[0], found[1]


def pred_weight_table(s: Syntax, sps: Values, pps: Values, lists: Lists, active: tuple[int, int] | None) -> None:
    """7.3.8. `active`: NumRefIdxActive, or None in the picture header, where the numbers of weights are coded."""
    chroma = sps["sps_chroma_format_idc"] != 0
    denominator = s.ue("luma_log2_weight_denom", max=7)
    if chroma:
        s.se("delta_chroma_log2_weight_denom", min=-denominator, max=7 - denominator)
    for x in range(2):
        if x == 1 and not (pps["pps_weighted_bipred_flag"] and (active is not None or lists[1].num_ref_entries > 0)):
            break
        if active is None:
            weights = s.ue(f"num_l{x}_weights", max=min(15, lists[x].num_ref_entries))
            limited(s, f"num_l{x}_weights", weights, 15)
        else:
            weights = active[x]
        luma_flags = [s.flag(f"luma_weight_l{x}_flag", i) for i in range(weights)]
        chroma_flags = [s.flag(f"chroma_weight_l{x}_flag", i) if chroma else 0 for i in range(weights)]
        for i in range(weights):
            if luma_flags[i]:
                s.se(f"delta_luma_weight_l{x}", i, min=-128, max=127)
                s.se(f"luma_offset_l{x}", i, min=-128, max=127)
            if chroma_flags[i]:
                for j in range(2):
                    s.se(f"delta_chroma_weight_l{x}", i, j, min=-128, max=127)
                    s.se(f"delta_chroma_offset_l{x}", i, j, min=-4 * 128, max=4 * 127)


def _num_ref_idx_active(s: Syntax, slice_type: int, lists: Lists, pps: Values) -> tuple[int, int]:
    """NumRefIdxActive"""
    used = {I_SLICE: 0, P_SLICE: 1}.get(slice_type, 2)
    override = 1
    if any(lists[i].num_ref_entries > 1 for i in range(used)):
        override = s.flag("sh_num_ref_idx_active_override_flag")
    active = [0, 0]
    for i in range(used):
        entries = lists[i].num_ref_entries
        if not override:
            active[i] = min(entries, pps["pps_num_ref_idx_default_active_minus1", i] + 1)
        elif entries > 1:
            active[i] = s.ue("sh_num_ref_idx_active_minus1", i, max=14) + 1
            limited(s, f"sh_num_ref_idx_active_minus1[{i}]", active[i], 15)
        else:
            active[i] = 1
    return active[0], active[1]


def _adaptive_loop_filter(s: Syntax, prefix: str, sps: Values, chroma: bool) -> None:
    """The same elements stand in the picture header and in the slice header."""
    if not s.flag(f"{prefix}_alf_enabled_flag"):
        return
    for i in range(s.u(3, f"{prefix}_num_alf_aps_ids_luma")):
        s.u(3, f"{prefix}_alf_aps_id_luma", i)
    if chroma:
        cb = s.flag(f"{prefix}_alf_cb_enabled_flag")
        cr = s.flag(f"{prefix}_alf_cr_enabled_flag")
        if cb or cr:
            s.u(3, f"{prefix}_alf_aps_id_chroma")
    if sps.get("sps_ccalf_enabled_flag"):
        if s.flag(f"{prefix}_alf_cc_cb_enabled_flag"):
            s.u(3, f"{prefix}_alf_cc_cb_aps_id")
        if s.flag(f"{prefix}_alf_cc_cr_enabled_flag"):
            s.u(3, f"{prefix}_alf_cc_cr_aps_id")


def _intra_partitioning(s: Syntax, sps: Values) -> None:
    s.ue("ph_log2_diff_min_qt_min_cb_intra_slice_luma", max=6)
    if s.ue("ph_max_mtt_hierarchy_depth_intra_slice_luma", max=10):
        s.ue("ph_log2_diff_max_bt_min_qt_intra_slice_luma", max=7)
        s.ue("ph_log2_diff_max_tt_min_qt_intra_slice_luma", max=6)
    if sps.get("sps_qtbtt_dual_tree_intra_flag"):
        s.ue("ph_log2_diff_min_qt_min_cb_intra_slice_chroma", max=6)
        if s.ue("ph_max_mtt_hierarchy_depth_intra_slice_chroma", max=10):
            s.ue("ph_log2_diff_max_bt_min_qt_intra_slice_chroma", max=6)
            s.ue("ph_log2_diff_max_tt_min_qt_intra_slice_chroma", max=6)


def _deblocking(s: Syntax, prefix: str, pps: Values) -> None:
    # Where the PPS switches the filter off, parameters in the header switch it on.
    if pps.get("pps_deblocking_filter_disabled_flag") or not s.flag(f"{prefix}_deblocking_filter_disabled_flag"):
        deblocking_offsets(s, prefix, pps["pps_chroma_tool_offsets_present_flag"])


def _residual_coding(s: Syntax, sps: Values) -> None:
    dep_quant = sps["sps_dep_quant_enabled_flag"] and s.flag("sh_dep_quant_used_flag")
    hiding = sps["sps_sign_data_hiding_enabled_flag"] and not dep_quant and s.flag("sh_sign_data_hiding_used_flag")
    ts_disabled = 0
    if sps["sps_transform_skip_enabled_flag"] and not dep_quant and not hiding:
        ts_disabled = s.flag("sh_ts_residual_coding_disabled_flag")
    if not ts_disabled and sps.get("sps_ts_residual_coding_rice_present_in_sh_flag"):
        s.u(3, "sh_ts_residual_coding_rice_idx_minus1")
    if sps.get("sps_reverse_last_sig_coeff_enabled_flag"):
        s.flag("sh_reverse_last_sig_coeff_flag")


def _header_extension(s: Syntax, length: str, data: str) -> None:
    for i in range(limited(s, length, s.ue(length, max=MAX_EXTENSION_BYTES), MAX_EXTENSION_BYTES)):
        s.u(8, data, i)
