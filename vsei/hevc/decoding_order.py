"""The pictures of an HEVC stream in decoding order: format, POC (H.265 8.3.1), output (8.1.3, C.5.2.2)."""

from __future__ import annotations

from functools import lru_cache

from vsei.errors import VseiError
from vsei.hevc.nal_units import NAL_HEADER_BITS, SLICE_TYPES, HeaderState
from vsei.hevc.parameter_sets import Sps
from vsei.hevc.slice_header import IDR, SliceHeader
from vsei.nal import Hevc, NalHeader
from vsei.pictures import Picture, PictureFormat, cropped, poc_after

BLA = (Hevc.BLA_W_LP, Hevc.BLA_W_RADL, Hevc.BLA_N_LP)
IRAP = (*BLA, *IDR, Hevc.CRA)
RASL = (Hevc.RASL_N, Hevc.RASL_R)
RADL = (Hevc.RADL_N, Hevc.RADL_R)
# Pictures that no picture of the same sub-layer refers to: TRAIL_N, TSA_N, ..., RSV_VCL_N14 (Table 7-1)
SUB_LAYER_NON_REFERENCE = range(0, 15, 2)


@lru_cache(maxsize=64)
def picture_format(sps: Sps) -> PictureFormat:
    """Size, conformance window and sample format (7.4.3.2.1)."""
    v = sps.values
    left, right, top, bottom = (v.get(f"conf_win_{side}_offset") for side in ("left", "right", "top", "bottom"))
    return cropped(
        v["pic_width_in_luma_samples"],
        v["pic_height_in_luma_samples"],
        (left, right, top, bottom),
        v["chroma_format_idc"],
        (v["bit_depth_luma_minus8"] + 8, v["bit_depth_chroma_minus8"] + 8),
    )


class HevcPictureReader:
    """Fed all NAL units of a stream in order, gives the pictures of its base layer (`vsei.pictures.PictureReader`)."""

    def __init__(self) -> None:
        self.state = HeaderState()
        self._first: tuple[NalHeader, SliceHeader] | None = None
        self._fault = False
        self._ended = False
        self._after_eos = True  # the next picture is the first, or follows an end of sequence
        self._cvs = -1
        self._prev_tid0_poc = 0  # of prevTid0Pic
        self._rasl_output = True  # the associated IRAP picture has NoRaslOutputFlag 0

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        kind = header.nal_unit_type
        if header.layer_id:
            return  # what belongs to other layers is nothing to the base layer
        if kind in SLICE_TYPES:
            if self._first is None and not self._fault:
                self._fault = True
                found = self.state.slice_header(header, data)
                if not found.values["first_slice_segment_in_pic_flag"]:
                    raise VseiError(
                        "0 in the first slice of a picture",
                        element="first_slice_segment_in_pic_flag",
                        bit=NAL_HEADER_BITS,
                    )
                self._first, self._fault = (header, found), False
        elif kind in (Hevc.EOS, Hevc.EOB):
            self._ended = True
        else:
            self.state.take(header, data)

    def finish(self, decode_index: int) -> Picture | None:
        first, self._first, self._fault = self._first, None, False
        try:
            return None if first is None else self._picture(decode_index, *first)
        finally:
            self._after_eos |= self._ended
            self._ended = False

    def _picture(self, decode_index: int, header: NalHeader, slice_header: SliceHeader) -> Picture:
        kind, values, sps = header.nal_unit_type, slice_header.values, slice_header.sps.values
        is_irap = kind in IRAP
        starts = is_irap and (self._after_eos or kind != Hevc.CRA)  # NoRaslOutputFlag
        self._cvs += starts or self._cvs < 0
        poc = values.get("slice_pic_order_cnt_lsb")  # absent in IDR pictures, where it is 0
        if not starts:
            poc = poc_after(self._prev_tid0_poc, poc, sps["log2_max_pic_order_cnt_lsb_minus4"] + 4)
        if is_irap:
            self._rasl_output = not starts
        output = bool(values.get("pic_output_flag", 1)) and not (kind in RASL and not self._rasl_output)
        if self._after_eos and not starts:
            output = False  # decoding cannot start here
        prior = starts and not self._after_eos and values.get("no_output_of_prior_pics_flag")
        if starts:
            self._after_eos = False
        if header.temporal_id == 0 and kind not in (*RASL, *RADL) and kind not in SUB_LAYER_NON_REFERENCE:
            self._prev_tid0_poc = poc
        highest = sps["sps_max_sub_layers_minus1"]
        reorder = sps["sps_max_num_reorder_pics", highest]
        latency_plus1 = sps["sps_max_latency_increase_plus1", highest]
        return Picture(
            decode_index=decode_index,
            poc=poc,
            clvs=self._cvs,
            layer_id=header.layer_id,
            temporal_id=header.temporal_id,
            nal_unit_type=kind,
            is_irap=is_irap,
            clvs_start=starts,
            random_access=is_irap,
            output=output,
            format=picture_format(slice_header.sps),
            slice_qp_y=slice_header.slice_qp_y,
            slice_type="BPI"[min(values["slice_type"], 2)],
            max_num_reorder=reorder,
            max_latency=reorder + latency_plus1 - 1 if latency_plus1 else None,
            no_output_of_prior_pics=bool(prior),
        )
