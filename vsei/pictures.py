"""Pictures of a stream: their NAL units, format, POC, place in output order. One model for all codecs.

    for unit in picture_units(split(read_chunks(file)), Codec.VVC):
        print(unit.picture.poc, [header.name for header in unit.headers])

Everything streams: memory holds one picture unit, and `in_output_order` as many as the stream reorders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.grouping import PictureStart, groups
from vsei.nal import Codec, NalHeader, read_header

# Output order needs a limit where the stream gives none. No DPB holds more than 16 pictures (H.266 A.4.2, H.265 A.4.2).
MAX_DPB_SIZE = 16
SUB_WIDTH_C = (1, 2, 2, 1)  # by chroma_format_idc (H.266 Table 2; the same in H.265 and H.264)
SUB_HEIGHT_C = (1, 2, 1, 1)
MAX_LATENCY = 1 << 32  # stands for no limit: dpb_max_latency_increase_plus1 has 32 bits


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """Size and sample format of a picture. All sizes and offsets in luma samples.

    Attributes:
        coded_width, coded_height: before cropping.
        left, right, top, bottom: what the conformance window cuts off.
        chroma_format_idc: 0 is 4:0:0, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    """

    coded_width: int
    coded_height: int
    left: int
    right: int
    top: int
    bottom: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int

    @property
    def width(self) -> int:
        """CroppedWidth: of what is output."""
        return self.coded_width - self.left - self.right

    @property
    def height(self) -> int:
        """CroppedHeight: of what is output."""
        return self.coded_height - self.top - self.bottom

    @property
    def sub_width_c(self) -> int:
        """SubWidthC"""
        return SUB_WIDTH_C[self.chroma_format_idc]

    @property
    def sub_height_c(self) -> int:
        """SubHeightC"""
        return SUB_HEIGHT_C[self.chroma_format_idc]


def cropped(
    width: int,
    height: int,
    window: tuple[int, int, int, int],
    chroma_format_idc: int,
    bit_depths: tuple[int, int],
    rows: int = 1,
) -> PictureFormat:
    """The format of pictures with a cropping window.

    Args:
        window: left, right, top and bottom, in chroma samples (in luma samples for 4:0:0).
        bit_depths: of luma and chroma.
        rows: frame rows that one row of the window stands for; 2 where H.264 may code fields.

    Raises:
        VseiError: the window leaves nothing.
    """
    x, y = SUB_WIDTH_C[chroma_format_idc], SUB_HEIGHT_C[chroma_format_idc] * rows
    left, right, top, bottom = window[0] * x, window[1] * x, window[2] * y, window[3] * y
    if left + right >= width or top + bottom >= height:
        raise VseiError(f"the cropping window leaves nothing of {width}x{height}")
    return PictureFormat(width, height, left, right, top, bottom, chroma_format_idc, *bit_depths)


def poc_after(previous: int, lsb: int, lsb_bits: int) -> int:
    """The POC with these LSBs that is nearest to `previous` (H.266 8.3.1, H.265 8.3.1, H.264 8.2.1.1)."""
    max_lsb = 1 << lsb_bits
    prev_msb, prev_lsb = previous & -max_lsb, previous & (max_lsb - 1)
    if lsb < prev_lsb and prev_lsb - lsb >= max_lsb // 2:
        return prev_msb + max_lsb + lsb
    if lsb > prev_lsb and lsb - prev_lsb > max_lsb // 2:
        return prev_msb - max_lsb + lsb
    return prev_msb + lsb


@dataclass(frozen=True, slots=True)
class Picture:
    """A coded picture as its headers describe it.

    Attributes:
        decode_index: 0-based, over all coded pictures of the stream in decoding order, broken ones included.
        poc: PicOrderCntVal.
        clvs: 0-based index of the coded layer video sequence, in its layer.
        nal_unit_type: of its (first) VCL NAL unit.
        is_irap: all of it is IDR, CRA or BLA (H.264: IDR).
        clvs_start: it starts a CLVS.
        random_access: decoding can start here: IRAP or GDR (H.264: IDR, or a recovery point message with
            recovery_frame_cnt 0).
        output: whether a decoder that starts at the start of the stream outputs it (PictureOutputFlag): no picture
            before the first random access point, no RASL picture without its references. In streams of several layers:
            as if its layer is an output layer. H.264: the first field of a frame stands for both.
        slice_qp_y: SliceQpY of the first slice.
        slice_type: of the first slice: "B", "P" or "I".
        max_num_reorder: how many pictures may precede one in decoding order and follow it in output order.
        max_latency: how many pictures may come before one that waits is output; None is no limit.
        no_output_of_prior_pics: pictures of the CLVS before that still wait are dropped when this one comes.
        poc_resets: POC starts anew with this picture although no CLVS does (H.264: memory_management_control_operation
            5); all pictures before it come first in output order.
        second_field: of an H.264 frame that is coded as two fields; it is output with the first one.
        inter_layer: it may be predicted from pictures of other layers (H.266 sps_inter_layer_prediction_enabled_flag).
    """

    decode_index: int
    poc: int
    clvs: int
    layer_id: int
    temporal_id: int
    nal_unit_type: int
    is_irap: bool
    clvs_start: bool
    random_access: bool
    output: bool
    format: PictureFormat
    slice_qp_y: int
    slice_type: str
    max_num_reorder: int = MAX_DPB_SIZE
    max_latency: int | None = None
    no_output_of_prior_pics: bool = False
    poc_resets: bool = False
    second_field: bool = False
    inter_layer: bool = False

    @property
    def start(self) -> PictureStart:
        """What NAL unit types alone say of it (`vsei.grouping`)."""
        return PictureStart(
            self.decode_index,
            self.nal_unit_type,
            self.layer_id,
            self.temporal_id,
            self.random_access,
            self.clvs,
            self.clvs_start,
        )


@dataclass(frozen=True, slots=True)
class PictureUnit:
    """The NAL units of one picture, in order, as `vsei.grouping` finds them.

    Attributes:
        units: NAL units.
        headers: of each NAL unit; None where it is broken.
        nal_index: 0-based index of the first one in the stream.
        picture: None where there is no picture (NAL units after the last picture, or nothing else in the stream), and
            where its headers are too broken.
        problem: what is wrong with the headers of this picture unit; the first fault found.
    """

    units: tuple[NalUnit, ...]
    headers: tuple[NalHeader | None, ...]
    nal_index: int
    picture: Picture | None
    problem: VseiError | None = None


class PictureReader(Protocol):
    """What each codec brings. Fed the NAL units of one picture unit after the other, in decoding order."""

    def take(self, header: NalHeader, data: memoryview) -> None:
        """Take a NAL unit of the current picture unit in. VseiError: it is broken."""

    def finish(self, decode_index: int) -> Picture | None:
        """The picture of what was taken, if it is one; get ready for the next. VseiError: its headers are broken."""


def picture_reader(codec: Codec) -> PictureReader:
    """The reader for a codec."""
    # Imported here: the codecs' modules build on this one, and most streams need only one of them.
    if codec is Codec.VVC:
        from vsei.vvc.decoding_order import VvcPictureReader

        return VvcPictureReader()
    if codec is Codec.HEVC:
        from vsei.hevc.decoding_order import HevcPictureReader

        return HevcPictureReader()
    from vsei.avc.decoding_order import AvcPictureReader

    return AvcPictureReader()


def picture_units(nal_units: Iterable[NalUnit], codec: Codec) -> Iterator[PictureUnit]:
    """Group NAL units into picture units and read the headers. A broken picture is given as such, and the next follows.

    Args:
        nal_units: in decoding order, from the start of a stream (or from a random access point on).

    Raises:
        VseiError: a picture unit is too large to be one (see `vsei.grouping.groups`).
    """
    reader = picture_reader(codec)
    for group in groups(nal_units, codec):
        problem = None
        for _, nal, header in group.units:
            try:
                reader.take(header or read_header(codec, nal.data), nal.data)
            except VseiError as error:
                problem = problem or error.at(nal.offset)
        picture = None
        try:
            picture = reader.finish(-1 if group.start is None else group.start.decode_index)
        except VseiError as error:
            problem = problem or error.at(group.units[group.first_vcl].nal.offset)
        yield PictureUnit(
            tuple(unit.nal for unit in group.units),
            tuple(unit.header for unit in group.units),
            group.units[0].nal_index,
            picture,
            problem,
        )


T = TypeVar("T")


class Shown(NamedTuple, Generic[T]):
    """An item with the place of its picture in output order."""

    output_index: int | None  # 0-based, over the output pictures of the layer; None: the picture is not output
    item: T


class OutputOrder(Generic[T]):
    """Items in, in decoding order; the same items out, in output order: POC order, CLVS by CLVS, for one layer.

    This is the bumping process of H.266 C.5.2 with its limits on reordering and latency (not on DPB fullness, which
    for streams that keep to the standard changes when pictures come out, but not their order).
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, T]] = []  # POC, pictures decoded since, item
        self._next = 0

    def push(self, picture: Picture, item: T) -> list[Shown[T]]:
        """The items that are known to be next now. Items of pictures that are not output come at once, unnumbered."""
        out: list[Shown[T]] = []
        if picture.clvs_start and picture.no_output_of_prior_pics:
            out += [Shown(None, waiting) for _, _, waiting in self._waiting]
            self._waiting.clear()
        elif picture.clvs_start or picture.is_irap or picture.poc_resets:
            # Nothing that precedes an IRAP picture in decoding order follows it in output order.
            out += self.flush()
        if not picture.output:
            out.append(Shown(None, item))
        else:
            # PicLatencyCount: of pictures that follow this one in output order
            self._waiting = [(poc, late + (poc > picture.poc), other) for poc, late, other in self._waiting]
            self._waiting.append((picture.poc, 0, item))
        latency = MAX_LATENCY if picture.max_latency is None else picture.max_latency
        while len(self._waiting) > picture.max_num_reorder or any(late >= latency for _, late, _ in self._waiting):
            out.append(self._bump())
        return out

    def flush(self) -> list[Shown[T]]:
        """All that still wait."""
        return [self._bump() for _ in range(len(self._waiting))]

    def _bump(self) -> Shown[T]:
        first = min(range(len(self._waiting)), key=lambda i: self._waiting[i][0])
        shown = Shown(self._next, self._waiting.pop(first)[2])
        self._next += 1
        return shown


def in_output_order(items: Iterable[T], picture_of: Callable[[T], Picture | None]) -> Iterator[Shown[T]]:
    """The items of all output pictures in output order, layer by layer independently. Others are left out."""
    layers: dict[int, OutputOrder[T]] = {}
    for item in items:
        picture = picture_of(item)
        if picture is not None:
            order = layers.setdefault(picture.layer_id, OutputOrder())
            yield from (shown for shown in order.push(picture, item) if shown.output_index is not None)
    for order in layers.values():
        yield from order.flush()


def with_output_index(items: Iterable[T], picture_of: Callable[[T], Picture | None]) -> Iterator[Shown[T]]:
    """All items in the order they came, each with its picture's output index; items wait until it is known."""
    layers: dict[int, OutputOrder[int]] = {}
    waiting: deque[tuple[int, T]] = deque()
    known: dict[int, int | None] = {}

    def ready() -> Iterator[Shown[T]]:
        while waiting and waiting[0][0] in known:
            number, item = waiting.popleft()
            yield Shown(known.pop(number), item)

    for number, item in enumerate(items):
        picture = picture_of(item)
        waiting.append((number, item))
        if picture is None:
            known[number] = None
        else:
            order = layers.setdefault(picture.layer_id, OutputOrder())
            known.update((other, index) for index, other in order.push(picture, number))
        yield from ready()
    for order in layers.values():
        known.update((other, index) for index, other in order.flush())
    yield from ready()
