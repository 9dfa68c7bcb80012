"""Video parameter set: H.266 7.3.2.3, and the output layer sets that it describes: 7.4.3.3."""

from __future__ import annotations

from dataclasses import dataclass

from vsei.rbsp import limited
from vsei.syntax import Syntax, Values
from vsei.vvc.common import (
    MAX_SUBLAYERS,
    dpb_parameters,
    extension_data,
    general_timing_hrd_parameters,
    ols_timing_hrd_parameters,
    profile_tier_level,
)

EACH_LAYER_IS_AN_OLS = 4  # olsModeIdc where vps_each_layer_is_an_ols_flag is 1


@dataclass(frozen=True, slots=True, eq=False)
class Vps:
    """A video parameter set, and which layer depends on which.

    Attributes:
        direct_ref_layers: by nuh_layer_id, the nuh_layer_ids of the direct reference layers.
        output_layers: of each output layer set, the nuh_layer_ids of the layers that are output.
    """

    values: Values
    direct_ref_layers: dict[int, tuple[int, ...]]
    output_layers: tuple[frozenset[int], ...]


def video_parameter_set_rbsp(s: Syntax) -> Vps:
    """7.3.2.3, without rbsp_trailing_bits()."""
    s.u(4, "vps_video_parameter_set_id", min=1)
    max_layers_minus1 = s.u(6, "vps_max_layers_minus1")
    max_sublayers_minus1 = s.u(3, "vps_max_sublayers_minus1", max=MAX_SUBLAYERS - 1)
    default_max_tid = 1
    if max_layers_minus1 > 0 and max_sublayers_minus1 > 0:
        default_max_tid = s.flag("vps_default_ptl_dpb_hrd_max_tid_flag")
    all_independent = 1
    if max_layers_minus1 > 0:
        all_independent = s.flag("vps_all_independent_layers_flag")
    layer_ids: list[int] = []
    direct_ref: list[set[int]] = []
    for i in range(max_layers_minus1 + 1):
        layer_ids.append(s.u(6, "vps_layer_id", i))
        direct_ref.append(set())
        if i > 0 and not all_independent and not s.flag("vps_independent_layer_flag", i):
            max_tid_present = s.flag("vps_max_tid_ref_present_flag", i)
            for j in range(i):
                if s.flag("vps_direct_ref_layer_flag", i, j):
                    direct_ref[i].add(j)
                    if max_tid_present:
                        s.u(3, "vps_max_tid_il_ref_pics_plus1", i, j)
    each_layer_is_an_ols = 1
    mode = EACH_LAYER_IS_AN_OLS
    output_layers: list[set[int]] = []
    if max_layers_minus1 > 0:
        each_layer_is_an_ols = s.flag("vps_each_layer_is_an_ols_flag") if all_independent else 0
        if not each_layer_is_an_ols:
            mode = 2 if all_independent else s.u(2, "vps_ols_mode_idc", max=2)
            if mode == 2:
                output_layers.append({0})  # OLS 0 is the lowest layer alone
                for i in range(1, s.u(8, "vps_num_output_layer_sets_minus2") + 2):
                    flags = [s.flag("vps_ols_output_layer_flag", i, j) for j in range(max_layers_minus1 + 1)]
                    output_layers.append({j for j, flag in enumerate(flags) if flag})
            elif mode == 3:
                raise s.fail("vps_ols_mode_idc", "3, which is reserved; what follows is unknown")
        s.u(8, "vps_num_ptls_minus1")
    num_ptls = s.values.get("vps_num_ptls_minus1") + 1
    total_num_olss = len(output_layers) if mode == 2 else max_layers_minus1 + 1
    num_multi_layer_olss = _num_multi_layer_olss(mode, max_layers_minus1, output_layers, direct_ref)

    if mode != 2:  # mode 1: all layers of a set are output; else the last one
        output_layers = [set(range(i + 1)) if mode == 1 else {i} for i in range(total_num_olss)]

    present, max_tid = [], []
    for i in range(num_ptls):
        present.append(s.flag("vps_pt_present_flag", i) if i > 0 else 1)
        max_tid.append(max_sublayers_minus1 if default_max_tid else s.u(3, "vps_ptl_max_tid", i, max=6))
    s.align("vps_ptl_alignment_zero_bit")
    for i in range(num_ptls):
        with s.structure("profile_tier_level", i):
            profile_tier_level(s, present[i], max_tid[i])
    if num_ptls > 1 and num_ptls != total_num_olss:
        for i in range(total_num_olss):
            s.u(8, "vps_ols_ptl_idx", i, max=num_ptls - 1)

    if not each_layer_is_an_ols:
        num_dpb_params = s.ue("vps_num_dpb_params_minus1", max=max(0, num_multi_layer_olss - 1)) + 1
        limited(s, "vps_num_dpb_params_minus1", num_dpb_params, total_num_olss)
        sublayer_dpb = s.flag("vps_sublayer_dpb_params_present_flag") if max_sublayers_minus1 > 0 else 0
        for i in range(num_dpb_params):
            tid = max_sublayers_minus1 if default_max_tid else s.u(3, "vps_dpb_max_tid", i, max=max_sublayers_minus1)
            with s.structure("dpb_parameters", i):
                dpb_parameters(s, tid, sublayer_dpb)
        for i in range(num_multi_layer_olss):
            s.ue("vps_ols_dpb_pic_width", i)
            s.ue("vps_ols_dpb_pic_height", i)
            s.u(2, "vps_ols_dpb_chroma_format", i)
            s.ue("vps_ols_dpb_bitdepth_minus8", i, max=8)
            if num_dpb_params > 1 and num_dpb_params != num_multi_layer_olss:
                s.ue("vps_ols_dpb_params_idx", i, max=num_dpb_params - 1)
        if s.flag("vps_timing_hrd_params_present_flag"):
            general = general_timing_hrd_parameters(s)
            sublayer_cpb = s.flag("vps_sublayer_cpb_params_present_flag") if max_sublayers_minus1 > 0 else 0
            num_hrds = s.ue("vps_num_ols_timing_hrd_params_minus1", max=max(0, num_multi_layer_olss - 1)) + 1
            limited(s, "vps_num_ols_timing_hrd_params_minus1", num_hrds, total_num_olss)
            for i in range(num_hrds):
                tid = max_sublayers_minus1
                if not default_max_tid:
                    tid = s.u(3, "vps_hrd_max_tid", i, max=max_sublayers_minus1)
                with s.structure("ols_timing_hrd_parameters", i):
                    ols_timing_hrd_parameters(s, 0 if sublayer_cpb else tid, tid, general)
            if num_hrds > 1 and num_hrds != num_multi_layer_olss:
                for i in range(num_multi_layer_olss):
                    s.ue("vps_ols_timing_hrd_idx", i, max=num_hrds - 1)
    extension_data(s, "vps")
    return Vps(
        s.values,
        {layer_ids[i]: tuple(layer_ids[j] for j in sorted(refs)) for i, refs in enumerate(direct_ref)},
        tuple(frozenset(layer_ids[j] for j in layers) for layers in output_layers),
    )


def _reference_layers(layer: int, direct_ref: list[set[int]]) -> set[int]:
    """Indices of all layers that `layer` refers to, directly or not (ReferenceLayerIdx)."""
    found: set[int] = set()
    open_layers = [layer]
    while open_layers:
        new = direct_ref[open_layers.pop()] - found
        found |= new
        open_layers.extend(new)
    return found


def _num_multi_layer_olss(
    mode: int, max_layers_minus1: int, output_layers: list[set[int]], direct_ref: list[set[int]]
) -> int:
    """NumMultiLayerOlss (7.4.3.3): output layer sets that hold more than one layer."""
    if mode == EACH_LAYER_IS_AN_OLS:
        return 0
    if mode in (0, 1):
        return max_layers_minus1  # OLS i holds the layers 0 to i
    references = [_reference_layers(layer, direct_ref) for layer in range(max_layers_minus1 + 1)]
    return sum(len(outputs.union(*(references[j] for j in outputs))) > 1 for outputs in output_layers[1:])
