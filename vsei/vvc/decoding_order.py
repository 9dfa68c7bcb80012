"""The pictures of a VVC stream in decoding order: format, POC (H.266 8.3.1), CLVS, output (8.1.2, C.5.2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vsei.errors import VseiError
from vsei.nal import NalHeader, Vvc
from vsei.pictures import MAX_DPB_SIZE, Picture, PictureFormat, cropped, poc_after
from vsei.vvc.headers import IDR, PictureHeader, SliceHeader
from vsei.vvc.nal_units import SLICE_TYPES, HeaderState
from vsei.vvc.pps import Pps
from vsei.vvc.sps import Sps

IRAP = (Vvc.IDR_W_RADL, Vvc.IDR_N_LP, Vvc.CRA)


@lru_cache(maxsize=64)
def picture_format(sps: Sps, pps: Pps) -> PictureFormat:
    """Size, conformance window and sample format (7.4.3.5)."""
    s, p = sps.values, pps.values
    chroma_format_idc = s["sps_chroma_format_idc"]
    width, height = p["pps_pic_width_in_luma_samples"], p["pps_pic_height_in_luma_samples"]
    window = [0, 0, 0, 0]
    sides = ("left", "right", "top", "bottom")
    if p["pps_conformance_window_flag"]:
        window = [p[f"pps_conf_win_{side}_offset"] for side in sides]
    elif (width, height) == (s["sps_pic_width_max_in_luma_samples"], s["sps_pic_height_max_in_luma_samples"]):
        window = [s.get(f"sps_conf_win_{side}_offset") for side in sides]
    depth = s["sps_bitdepth_minus8"] + 8
    left, right, top, bottom = window
    return cropped(width, height, (left, right, top, bottom), chroma_format_idc, (depth, depth))


@dataclass(slots=True)
class _Layer:
    """What the pictures of one layer hand on to the next."""

    after_eos: bool = True  # the next picture is the first of the layer, or follows an end of sequence
    clvs: int = -1
    prev_tid0_poc: int = 0  # of prevTid0Pic
    rasl_output: bool = True  # the associated IRAP picture has NoOutputBeforeRecoveryFlag 0
    recovery_poc: int | None = None  # recoveryPointPocVal, while pictures before it are not to be output


class VvcPictureReader:
    """Fed all NAL units of a stream in order, gives its pictures (`vsei.pictures.PictureReader`)."""

    def __init__(self) -> None:
        self.state = HeaderState()
        self._layers: dict[int, _Layer] = {}
        self._au_pocs: dict[int, int] = {}  # of the pictures of the access unit so far, by layer
        self._first: tuple[NalHeader, SliceHeader] | None = None
        self._fault: VseiError | None = None
        self._types: set[int] = set()
        self._ended: set[int] = set()

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        kind = header.nal_unit_type
        if kind in SLICE_TYPES:
            self._types.add(kind)
            if self._first is None and self._fault is None:
                try:
                    self._first = header, self.state.slice_header(header, data)
                except VseiError as error:
                    self._fault = error
                    raise
        elif kind == Vvc.AUD:
            self._au_pocs.clear()
        elif kind == Vvc.EOS:
            self._ended.add(header.layer_id)
        elif kind == Vvc.EOB:
            self._ended.update(self._layers)
        else:
            self.state.take(header, data)

    def finish(self, decode_index: int) -> Picture | None:
        first, types, ended = self._first, self._types, self._ended
        self._first, self._fault, self._types, self._ended = None, None, set(), set()
        self.state.picture = None
        try:
            return None if first is None else self._picture(decode_index, *first, types)
        finally:
            for layer_id in ended:
                self._layers.setdefault(layer_id, _Layer()).after_eos = True

    def _picture(self, decode_index: int, header: NalHeader, slice_header: SliceHeader, types: set[int]) -> Picture:
        ph = slice_header.picture
        layer = self._layers.setdefault(header.layer_id, _Layer())
        is_irap = types <= set(IRAP) and len(types) == 1
        is_gdr = bool(ph.values.get("ph_gdr_pic_flag"))
        is_rasl = Vvc.RASL in types
        # NoOutputBeforeRecoveryFlag 1: the picture starts a CLVS
        starts = (layer.after_eos and (is_irap or is_gdr)) or (is_irap and header.nal_unit_type in IDR)
        layer.clvs += starts or layer.clvs < 0
        poc = self._poc(header, ph, layer, starts)

        if is_irap or is_gdr:
            layer.recovery_poc = None
            layer.rasl_output = not starts
            if is_gdr and starts:
                layer.recovery_poc = poc + ph.values["ph_recovery_poc_cnt"]
        output = bool(ph.values.get("ph_pic_output_flag", 1))
        if is_rasl and not layer.rasl_output:
            output = False
        if layer.recovery_poc is not None and poc < layer.recovery_poc:
            output = False
        if layer.after_eos and not starts:
            output = False  # decoding cannot start here

        prior = starts and not layer.after_eos and slice_header.values.get("sh_no_output_of_prior_pics_flag")
        if is_irap or is_gdr:
            layer.after_eos = False
        if header.temporal_id == 0 and not ph.values["ph_non_ref_pic_flag"] and not types & {Vvc.RASL, Vvc.RADL}:
            layer.prev_tid0_poc = poc
        self._au_pocs[header.layer_id] = poc
        sps = ph.sps
        return Picture(
            decode_index=decode_index,
            poc=poc,
            clvs=layer.clvs,
            layer_id=header.layer_id,
            temporal_id=header.temporal_id,
            nal_unit_type=header.nal_unit_type,
            is_irap=is_irap,
            clvs_start=starts,
            random_access=is_irap or is_gdr,
            output=output,
            format=picture_format(sps, ph.pps),
            slice_qp_y=slice_header.slice_qp_y,
            slice_type="BPI"[min(slice_header.slice_type, 2)],
            max_num_reorder=MAX_DPB_SIZE if sps.max_num_reorder is None else sps.max_num_reorder,
            max_latency=sps.max_latency,
            no_output_of_prior_pics=bool(prior),
            inter_layer=bool(sps.values.get("sps_inter_layer_prediction_enabled_flag")),
        )

    def _poc(self, header: NalHeader, ph: PictureHeader, layer: _Layer, starts: bool) -> int:
        """PicOrderCntVal (8.3.1)"""
        sps = ph.sps.values
        if self._au_pocs and header.layer_id <= max(self._au_pocs):
            self._au_pocs.clear()  # a new access unit
        vps = self.state.sets.vps.get(sps["sps_video_parameter_set_id"])
        if vps is not None:
            for reference in vps.direct_ref_layers.get(header.layer_id, ()):
                if reference in self._au_pocs:
                    return self._au_pocs[reference]
        lsb = ph.values["ph_pic_order_cnt_lsb"]
        lsb_bits = sps["sps_log2_max_pic_order_cnt_lsb_minus4"] + 4
        if ph.values.get("ph_poc_msb_cycle_present_flag"):
            return (ph.values["ph_poc_msb_cycle_val"] << lsb_bits) + lsb
        return lsb if starts else poc_after(layer.prev_tid0_poc, lsb, lsb_bits)
