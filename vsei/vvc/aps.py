"""Adaptation parameter set: H.266 7.3.2.6, with the adaptive loop filter, luma mapping and scaling list data."""

from __future__ import annotations

from vsei.rbsp import limited
from vsei.syntax import Syntax
from vsei.vvc.common import ceil_log2, extension_data

ALF_APS, LMCS_APS, SCALING_APS = 0, 1, 2  # aps_params_type (Table 6)
NUM_ALF_FILTERS = 25
MAX_ALT_FILTERS = 8
MAX_CC_FILTERS = 4


def adaptation_parameter_set_rbsp(s: Syntax) -> None:
    """7.3.2.6, without rbsp_trailing_bits(). Data of an unknown type cannot be told from what follows: VseiError."""
    kind = s.u(3, "aps_params_type", max=SCALING_APS)
    s.u(5, "aps_adaptation_parameter_set_id", max=3 if kind == LMCS_APS else 7)
    chroma = s.flag("aps_chroma_present_flag")
    if kind == ALF_APS:
        alf_data(s, chroma)
    elif kind == LMCS_APS:
        lmcs_data(s, chroma)
    elif kind == SCALING_APS:
        scaling_list_data(s, chroma)
    else:
        raise s.fail("aps_params_type", f"{kind}, which is reserved; what follows is unknown")
    extension_data(s, "aps")


def alf_data(s: Syntax, chroma: int) -> None:
    """7.3.2.18"""
    luma = s.flag("alf_luma_filter_signal_flag")
    chroma_filter = cc_cb = cc_cr = 0
    if chroma:
        chroma_filter = s.flag("alf_chroma_filter_signal_flag")
        cc_cb = s.flag("alf_cc_cb_filter_signal_flag")
        cc_cr = s.flag("alf_cc_cr_filter_signal_flag")
    if luma:
        clip = s.flag("alf_luma_clip_flag")
        filters = s.ue("alf_luma_num_filters_signalled_minus1", max=NUM_ALF_FILTERS - 1) + 1
        limited(s, "alf_luma_num_filters_signalled_minus1", filters, NUM_ALF_FILTERS)
        if filters > 1:
            for i in range(NUM_ALF_FILTERS):
                s.u(ceil_log2(filters), "alf_luma_coeff_delta_idx", i, max=filters - 1)
        for i in range(filters):
            for j in range(12):
                if s.ue("alf_luma_coeff_abs", i, j, max=128):
                    s.u(1, "alf_luma_coeff_sign", i, j)
        if clip:
            for i in range(filters):
                for j in range(12):
                    s.u(2, "alf_luma_clip_idx", i, j)
    if chroma_filter:
        clip = s.flag("alf_chroma_clip_flag")
        filters = s.ue("alf_chroma_num_alt_filters_minus1", max=MAX_ALT_FILTERS - 1) + 1
        for i in range(limited(s, "alf_chroma_num_alt_filters_minus1", filters, MAX_ALT_FILTERS)):
            for j in range(6):
                if s.ue("alf_chroma_coeff_abs", i, j, max=128):
                    s.u(1, "alf_chroma_coeff_sign", i, j)
            if clip:
                for j in range(6):
                    s.u(2, "alf_chroma_clip_idx", i, j)
    for component, present in (("cb", cc_cb), ("cr", cc_cr)):
        if present:
            name = f"alf_cc_{component}_filters_signalled_minus1"
            for k in range(limited(s, name, s.ue(name, max=MAX_CC_FILTERS - 1) + 1, MAX_CC_FILTERS)):
                for j in range(7):
                    if s.u(3, f"alf_cc_{component}_mapped_coeff_abs", k, j):
                        s.u(1, f"alf_cc_{component}_coeff_sign", k, j)


def lmcs_data(s: Syntax, chroma: int) -> None:
    """7.3.2.19"""
    first = s.ue("lmcs_min_bin_idx", max=15)
    last = 15 - s.ue("lmcs_delta_max_bin_idx", max=15)
    bits = s.ue("lmcs_delta_cw_prec_minus1", max=14) + 1
    limited(s, "lmcs_delta_cw_prec_minus1", bits, 15)
    for i in range(first, last + 1):
        if s.u(bits, "lmcs_delta_abs_cw", i):
            s.flag("lmcs_delta_sign_cw_flag", i)
    if chroma and s.u(3, "lmcs_delta_abs_crs"):
        s.flag("lmcs_delta_sign_crs_flag")


def _up_right_diagonal(size: int) -> list[tuple[int, int]]:
    """(x, y) in the order of 6.5.2."""
    return [(d - y, y) for d in range(2 * size - 1) for y in range(min(d, size - 1), -1, -1) if d - y < size]


_SCAN = {size: _up_right_diagonal(size) for size in (2, 4, 8)}


def scaling_list_data(s: Syntax, chroma: int) -> None:
    """7.3.2.20"""
    for i in range(28):
        if not (chroma or i % 3 == 2 or i == 27):
            continue
        copy = s.flag("scaling_list_copy_mode_flag", i)
        predict = 0 if copy else s.flag("scaling_list_pred_mode_flag", i)
        if (copy or predict) and i not in (0, 2, 8):
            s.ue("scaling_list_pred_id_delta", i, max=i if i < 2 else i - 2 if i < 8 else i - 8)
        if not copy:
            if i > 13:
                s.se("scaling_list_dc_coef", i - 14, min=-128, max=127)
            for k, (x, y) in enumerate(_SCAN[2 if i < 2 else 4 if i < 8 else 8]):
                if not (i > 25 and x >= 4 and y >= 4):
                    s.se("scaling_list_delta_coef", i, k, min=-128, max=127)
