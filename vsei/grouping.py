"""NAL units -> the groups that belong to one coded picture, by looking at types and one bit of each slice.

`vsei.pictures` reads the headers inside and knows POC, size and output order. `vsei.outline` finds the same pictures in
the bytes of a stream, without making anything of the NAL units between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vsei.annexb import NalUnit
from vsei.avc.recovery_point import recovery_frame_cnt
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, Hevc, NalHeader, Vvc, is_irap, is_vcl, read_header, starts_picture

# A picture unit is held in memory. One slice may have as much as `vsei.limits` allow; this is for all of them, and for
# streams in which no picture comes. A NAL unit takes this many bytes more than it has.
MAX_GROUP_BYTES = 512 << 20
_UNIT_BYTES = 512


class Unit(NamedTuple):
    """A NAL unit, its place in the stream, and its header (None where that is broken)."""

    nal_index: int  # 0-based, over all NAL units of the stream
    nal: NalUnit
    header: NalHeader | None


@dataclass(frozen=True, slots=True)
class PictureStart:
    """What the NAL unit types say of a coded picture.

    Attributes:
        decode_index: 0-based, over all coded pictures of the stream, in decoding order.
        nal_unit_type: of its first VCL NAL unit.
        random_access: an IRAP picture, a GDR picture of H.266, or in H.264 a picture with a recovery point message
            whose recovery_frame_cnt is 0: decoding can start here.
        clvs: 0-based index of the coded layer video sequence (in H.265 and H.264: coded video sequence) of its layer.
        clvs_start: it starts that sequence. A CRA or GDR picture does where it is the first or follows an end of
            sequence (H.266 NoOutputBeforeRecoveryFlag); an application that seeks may see more starts.
    """

    decode_index: int
    nal_unit_type: int
    layer_id: int
    temporal_id: int
    random_access: bool
    clvs: int
    clvs_start: bool


class Group(NamedTuple):
    """The NAL units of one picture unit, in order; `start` is None where no picture is inside (end of the stream)."""

    units: list[Unit]
    start: PictureStart | None
    first_vcl: int  # position in `units` of the first VCL NAL unit or picture header


# Types that, after the VCL NAL units of a picture, begin the next picture unit (H.266 7.4.2.4.3, H.265 7.4.2.4.4,
# H.264 7.4.1.2.3). Reserved non-VCL types that the standards name there are included.
BEGINS_NEXT = {
    Codec.VVC: frozenset(
        (Vvc.OPI, Vvc.DCI, Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_APS, Vvc.PH, Vvc.AUD, Vvc.PREFIX_SEI, 26, 28, 29)
    ),
    Codec.HEVC: frozenset(
        (Hevc.VPS, Hevc.SPS, Hevc.PPS, Hevc.AUD, Hevc.PREFIX_SEI, 41, 42, 43, 44, *range(48, 56))
    ),
    Codec.AVC: frozenset((Avc.SEI, Avc.SPS, Avc.PPS, Avc.AUD, Avc.PREFIX, Avc.SUBSET_SPS, 16, 17, 18)),
}  # fmt: skip
END_OF_SEQUENCE = {
    Codec.VVC: (Vvc.EOS, Vvc.EOB),
    Codec.HEVC: (Hevc.EOS, Hevc.EOB),
    Codec.AVC: (Avc.EOS, Avc.EOB),
}


def groups(nal_units: Iterable[NalUnit], codec: Codec) -> Iterator[Group]:
    """The picture units of a stream, in order; all NAL units appear, each once.

    Raises:
        VseiError: a picture unit has more than MAX_GROUP_BYTES.
    """
    begins_next = BEGINS_NEXT[codec]
    headers = _Headers(codec)
    units: list[Unit] = []
    size = 0
    first_vcl = -1
    numbering = Numbering(codec)
    for index, nal in enumerate(nal_units):
        header = headers[bytes(nal.data[:2])]
        if header is not None:
            kind = header.nal_unit_type
            starts = starts_picture(header, nal.data)
            if first_vcl >= 0 and (starts or kind in begins_next) and not _continues(units, first_vcl, header):
                yield Group(units, _number(numbering, units, first_vcl), first_vcl)
                units, first_vcl, size = [], -1, 0
            if first_vcl < 0 and (starts or is_vcl(codec, kind)):
                first_vcl = len(units)
        units.append(Unit(index, nal, header))
        size += len(nal.data) + _UNIT_BYTES
        if size > MAX_GROUP_BYTES:
            raise VseiError(f"picture unit of more than {MAX_GROUP_BYTES} bytes", offset=units[0].nal.offset)
    if units:
        yield Group(units, _number(numbering, units, first_vcl), max(first_vcl, 0))


class _Headers(dict[bytes, "NalHeader | None"]):
    """NAL unit headers by their bytes, None where broken: streams have millions of NAL units and few headers."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def __missing__(self, data: bytes) -> NalHeader | None:
        try:
            header = read_header(self.codec, data)
        except VseiError:
            header = None
        self[data] = header
        return header


def _continues(units: list[Unit], first_vcl: int, header: NalHeader) -> bool:
    """A slice after the picture header NAL unit that announced it belongs to the same picture."""
    first = units[first_vcl].header
    return (
        first is not None
        and header.codec is Codec.VVC
        and first.nal_unit_type == Vvc.PH
        and first_vcl == len(units) - 1
        and is_vcl(header.codec, header.nal_unit_type)
    )


def _number(numbering: Numbering, units: list[Unit], first_vcl: int) -> PictureStart | None:
    codec = numbering.codec
    start = None
    if first_vcl >= 0:
        vcl = next((u.header for u in units[first_vcl:] if u.header and is_vcl(codec, u.header.nal_unit_type)), None)
        if vcl is not None:  # else a picture header without slices
            start = numbering.picture(vcl, recovers=codec is Codec.AVC and _recovers(units[:first_vcl]))
    if any(u.header is not None and u.header.nal_unit_type in END_OF_SEQUENCE[codec] for u in units):
        numbering.end_of_sequence()
    return start


def _recovers(units: list[Unit]) -> bool:
    """Whether SEI in front of an H.264 picture says that decoding can start there."""
    return any(
        unit.header is not None and unit.header.nal_unit_type == Avc.SEI and recovery_frame_cnt(unit.nal.data) == 0
        for unit in units
    )


class Numbering:
    """Counts pictures and coded layer video sequences; told of each picture, and of the ends of sequences after it."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.pictures = 0
        self.clvs: dict[int, int] = {}  # layer -> index of its running sequence
        self.ended: set[int] | None = None  # layers that have gone on since the last end of sequence

    def picture(self, vcl: NalHeader, *, recovers: bool = False) -> PictureStart:
        """The next picture.

        Args:
            vcl: the header of its first VCL NAL unit.
            recovers: H.264: a recovery point message says that decoding can start there. No sequence does.
        """
        kind, layer = vcl.nal_unit_type, vcl.layer_id
        random_access = is_random_access(self.codec, kind)
        first = layer not in self.clvs or (self.ended is not None and layer not in self.ended)
        clvs_start = layer not in self.clvs or (random_access and (first or _always_starts(self.codec, kind)))
        if clvs_start:
            self.clvs[layer] = self.clvs.get(layer, -1) + 1
            if self.ended is not None:
                self.ended.add(layer)
        start = PictureStart(
            self.pictures, kind, layer, vcl.temporal_id, random_access or recovers, self.clvs[layer], clvs_start
        )
        self.pictures += 1
        return start

    def end_of_sequence(self) -> None:
        """The next random access picture of each layer starts a sequence."""
        self.ended = set()


def is_random_access(codec: Codec, kind: int) -> bool:
    """Whether decoding can start at a picture of this NAL unit type: IRAP pictures, and GDR pictures of H.266."""
    return is_irap(codec, kind) or (codec is Codec.VVC and kind == Vvc.GDR)


def _always_starts(codec: Codec, kind: int) -> bool:
    """IDR (and BLA) pictures start a sequence wherever they stand."""
    if codec is Codec.VVC:
        return kind in (Vvc.IDR_W_RADL, Vvc.IDR_N_LP)
    if codec is Codec.HEVC:
        return Hevc.BLA_W_LP <= kind <= Hevc.IDR_N_LP
    return kind == Avc.IDR
