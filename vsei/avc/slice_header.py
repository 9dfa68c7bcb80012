"""Slice header: H.264 7.3.3; of the base view and layer."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.avc.parameter_sets import MAX_MBS, ParameterSets, Pps, Sps
from vsei.nal import Avc, NalHeader
from vsei.rbsp import limited
from vsei.syntax import Syntax, Values

P_SLICE, B_SLICE, I_SLICE, SP_SLICE, SI_SLICE = range(5)  # slice_type % 5 (Table 7-6)
# 7.4.3.1: at most num_ref_idx_active_minus1 + 1 = 32 modifications, and one element that ends them.
MAX_MODIFICATIONS = 33
# 7.4.3.3: a few for each of 16 frames, or 32 fields.
MAX_MARKINGS = 128


@dataclass(frozen=True, slots=True, eq=False)
class SliceHeader:
    """slice_header() and the sets it refers to."""

    values: Values
    sps: Sps
    pps: Pps

    @property
    def slice_type(self) -> int:
        """slice_type % 5"""
        return self.values["slice_type"] % 5

    @property
    def slice_qp_y(self) -> int:
        """SliceQPY (7.4.3)"""
        return 26 + self.pps.values["pic_init_qp_minus26"] + self.values["slice_qp_delta"]


def slice_header(s: Syntax, header: NalHeader, sets: ParameterSets) -> SliceHeader:
    """7.3.3. Slice data follow at once, not byte-aligned with CAVLC."""
    idr = header.nal_unit_type == Avc.IDR
    s.ue("first_mb_in_slice", max=MAX_MBS - 1)
    slice_type = s.ue("slice_type", max=9) % 5
    sps_, pps_ = sets.of_picture(s, s.ue("pic_parameter_set_id", max=255))
    sps, pps = sps_.values, pps_.values
    if sps.get("separate_colour_plane_flag"):
        s.u(2, "colour_plane_id", max=2)
    s.u(sps["log2_max_frame_num_minus4"] + 4, "frame_num")
    field_pic = 0
    if not sps["frame_mbs_only_flag"]:
        field_pic = s.flag("field_pic_flag")
        if field_pic:
            s.flag("bottom_field_flag")
    if idr:
        s.ue("idr_pic_id", max=65535)
    per_field = pps["bottom_field_pic_order_in_frame_present_flag"] and not field_pic
    if sps["pic_order_cnt_type"] == 0:
        s.u(sps["log2_max_pic_order_cnt_lsb_minus4"] + 4, "pic_order_cnt_lsb")
        if per_field:
            s.se("delta_pic_order_cnt_bottom")
    elif sps["pic_order_cnt_type"] == 1 and not sps["delta_pic_order_always_zero_flag"]:
        s.se("delta_pic_order_cnt", 0)
        if per_field:
            s.se("delta_pic_order_cnt", 1)
    if pps["redundant_pic_cnt_present_flag"]:
        s.ue("redundant_pic_cnt", max=127)
    if slice_type == B_SLICE:
        s.flag("direct_spatial_mv_pred_flag")
    active = _num_ref_idx_active(s, slice_type, pps)
    for x in range(len(active)):
        if s.flag(f"ref_pic_list_modification_flag_l{x}"):
            with s.structure("ref_pic_list_modification", x):
                _ref_pic_list_modification(s, x)
    if pps["weighted_pred_flag"] if slice_type in (P_SLICE, SP_SLICE) else pps["weighted_bipred_idc"] == 1 and active:
        _pred_weight_table(s, active, sps_.chroma_array_type != 0)
    if header.ref_idc != 0:
        with s.structure("dec_ref_pic_marking"):
            _dec_ref_pic_marking(s, idr)
    if pps["entropy_coding_mode_flag"] and slice_type not in (I_SLICE, SI_SLICE):
        s.ue("cabac_init_idc", max=2)
    s.se("slice_qp_delta")
    if slice_type in (SP_SLICE, SI_SLICE):
        if slice_type == SP_SLICE:
            s.flag("sp_for_switch_flag")
        s.se("slice_qs_delta")
    if pps["deblocking_filter_control_present_flag"] and s.ue("disable_deblocking_filter_idc", max=2) != 1:
        s.se("slice_alpha_c0_offset_div2", min=-6, max=6)
        s.se("slice_beta_offset_div2", min=-6, max=6)
    if pps["num_slice_groups_minus1"] > 0 and 3 <= pps["slice_group_map_type"] <= 5:
        s.u(_slice_group_change_cycle_bits(sps, pps), "slice_group_change_cycle")
    return SliceHeader(s.values, sps_, pps_)


def _num_ref_idx_active(s: Syntax, slice_type: int, pps: Values) -> list[int]:
    """The lengths of the reference picture lists: none of I, one of P, two of B slices."""
    lists = {I_SLICE: 0, SI_SLICE: 0, B_SLICE: 2}.get(slice_type, 1)
    active = [pps[f"num_ref_idx_l{x}_default_active_minus1"] + 1 for x in range(lists)]
    if lists and s.flag("num_ref_idx_active_override_flag"):
        active = [s.ue(f"num_ref_idx_l{x}_active_minus1", max=31) + 1 for x in range(lists)]
    for x in range(lists):
        limited(s, f"num_ref_idx_l{x}_active_minus1", active[x], 32)
    return active


def _ref_pic_list_modification(s: Syntax, list_idx: int) -> None:
    """7.3.3.1, of one list"""
    for i in range(MAX_MODIFICATIONS):
        operation = s.ue("modification_of_pic_nums_idc", i, max=3)
        if operation in (0, 1):
            s.ue("abs_diff_pic_num_minus1", i)
        elif operation == 2:
            s.ue("long_term_pic_num", i)
        elif operation == 3:
            return
        else:
            raise s.fail("modification_of_pic_nums_idc", f"{operation}; what follows is unknown")
    raise s.fail(f"ref_pic_list_modification_flag_l{list_idx}", f"{MAX_MODIFICATIONS} modifications or more")


def _pred_weight_table(s: Syntax, active: list[int], chroma: bool) -> None:
    """7.3.3.2"""
    s.ue("luma_log2_weight_denom", max=7)
    if chroma:
        s.ue("chroma_log2_weight_denom", max=7)
    for x, count in enumerate(active):
        for i in range(count):
            if s.flag(f"luma_weight_l{x}_flag", i):
                s.se(f"luma_weight_l{x}", i, min=-128, max=127)
                s.se(f"luma_offset_l{x}", i, min=-128, max=127)
            if chroma and s.flag(f"chroma_weight_l{x}_flag", i):
                for j in range(2):
                    s.se(f"chroma_weight_l{x}", i, j, min=-128, max=127)
                    s.se(f"chroma_offset_l{x}", i, j, min=-128, max=127)


def _dec_ref_pic_marking(s: Syntax, idr: bool) -> None:
    """7.3.3.3"""
    if idr:
        s.flag("no_output_of_prior_pics_flag")
        s.flag("long_term_reference_flag")
    elif s.flag("adaptive_ref_pic_marking_mode_flag"):
        for i in range(MAX_MARKINGS):
            operation = s.ue("memory_management_control_operation", i, max=6)
            if operation == 0:
                return
            if operation in (1, 3):
                s.ue("difference_of_pic_nums_minus1", i)
            if operation == 2:
                s.ue("long_term_pic_num", i)
            if operation in (3, 6):
                s.ue("long_term_frame_idx", i)
            if operation == 4:
                s.ue("max_long_term_frame_idx_plus1", i)
        raise s.fail("memory_management_control_operation", f"{MAX_MARKINGS} operations or more")


def _slice_group_change_cycle_bits(sps: Values, pps: Values) -> int:
    """Ceil( Log2( PicSizeInMapUnits / SliceGroupChangeRate + 1 ) ), the division without truncation (7.4.3)"""
    units = (sps["pic_width_in_mbs_minus1"] + 1) * (sps["pic_height_in_map_units_minus1"] + 1)
    rate = pps["slice_group_change_rate_minus1"] + 1
    return (-(-units // rate)).bit_length()
