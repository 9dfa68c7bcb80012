"""The clip that an update is fitted to: decoded and original pictures, and the segments that get an update each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from nnpf.characteristics import strength_control
from nnpf.errors import NnpfError
from nnpf.frames import Frame
from nnpf.intake import InputPicture, decoded_pictures
from nnpf.video import read_video
from vsei.annexb import NalUnit
from vsei.nal import Codec
from vsei.pictures import Picture, in_output_order, picture_units

# Pictures of one segment are held in memory, decoded and original: at 1080p and 10 bits some 900 pictures.
MAX_SEGMENT_BYTES = 8 << 30
# A viewer who tunes in at a random access picture has missed the update, if it came with pictures before. Where more
# pictures than these are left for it, it is sent once more.
MAX_UNSERVED = 8


@dataclass(frozen=True, slots=True, eq=False)
class ClipPicture:
    """One picture, decoded and original (at its own bit depth), and StrengthControlVal."""

    picture: Picture
    output_index: int
    decoded: Frame
    original: Frame
    strength: Fraction


@dataclass(frozen=True, slots=True)
class Segment:
    """Pictures that follow each other in output order and share an update.

    Attributes:
        index: 0-based.
        first, last: output indices.
        stream_bytes: of the coded pictures.
        random_access: decode indices of the picture that is output first, in the segment and in each CLVS, and of
            random access pictures inside. At each of these a receiver must be told which filter is in force.
        copies: of those, the ones that the update is sent with.
    """

    index: int
    first: int
    last: int
    stream_bytes: int
    random_access: tuple[int, ...]
    copies: tuple[int, ...]

    @property
    def num_pictures(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class _Coded:
    """A coded picture, as the headers describe it. `entry`: which random access picture it belongs to."""

    picture: Picture
    coded_bytes: int
    entry: int


def segments(nal_units: Iterable[NalUnit], codec: Codec, division: str) -> list[Segment]:
    """Divide a stream, by its headers.

    Args:
        division: "clip": all of it; "ras": by random access points; or a number of pictures.

    Raises:
        VseiError: the headers are broken.
        NnpfError: no such division, or no picture.
    """
    if division not in ("clip", "ras") and not (division.isdigit() and int(division) > 0):
        raise NnpfError(f"segments of {division!r}: clip, ras, or a number of pictures is wanted")
    shown = list(_output_pictures(nal_units, codec))
    if not shown:
        raise NnpfError("the stream has no picture")
    groups: list[list[tuple[int, _Coded]]] = []
    key: int | None = None
    for at, item in enumerate(shown):
        # Pictures that lead a random access point belong to it, and none after them belongs to the one before.
        now = 0 if division == "clip" else max(item.entry, key or 0) if division == "ras" else at // int(division)
        if now != key:
            groups.append([])
            key = now
        groups[-1].append((at, item))
    return [_segment(index, group) for index, group in enumerate(groups)]


def _output_pictures(nal_units: Iterable[NalUnit], codec: Codec) -> Iterator[_Coded]:
    """The pictures of the base layer in output order."""

    def coded() -> Iterator[_Coded]:
        entry = 0
        pending = 0  # bytes of what stands before a picture and is none
        for unit in picture_units(nal_units, codec):
            size = pending + sum(len(nal.prefix) + len(nal.data) + nal.zeros for nal in unit.units)
            if unit.picture is None or unit.picture.layer_id != 0:
                if unit.picture is None and unit.problem is not None and any(h is not None for h in unit.headers):
                    raise unit.problem
                pending = size
                continue
            pending = 0
            entry += unit.picture.random_access
            yield _Coded(unit.picture, size, entry)

    for output_index, item in in_output_order(coded(), lambda item: item.picture):
        if output_index is not None:
            yield item


def _segment(index: int, group: Sequence[tuple[int, _Coded]]) -> Segment:
    pictures = [item.picture for _, item in group]
    copies: list[int] = []
    access: list[int] = []
    for at, picture in enumerate(pictures):
        begins = at == 0 or picture.clvs != pictures[at - 1].clvs
        if begins:
            copies.append(picture.decode_index)
        # The update comes with what is output first, so whatever is before it in decoding order cannot ask for it.
        if begins or (picture.random_access and not picture.clvs_start):
            access.append(picture.decode_index)
        # What leads the first picture of a CLVS can be decoded by whoever tunes in there, so the update is known.
        if picture.random_access and not picture.clvs_start and not begins and len(pictures) - at > MAX_UNSERVED:
            copies.append(picture.decode_index)
    return Segment(
        index,
        group[0][0],
        group[-1][0],
        sum(item.coded_bytes for _, item in group),
        tuple(sorted(access)),
        tuple(sorted(copies)),
    )


def read_clip(
    nal_units: Iterable[NalUnit],
    codec: Codec,
    original: Path,
    parts: Sequence[Segment],
    *,
    original_depth: int | None = None,
    wanted: Callable[[Segment], bool] = lambda _: True,
) -> Iterator[tuple[Segment, list[ClipPicture]]]:
    """Decode a stream, segment by segment, beside its original.

    Args:
        original_depth: bits of a raw .yuv original.
        wanted: segments for which it is false come without pictures.

    Raises:
        NnpfError: the decoder fails, the original has other pictures, or a segment is larger than MAX_SEGMENT_BYTES.
    """
    originals: Iterator[Frame] | None = None
    pictures: list[ClipPicture] = []
    size = 0
    rest = iter(parts)
    part = next(rest)
    taken = wanted(part)
    for decoded in decoded_pictures(nal_units, codec):
        if originals is None:
            originals = read_video(original, decoded.frame.format, original_depth)
        other = next(originals, None)
        if other is None:
            raise NnpfError(f"ends after {decoded.output_index} pictures", subject=str(original))
        if taken:
            pictures.append(_paired(decoded, other, codec))
            size += sum(p.nbytes for f in (pictures[-1].decoded, pictures[-1].original) for p in f.planes)
            if size > MAX_SEGMENT_BYTES:
                raise NnpfError(f"the segment takes more than {MAX_SEGMENT_BYTES >> 30} GB: choose shorter ones")
        if decoded.output_index == part.last:
            yield part, pictures
            pictures, size = [], 0
            following = next(rest, None)
            if following is None:
                return
            part, taken = following, wanted(following)


def _paired(decoded: InputPicture, original: Frame, codec: Codec) -> ClipPicture:
    picture = decoded.picture
    shapes = [plane.shape for plane in original.planes]
    if shapes != [plane.shape for plane in decoded.frame.planes]:
        raise NnpfError(f"the original has pictures of {original.format}, the stream of {decoded.frame.format}")
    if any(a > b for a, b in zip(original.format.bit_depths, decoded.frame.format.bit_depths, strict=True)):
        raise NnpfError(f"the original ({original.format}) has more bits than the stream ({decoded.frame.format})")
    strength = strength_control(picture.slice_qp_y, picture.format.bit_depth_luma, h266=codec is Codec.VVC)
    # The decoder's buffers are used again.
    own = Frame(tuple(np.ascontiguousarray(plane).copy() for plane in decoded.frame.planes), decoded.frame.format)
    return ClipPicture(picture, decoded.output_index, own, original, strength)


def at_depth_of(frame: Frame, other: Frame) -> Frame:
    """The picture with its samples shifted up to the bit depths of another one: 8 against 10 bit is times 4."""
    if frame.format.bit_depths == other.format.bit_depths:
        return frame
    planes = tuple(
        (plane.astype(np.uint16) << (high - low)).astype(np.uint8 if high == 8 else np.uint16)
        for plane, low, high in zip(frame.planes, frame.format.bit_depths, other.format.bit_depths, strict=True)
    )
    form = replace(
        frame.format,
        bit_depth_luma=other.format.bit_depth_luma,
        bit_depth_chroma=other.format.bit_depth_chroma,
    )
    return Frame(planes, form)
