"""NAL unit headers and types of H.266, H.265 and H.264."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from vsei.errors import VseiError


class Codec(Enum):
    """The video codecs that carry VSEI messages."""

    VVC = "vvc"
    HEVC = "hevc"
    AVC = "avc"

    @property
    def standard(self) -> str:
        return {Codec.VVC: "H.266", Codec.HEVC: "H.265", Codec.AVC: "H.264"}[self]


@dataclass(frozen=True, slots=True)
class NalHeader:
    """nal_unit_header(): H.266 7.3.1.2, H.265 7.3.1.2, H.264 7.3.1.

    For H.264, `layer_id` and `temporal_id` are 0 and `ref_idc` is nal_ref_idc; elsewhere `ref_idc` is 0.
    """

    codec: Codec
    nal_unit_type: int
    layer_id: int = 0
    temporal_id: int = 0
    ref_idc: int = 0

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return 1 if self.codec is Codec.AVC else 2

    @property
    def name(self) -> str:
        return type_name(self.codec, self.nal_unit_type)

    def to_bytes(self) -> bytes:
        if self.codec is Codec.VVC:
            return bytes([self.layer_id, self.nal_unit_type << 3 | (self.temporal_id + 1)])
        if self.codec is Codec.HEVC:
            return bytes(
                [self.nal_unit_type << 1 | self.layer_id >> 5, (self.layer_id & 31) << 3 | (self.temporal_id + 1)]
            )
        return bytes([self.ref_idc << 5 | self.nal_unit_type])


def read_header(codec: Codec, data: bytes | memoryview) -> NalHeader:
    """The header of a NAL unit. VseiError when it is cut off or a fixed bit is wrong."""
    size = 1 if codec is Codec.AVC else 2
    if len(data) < size:
        raise VseiError(f"NAL unit of {len(data)} bytes, its header has {size}", element="nal_unit_header")
    first = data[0]
    if first & 0x80:
        raise VseiError("1, must be 0", element="forbidden_zero_bit", bit=0)
    if codec is Codec.AVC:
        return NalHeader(codec, first & 31, ref_idc=first >> 5)
    second = data[1]
    if second & 7 == 0:
        raise VseiError("0, must be 1..7", element="nuh_temporal_id_plus1", bit=13)
    if codec is Codec.VVC:
        return NalHeader(codec, second >> 3, first & 63, (second & 7) - 1)
    return NalHeader(codec, first >> 1 & 63, (first & 1) << 5 | second >> 3, (second & 7) - 1)


class Vvc:
    """NAL unit types of H.266 (Table 5)."""

    TRAIL, STSA, RADL, RASL = 0, 1, 2, 3
    IDR_W_RADL, IDR_N_LP, CRA, GDR = 7, 8, 9, 10
    OPI, DCI, VPS, SPS, PPS, PREFIX_APS, SUFFIX_APS = 12, 13, 14, 15, 16, 17, 18
    PH, AUD, EOS, EOB, PREFIX_SEI, SUFFIX_SEI, FD = 19, 20, 21, 22, 23, 24, 25


class Hevc:
    """NAL unit types of H.265 (Table 7-1)."""

    TRAIL_N, TRAIL_R, TSA_N, TSA_R, STSA_N, STSA_R, RADL_N, RADL_R, RASL_N, RASL_R = range(10)
    BLA_W_LP, BLA_W_RADL, BLA_N_LP, IDR_W_RADL, IDR_N_LP, CRA = range(16, 22)
    VPS, SPS, PPS, AUD, EOS, EOB, FD, PREFIX_SEI, SUFFIX_SEI = range(32, 41)


class Avc:
    """NAL unit types of H.264 (Table 7-1)."""

    SLICE, DPA, DPB, DPC, IDR, SEI, SPS, PPS, AUD, EOS, EOB, FD, SPS_EXT, PREFIX, SUBSET_SPS = range(1, 16)
    AUX_SLICE, SLICE_EXT = 19, 20


_NAMES = {
    codec: {value: name for name, value in vars(table).items() if isinstance(value, int)}
    for codec, table in ((Codec.VVC, Vvc), (Codec.HEVC, Hevc), (Codec.AVC, Avc))
}


def type_name(codec: Codec, nal_unit_type: int) -> str:
    """The standard's short name (`PREFIX_SEI`), or `RESERVED_n`."""
    return _NAMES[codec].get(nal_unit_type, f"RESERVED_{nal_unit_type}")


def is_vcl(codec: Codec, nal_unit_type: int) -> bool:
    """Whether a NAL unit of this type carries coded samples."""
    if codec is Codec.VVC:
        return nal_unit_type <= 11
    if codec is Codec.HEVC:
        return nal_unit_type <= 31
    return 1 <= nal_unit_type <= 5 or nal_unit_type in (Avc.AUX_SLICE, Avc.SLICE_EXT)


def is_sei(codec: Codec, nal_unit_type: int) -> bool:
    return nal_unit_type in sei_types(codec)


def sei_types(codec: Codec) -> tuple[int, ...]:
    """The SEI NAL unit types: prefix, and suffix where there is one."""
    if codec is Codec.VVC:
        return Vvc.PREFIX_SEI, Vvc.SUFFIX_SEI
    if codec is Codec.HEVC:
        return Hevc.PREFIX_SEI, Hevc.SUFFIX_SEI
    return (Avc.SEI,)


def is_prefix_sei(codec: Codec, nal_unit_type: int) -> bool:
    return nal_unit_type == sei_types(codec)[0]


def is_irap(codec: Codec, nal_unit_type: int) -> bool:
    """Intra random access points: IDR, CRA, BLA. (H.266 GDR pictures are not IRAP pictures.)"""
    if codec is Codec.VVC:
        return Vvc.IDR_W_RADL <= nal_unit_type <= Vvc.CRA
    if codec is Codec.HEVC:
        return 16 <= nal_unit_type <= 23
    return nal_unit_type == Avc.IDR


def starts_picture(header: NalHeader, data: bytes | memoryview) -> bool:
    """Whether this NAL unit is the first of its coded picture to carry a picture or slice header: one bit is looked at.

    H.266: a picture header NAL unit, or a slice that holds its picture header. H.265: first_slice_segment_in_pic_flag.
    H.264: first_mb_in_slice equal to 0 (without arbitrary slice order).
    """
    kind = header.nal_unit_type
    if header.codec is Codec.VVC:
        return kind == Vvc.PH or (kind <= 11 and len(data) > 2 and data[2] & 0x80 != 0)
    if header.codec is Codec.HEVC:
        return kind <= 31 and len(data) > 2 and data[2] & 0x80 != 0
    return kind in (Avc.SLICE, Avc.DPA, Avc.IDR) and len(data) > 1 and data[1] & 0x80 != 0


_EXTENSIONS = {
    "266": Codec.VVC, "vvc": Codec.VVC, "h266": Codec.VVC,
    "265": Codec.HEVC, "hevc": Codec.HEVC, "h265": Codec.HEVC,
    "264": Codec.AVC, "avc": Codec.AVC, "h264": Codec.AVC, "jsv": Codec.AVC,
}  # fmt: skip


def codec_of_name(name: str) -> Codec | None:
    """The codec that a file name's extension stands for, if it does for one."""
    return _EXTENSIONS.get(name.rpartition(".")[2].lower())


_PARAMETER_SETS = {
    Codec.VVC: (Vvc.VPS, Vvc.SPS, Vvc.PPS),
    Codec.HEVC: (Hevc.VPS, Hevc.SPS, Hevc.PPS),
    Codec.AVC: (Avc.SPS, Avc.PPS),
}


def guess_codec(nal_units: Sequence[bytes | memoryview]) -> Codec | None:
    """The codec whose headers and parameter sets the first NAL units of a stream make sense as, or None.

    The header layouts differ so much that a parameter set of one codec is an impossible header, or none of a parameter
    set, in the others; but slices can look like parameter sets (0x41 of H.264 like a VPS of H.265). So those in front
    of the first slice count, and the others only where a stream starts without. Some broken NAL units do not matter.
    """
    for until_slice in (True, False):
        best, most = None, 0
        for codec in Codec:
            headers = [header for data in nal_units if (header := _plausible(codec, data)) is not None]
            if 2 * len(headers) < len(nal_units):
                continue
            looked_at = headers
            if until_slice:
                looked_at = list(itertools.takewhile(lambda h: not is_vcl(h.codec, h.nal_unit_type), headers))
            signs = sum(_is_base_parameter_set(header) for header in looked_at)
            if signs > most:
                best, most = codec, signs
        if best is not None:
            return best
    return None


def _is_base_parameter_set(header: NalHeader) -> bool:
    return header.nal_unit_type in _PARAMETER_SETS[header.codec] and header.layer_id == header.temporal_id == 0


def _plausible(codec: Codec, data: bytes | memoryview) -> NalHeader | None:
    if codec is Codec.VVC and len(data) > 0 and data[0] & 0x40:
        return None  # nuh_reserved_zero_bit; set in the parameter sets of the other two
    try:
        return read_header(codec, data)
    except VseiError:
        return None
