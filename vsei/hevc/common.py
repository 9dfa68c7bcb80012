"""Structures that several parameter sets and headers of H.265 share: 7.3.3, 7.3.4, 7.3.7, E.2.

Element names and subscripts are the standard's. Where a structure occurs several times under the same names, each one
is a nested structure.
"""

from __future__ import annotations

from typing import NamedTuple

from vsei.rbsp import limited
from vsei.syntax import Syntax

# Limits keep hostile values from making long loops; a value beyond one ends the structure with an error.
MAX_SUB_LAYERS = 7  # 7.4.3.1: vps_max_sub_layers_minus1 is 0..6
MAX_DPB_SIZE = 16  # A.4.2
MAX_SHORT_TERM_SETS = 64  # 7.4.3.2: num_short_term_ref_pic_sets
MAX_LONG_TERM_PICS = 32  # 7.4.3.2: num_long_term_ref_pics_sps
MAX_CPB_COUNT = 32  # E.3.2: cpb_cnt_minus1 is 0..31
MAX_PIC_SIZE = 1 << 17  # samples; A.4.1 allows 16 888 (v2: level 7.2)


def nal_unit_header(s: Syntax) -> None:
    """7.3.1.2"""
    s.u(1, "forbidden_zero_bit", max=0)
    s.u(6, "nal_unit_type")
    s.u(6, "nuh_layer_id", max=62)
    s.u(3, "nuh_temporal_id_plus1", min=1)


def profile_tier_level(s: Syntax, max_sub_layers_minus1: int) -> None:
    """7.3.3, with profilePresentFlag 1"""
    _profile(s, "general", ())
    s.u(8, "general_level_idc")
    present = [
        (s.flag("sub_layer_profile_present_flag", i), s.flag("sub_layer_level_present_flag", i))
        for i in range(max_sub_layers_minus1)
    ]
    if max_sub_layers_minus1 > 0:
        for i in range(max_sub_layers_minus1, 8):
            s.u(2, "reserved_zero_2bits", i)
    for i, (profile, level) in enumerate(present):
        if profile:
            _profile(s, "sub_layer", (i,))
        if level:
            s.u(8, "sub_layer_level_idc", i)


def _profile(s: Syntax, prefix: str, index: tuple[int, ...]) -> None:
    """The 88 bits of a profile, which mean different things in different profiles."""
    s.u(2, f"{prefix}_profile_space", *index, max=0)
    s.flag(f"{prefix}_tier_flag", *index)
    profiles = {s.u(5, f"{prefix}_profile_idc", *index)}
    for j in range(32):
        if s.flag(f"{prefix}_profile_compatibility_flag", *index, j):
            profiles.add(j)
    for name in ("progressive_source", "interlaced_source"):
        s.flag(f"{prefix}_{name}_flag", *index)
    for name in ("non_packed", "frame_only"):
        s.flag(f"{prefix}_{name}_constraint_flag", *index)
    if profiles & {4, 5, 6, 7, 8, 9, 10, 11}:
        for name in (
            "max_12bit", "max_10bit", "max_8bit", "max_422chroma", "max_420chroma", "max_monochrome", "intra",
            "one_picture_only", "lower_bit_rate",
        ):  # fmt: skip
            s.flag(f"{prefix}_{name}_constraint_flag", *index)
        if profiles & {5, 9, 10, 11}:
            s.flag(f"{prefix}_max_14bit_constraint_flag", *index)
            s.u(33, f"{prefix}_reserved_zero_33bits", *index)
        else:
            s.u(34, f"{prefix}_reserved_zero_34bits", *index)
    elif 2 in profiles:
        s.u(7, f"{prefix}_reserved_zero_7bits", *index)
        s.flag(f"{prefix}_one_picture_only_constraint_flag", *index)
        s.u(35, f"{prefix}_reserved_zero_35bits", *index)
    else:
        s.u(43, f"{prefix}_reserved_zero_43bits", *index)
    if profiles & {1, 2, 3, 4, 5, 9, 11}:
        s.flag(f"{prefix}_inbld_flag", *index)
    else:
        s.u(1, f"{prefix}_reserved_zero_bit", *index)


def sub_layer_ordering_info(s: Syntax, prefix: str, max_sub_layers_minus1: int) -> None:
    """DPB sizes and delays, the same elements in VPS and SPS."""
    all_sub_layers = s.flag(f"{prefix}_sub_layer_ordering_info_present_flag")
    for i in range(0 if all_sub_layers else max_sub_layers_minus1, max_sub_layers_minus1 + 1):
        most = s.ue(f"{prefix}_max_dec_pic_buffering_minus1", i, max=MAX_DPB_SIZE - 1)
        s.ue(f"{prefix}_max_num_reorder_pics", i, max=most)
        s.ue(f"{prefix}_max_latency_increase_plus1", i)


def scaling_list_data(s: Syntax) -> None:
    """7.3.4"""
    for size in range(4):
        for matrix in range(0, 6, 3 if size == 3 else 1):
            if not s.flag("scaling_list_pred_mode_flag", size, matrix):
                s.ue("scaling_list_pred_matrix_id_delta", size, matrix, max=matrix // 3 if size == 3 else matrix)
                continue
            if size > 1:
                s.se("scaling_list_dc_coef_minus8", size - 2, matrix, min=-7, max=247)
            for i in range(min(64, 1 << (4 + 2 * size))):
                s.se("scaling_list_delta_coef", size, matrix, i, min=-128, max=127)


class CommonHrd(NamedTuple):
    """What the sub-layers' parts of hrd_parameters() need to know of its common part."""

    nal: int = 0
    vcl: int = 0
    sub_pic: int = 0


def hrd_parameters(s: Syntax, common_present: int, max_sub_layers_minus1: int, common: CommonHrd) -> CommonHrd:
    """E.2.2. `common`: of the structure before, for one without the common part."""
    if common_present:
        nal = s.flag("nal_hrd_parameters_present_flag")
        vcl = s.flag("vcl_hrd_parameters_present_flag")
        sub_pic = 0
        if nal or vcl:
            sub_pic = s.flag("sub_pic_hrd_params_present_flag")
            if sub_pic:
                s.u(8, "tick_divisor_minus2")
                s.u(5, "du_cpb_removal_delay_increment_length_minus1")
                s.flag("sub_pic_cpb_params_in_pic_timing_sei_flag")
                s.u(5, "dpb_output_delay_du_length_minus1")
            s.u(4, "bit_rate_scale")
            s.u(4, "cpb_size_scale")
            if sub_pic:
                s.u(4, "cpb_size_du_scale")
            s.u(5, "initial_cpb_removal_delay_length_minus1")
            s.u(5, "au_cpb_removal_delay_length_minus1")
            s.u(5, "dpb_output_delay_length_minus1")
        common = CommonHrd(nal, vcl, sub_pic)
    for i in range(max_sub_layers_minus1 + 1):
        low_delay = 0
        if s.flag("fixed_pic_rate_general_flag", i) or s.flag("fixed_pic_rate_within_cvs_flag", i):
            s.ue("elemental_duration_in_tc_minus1", i, max=2047)
        else:
            low_delay = s.flag("low_delay_hrd_flag", i)
        cpbs = 1 if low_delay else s.ue("cpb_cnt_minus1", i, max=MAX_CPB_COUNT - 1) + 1
        limited(s, "cpb_cnt_minus1", cpbs, MAX_CPB_COUNT)
        for kind, present in (("nal", common.nal), ("vcl", common.vcl)):
            if present:
                with s.structure(f"{kind}_sub_layer_hrd_parameters", i):
                    _sub_layer_hrd_parameters(s, cpbs, common.sub_pic)
    return common


def _sub_layer_hrd_parameters(s: Syntax, cpbs: int, sub_pic: int) -> None:
    """E.2.3"""
    for i in range(cpbs):
        s.ue("bit_rate_value_minus1", i)
        s.ue("cpb_size_value_minus1", i)
        if sub_pic:
            s.ue("cpb_size_du_value_minus1", i)
            s.ue("bit_rate_du_value_minus1", i)
        s.flag("cbr_flag", i)


class RefPicSet(NamedTuple):
    """A short-term reference picture set: (delta POC, used by the current picture), nearest first (7.4.8)."""

    negative: tuple[tuple[int, int], ...] = ()  # DeltaPocS0, UsedByCurrPicS0
    positive: tuple[tuple[int, int], ...] = ()  # DeltaPocS1, UsedByCurrPicS1

    @property
    def num_delta_pocs(self) -> int:
        return len(self.negative) + len(self.positive)

    @property
    def num_used(self) -> int:
        return sum(used for _, used in self.negative + self.positive)


def st_ref_pic_set(s: Syntax, index: int, sets: list[RefPicSet], in_slice: bool) -> RefPicSet:
    """7.3.7. `sets`: those before this one, of the SPS."""
    if index > 0 and s.flag("inter_ref_pic_set_prediction_flag"):
        back = 1
        if in_slice:
            back = s.ue("delta_idx_minus1", max=index - 1) + 1
            limited(s, "delta_idx_minus1", back, index)
        sign = s.flag("delta_rps_sign")
        delta = (1 - 2 * sign) * (s.ue("abs_delta_rps_minus1", max=2**15 - 1) + 1)
        reference = sets[index - back]
        used, use = [], []
        for j in range(reference.num_delta_pocs + 1):
            used.append(s.flag("used_by_curr_pic_flag", j))
            use.append(1 if used[j] else s.flag("use_delta_flag", j))
        found = _predicted(reference, delta, used, use)
        limited(s, "use_delta_flag", found.num_delta_pocs, MAX_DPB_SIZE)
        return found
    num_negative = limited(s, "num_negative_pics", s.ue("num_negative_pics", max=MAX_DPB_SIZE - 1), MAX_DPB_SIZE)
    num_positive = limited(s, "num_positive_pics", s.ue("num_positive_pics", max=MAX_DPB_SIZE - 1), MAX_DPB_SIZE)
    lists = []
    for x, count, sign in ((0, num_negative, -1), (1, num_positive, 1)):
        entries, delta = [], 0
        for i in range(count):
            delta += sign * (s.ue(f"delta_poc_s{x}_minus1", i, max=2**15 - 1) + 1)
            entries.append((delta, s.flag(f"used_by_curr_pic_s{x}_flag", i)))
        lists.append(tuple(entries))
    return RefPicSet(lists[0], lists[1])


def _predicted(reference: RefPicSet, delta: int, used: list[int], use: list[int]) -> RefPicSet:
    """Equations 7-61 and 7-62: each entry of the reference moves by `delta`, and the reference itself is one."""
    moved = [
        (poc + delta, used[j], use[j]) for j, (poc, _) in enumerate((*reference.negative, *reference.positive, (0, 0)))
    ]
    kept = [(poc, is_used) for poc, is_used, is_kept in moved if is_kept]
    negative = sorted(((poc, u) for poc, u in kept if poc < 0), reverse=True, key=lambda entry: entry[0])
    positive = sorted(((poc, u) for poc, u in kept if poc > 0), key=lambda entry: entry[0])
    return RefPicSet(tuple(negative), tuple(positive))
