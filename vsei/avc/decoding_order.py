"""The pictures of an AVC stream in decoding order: format, POC (H.264 8.2.1), reordering (C.4).

A frame that is coded as two fields is two pictures here; only the first of them has a place in output order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vsei.avc.nal_units import SLICE_TYPES, HeaderState
from vsei.avc.parameter_sets import Sps
from vsei.avc.recovery_point import recovery_frame_cnt
from vsei.avc.slice_header import SliceHeader
from vsei.nal import Avc, NalHeader
from vsei.pictures import MAX_DPB_SIZE, Picture, PictureFormat, cropped, poc_after

# Table A-1: MaxDpbMbs by level_idc (level 1b is 9, or 11 with constraint_set3_flag)
MAX_DPB_MBS = {
    9: 396, 10: 396, 11: 900, 12: 2376, 13: 2376, 20: 2376, 21: 4752, 22: 8100, 30: 8100, 31: 18000, 32: 20480,
    40: 32768, 41: 32768, 42: 34816, 50: 110400, 51: 184320, 52: 184320, 60: 696320, 61: 696320, 62: 696320,
}  # fmt: skip
# E.2.1: with constraint_set3_flag these are intra-only profiles, which reorder nothing
INTRA_PROFILES = (44, 86, 100, 110, 122, 244)


@lru_cache(maxsize=64)
def picture_format(sps: Sps) -> PictureFormat:
    """Size, cropping and sample format of frames (7.4.2.1.1)."""
    v = sps.values
    rows = 2 - v["frame_mbs_only_flag"]
    left, right, top, bottom = (v.get(f"frame_crop_{side}_offset") for side in ("left", "right", "top", "bottom"))
    return cropped(
        16 * (v["pic_width_in_mbs_minus1"] + 1),
        16 * rows * (v["pic_height_in_map_units_minus1"] + 1),
        (left, right, top, bottom),
        v.get("chroma_format_idc", 1),
        (v.get("bit_depth_luma_minus8") + 8, v.get("bit_depth_chroma_minus8") + 8),
        rows,
    )


@lru_cache(maxsize=64)
def max_num_reorder_frames(sps: Sps) -> int:
    """max_num_reorder_frames, or what is inferred for it (E.2.1)."""
    v = sps.values
    if v["pic_order_cnt_type"] == 2:
        return 0  # output order is decoding order
    if "max_num_reorder_frames" in v:
        return min(v["max_num_reorder_frames"], MAX_DPB_SIZE)
    if v["profile_idc"] in INTRA_PROFILES and v["constraint_set3_flag"]:
        return 0
    level = v["level_idc"]
    if level == 11 and v["constraint_set3_flag"] and v["profile_idc"] in (66, 77, 88):
        level = 9
    frame = picture_format(sps)
    mbs = (frame.coded_width // 16) * (frame.coded_height // 16)
    return min(MAX_DPB_MBS.get(level, MAX_DPB_SIZE * mbs) // mbs, MAX_DPB_SIZE)


@dataclass(slots=True)
class _Previous:
    """What POC and field pairing need to know of the pictures before."""

    msb: int = 0  # PicOrderCntMsb of the previous reference picture
    lsb: int = 0  # its pic_order_cnt_lsb
    frame_num: int = 0
    frame_num_offset: int = 0
    first_field: tuple[int, int, bool] | None = None  # frame_num, bottom_field_flag, reference: it waits for its pair


class AvcPictureReader:
    """Fed all NAL units of a stream in order, gives its pictures (`vsei.pictures.PictureReader`)."""

    def __init__(self) -> None:
        self.state = HeaderState()
        self._first: tuple[NalHeader, SliceHeader] | None = None
        self._fault = False
        self._recovers = False  # a recovery point message says so of the current picture
        self._previous = _Previous()
        self._cvs = -1
        # Decoding starts at an IDR picture, or where a recovery point SEI message says.
        self._decodable = False
        self._recovery_frame_cnt: int | None = None
        self._recovery_frame_num: int | None = None
        self._recovery_poc: int | None = None  # until the next IDR picture: of the first picture that is output

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        kind = header.nal_unit_type
        if kind in SLICE_TYPES:
            if self._first is None and not self._fault:
                self._fault = True
                self._first = header, self.state.slice_header(header, data)
                self._fault = False
        elif kind == Avc.SEI:
            found = recovery_frame_cnt(data)
            self._recovers |= found == 0
            if not self._decodable and found is not None:
                self._recovery_frame_cnt = found
        else:
            self.state.take(header, data)

    def finish(self, decode_index: int) -> Picture | None:
        first, self._first, self._fault = self._first, None, False
        recovers, self._recovers = self._recovers, False
        return None if first is None else self._picture(decode_index, *first, recovers=recovers)

    def _picture(self, decode_index: int, header: NalHeader, slice_header: SliceHeader, *, recovers: bool) -> Picture:
        values, sps = slice_header.values, slice_header.sps
        idr = header.nal_unit_type == Avc.IDR
        second_field = self._pairs(header, values.get("field_pic_flag"), slice_header) and not idr
        starts = idr and not second_field
        self._cvs += starts or self._cvs < 0
        marking = values.structure("dec_ref_pic_marking")
        # memory_management_control_operation 5: no picture before it is referred to any more, and POC starts anew
        resets = marking is not None and any(
            key[0] == "memory_management_control_operation" and value == 5
            for key, value in marking.present.items()
            if isinstance(key, tuple)
        )
        poc = self._poc(header, slice_header, resets)
        return Picture(
            decode_index=decode_index,
            poc=poc,
            clvs=self._cvs,
            layer_id=0,
            temporal_id=0,
            nal_unit_type=header.nal_unit_type,
            is_irap=idr,
            clvs_start=starts,
            random_access=idr or recovers,
            output=self._is_recovered(idr, poc, slice_header) and not second_field,
            format=picture_format(sps),
            slice_qp_y=slice_header.slice_qp_y,
            slice_type=("P", "B", "I", "P", "I")[slice_header.slice_type],
            max_num_reorder=max_num_reorder_frames(sps),
            no_output_of_prior_pics=bool(marking is not None and marking.get("no_output_of_prior_pics_flag")),
            poc_resets=resets,
            second_field=second_field,
        )

    def _is_recovered(self, idr: bool, poc: int, slice_header: SliceHeader) -> bool:
        """Whether a decoder that began at the start of the stream has the picture right (D.2.8)."""
        if idr:
            self._decodable, self._recovery_poc = True, None
        if not self._decodable:
            frame_num = slice_header.values["frame_num"]
            max_frame_num = 1 << (slice_header.sps.values["log2_max_frame_num_minus4"] + 4)
            if self._recovery_frame_cnt is not None and self._recovery_frame_num is None:
                self._recovery_frame_num = (frame_num + self._recovery_frame_cnt) % max_frame_num
            target = self._recovery_frame_num
            if target is not None and (frame_num - target) % max_frame_num < max_frame_num // 2:
                self._decodable, self._recovery_poc = True, poc
        # What follows the recovery point in decoding order only may still refer to pictures before it.
        return self._decodable and (self._recovery_poc is None or poc >= self._recovery_poc)

    def _pairs(self, header: NalHeader, field_pic: int, slice_header: SliceHeader) -> bool:
        """Whether the picture is the second field of a frame (3.30, 3.31). Remembers a first field for the next one."""
        values = slice_header.values
        this = values["frame_num"], values.get("bottom_field_flag"), header.ref_idc != 0
        first, self._previous.first_field = self._previous.first_field, None
        if not field_pic:
            return False
        if first is not None and first == (this[0], 1 - this[1], this[2]):
            return True
        self._previous.first_field = this
        return False

    def _poc(self, header: NalHeader, slice_header: SliceHeader, resets: bool) -> int:
        """PicOrderCnt( ) (8.2.1): of a frame the smaller one of its fields' counts."""
        values, sps = slice_header.values, slice_header.sps.values
        previous = self._previous
        kind = sps["pic_order_cnt_type"]
        if header.nal_unit_type == Avc.IDR:
            self._previous = previous = _Previous(first_field=previous.first_field)
        if kind == 0:
            lsb, lsb_bits = values["pic_order_cnt_lsb"], sps["log2_max_pic_order_cnt_lsb_minus4"] + 4
            top = bottom = poc_after(previous.msb + previous.lsb, lsb, lsb_bits)
            if not values.get("field_pic_flag"):
                bottom += values.get("delta_pic_order_cnt_bottom")
        else:
            frame_num = values["frame_num"]
            if previous.frame_num > frame_num:
                previous.frame_num_offset += 1 << (sps["log2_max_frame_num_minus4"] + 4)
            previous.frame_num = frame_num
            number = previous.frame_num_offset + frame_num
            top, bottom = _poc_of_frame_num(number, header.ref_idc != 0, slice_header)
        is_field, is_bottom = values.get("field_pic_flag"), values.get("bottom_field_flag")
        poc = min(top, bottom) if not is_field else bottom if is_bottom else top
        if resets:
            self._previous = _Previous(lsb=0 if is_bottom else top - poc, first_field=previous.first_field)
            return 0
        if kind == 0 and header.ref_idc != 0:
            previous.lsb = values["pic_order_cnt_lsb"]
            previous.msb = top - previous.lsb
        return poc


def _poc_of_frame_num(number: int, reference: bool, slice_header: SliceHeader) -> tuple[int, int]:
    """TopFieldOrderCnt and BottomFieldOrderCnt of pic_order_cnt_type 1 (8.2.1.2) and 2 (8.2.1.3).

    `number`: FrameNumOffset + frame_num.
    """
    sps, values = slice_header.sps.values, slice_header.values
    if sps["pic_order_cnt_type"] == 2:
        poc = 2 * number - (not reference and number > 0)
        return poc, poc
    offsets = slice_header.sps.offset_for_ref_frame
    count = number if offsets else 0
    if not reference and count > 0:
        count -= 1
    expected = 0
    if count > 0:
        cycles, position = divmod(count - 1, len(offsets))
        expected = cycles * sum(offsets) + sum(offsets[: position + 1])
    if not reference:
        expected += sps["offset_for_non_ref_pic"]
    top = expected + values.get(("delta_pic_order_cnt", 0))
    to_bottom = sps["offset_for_top_to_bottom_field"]
    if values.get("field_pic_flag"):
        return top, top + to_bottom
    return top, top + to_bottom + values.get(("delta_pic_order_cnt", 1))
