"""Decoder configuration records of ISO/IEC 14496-15: what an MP4 or Matroska file says once of all its pictures.

AVCDecoderConfigurationRecord ("avcC"), HEVCDecoderConfigurationRecord ("hvcC"), VvcDecoderConfigurationRecord ("vvcC"):
parameter sets and SEI NAL units for the whole track, and how long the length in front of each NAL unit is. Where a
record stands, NAL units of the pictures have lengths in front, not start codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vsei.bits import BitReader
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, Vvc

# AVC: version, profile, compatibility, level. HEVC: everything up to the arrays.
_AVC_HEAD, _HEVC_HEAD = 4, 21
_START_CODES = (b"\0\0\1", b"\0\0\0\1")


@dataclass(frozen=True, slots=True)
class Array:
    """NAL units of one type.

    Attributes:
        head: the byte in front: type, and whether all NAL units of that type are here. Empty in AVC.
    """

    nal_unit_type: int
    head: bytes
    nal_units: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A decoder configuration record.

    Attributes:
        length_size: bytes of the length in front of each NAL unit (1, 2 or 4).
        head, tail: the bytes before and after the arrays.
    """

    codec: Codec
    length_size: int
    head: bytes
    arrays: tuple[Array, ...]
    tail: bytes = b""

    @property
    def nal_units(self) -> tuple[bytes, ...]:
        """All NAL units, in order."""
        return tuple(data for array in self.arrays for data in array.nal_units)

    def to_bytes(self) -> bytes:
        """The record; the reverse of `read`."""
        out = bytearray(self.head)
        if self.codec is not Codec.AVC:
            out.append(len(self.arrays))
        for i, array in enumerate(self.arrays):
            out += array.head
            count = len(array.nal_units)
            if self.codec is Codec.AVC:
                # 3 reserved bits in front of numOfSequenceParameterSets
                out.append(count | 0xE0 if i == 0 else count)
            elif not _single(self.codec, array.nal_unit_type):
                out += count.to_bytes(2, "big")
            for data in array.nal_units:
                out += len(data).to_bytes(2, "big") + data
        return bytes(out) + self.tail


def is_record(extradata: bytes | None) -> bool:
    """Whether a track's codec-specific data are such a record; else its NAL units have start codes."""
    return bool(extradata) and not extradata.startswith(_START_CODES)  # type: ignore[union-attr]


def read(codec: Codec, data: bytes) -> Configuration:
    """A record from its bytes.

    Raises:
        VseiError: it ends early, or has another version.
    """
    try:
        return {Codec.AVC: _read_avc, Codec.HEVC: _read_hevc, Codec.VVC: _read_vvc}[codec](data)
    except VseiError as error:
        name = {Codec.AVC: "avcC", Codec.HEVC: "hvcC", Codec.VVC: "vvcC"}[codec]
        raise VseiError(f"decoder configuration record ({name}): {error}") from None


def changed(record: Configuration, nal_units: Iterable[tuple[int, bytes]]) -> Configuration:
    """A record with other NAL units.

    Args:
        nal_units: those that stay, changed or not, each with the index that it has in `record.nal_units`.
    """
    array_of = [at for at, array in enumerate(record.arrays) for _ in array.nal_units]
    kept: list[list[bytes]] = [[] for _ in record.arrays]
    for index, data in nal_units:
        kept[array_of[index]].append(data)
    arrays = [replace(array, nal_units=tuple(units)) for array, units in zip(record.arrays, kept, strict=True)]
    if record.codec is not Codec.AVC:  # there, both arrays have to stand
        arrays = [array for array in arrays if array.nal_units]
    return replace(record, arrays=tuple(arrays))


class _Bytes:
    """The bytes of a record, one after the other. VseiError past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise VseiError(f"ends after {len(self.data)} bytes")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def nal_units(self, count: int) -> tuple[bytes, ...]:
        return tuple(self.take(self.number(2)) for _ in range(count))

    @property
    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


def _read_avc(data: bytes) -> Configuration:
    """ISO/IEC 14496-15 5.3.3.1"""
    source = _Bytes(data)
    head = source.take(_AVC_HEAD + 1)
    _check_version(head[0])
    sps = source.nal_units(source.number(1) & 31)
    pps = source.nal_units(source.number(1))
    arrays = (Array(Avc.SPS, b"", sps), Array(Avc.PPS, b"", pps))
    return Configuration(Codec.AVC, _length_size(head[-1] & 3), head, arrays, source.rest)


def _read_hevc(data: bytes) -> Configuration:
    """ISO/IEC 14496-15 8.3.3.1"""
    source = _Bytes(data)
    head = source.take(_HEVC_HEAD + 1)
    _check_version(head[0])
    arrays = _arrays(Codec.HEVC, source, 0x3F)
    return Configuration(Codec.HEVC, _length_size(head[-1] & 3), head, arrays, source.rest)


def _read_vvc(data: bytes) -> Configuration:
    """ISO/IEC 14496-15 11.2.4.2"""
    source = _Bytes(data)
    first = source.number(1)
    if first & 1:  # ptl_present_flag
        sublayers = source.number(2) >> 4 & 7
        source.take(1)
        _profile_tier_level(source, sublayers)
        source.take(6)  # max_picture_width, max_picture_height, avg_frame_rate
    head = data[: source.at]
    arrays = _arrays(Codec.VVC, source, 0x1F)
    return Configuration(Codec.VVC, _length_size(first >> 1 & 3), head, arrays, source.rest)


def _profile_tier_level(source: _Bytes, sublayers: int) -> None:
    """VvcPTLRecord(): skipped"""
    constraint_bytes = source.number(1) & 63
    source.take(2 + constraint_bytes)
    if sublayers > 1:
        present = BitReader(source.take(1))
        source.take(sum(present.u(1) for _ in range(sublayers - 1)))
    source.take(4 * source.number(1))


def _arrays(codec: Codec, source: _Bytes, type_mask: int) -> tuple[Array, ...]:
    arrays = []
    for _ in range(source.number(1)):
        head = source.take(1)
        kind = head[0] & type_mask
        arrays.append(Array(kind, head, source.nal_units(1 if _single(codec, kind) else source.number(2))))
    return tuple(arrays)


def _single(codec: Codec, nal_unit_type: int) -> bool:
    """Of these there is one, and so it is not counted."""
    return codec is Codec.VVC and nal_unit_type in (Vvc.DCI, Vvc.OPI)


def _check_version(version: int) -> None:
    if version != 1:
        raise VseiError(f"configurationVersion {version}, must be 1")


def _length_size(length_size_minus_one: int) -> int:
    if length_size_minus_one == 2:
        raise VseiError("lengthSizeMinusOne 2, must be 0, 1 or 3")
    return length_size_minus_one + 1


def split_lengths(sample: bytes, length_size: int) -> Iterator[memoryview]:
    """The NAL units of a sample, each without the length in front of it.

    Raises:
        VseiError: a NAL unit is longer than what is left.
    """
    view = memoryview(sample)
    at = 0
    while at < len(view):
        size = int.from_bytes(view[at : at + length_size], "big")
        at += length_size
        if size > len(view) - at:
            raise VseiError(f"a NAL unit of {size} bytes where {max(0, len(view) - at)} are left in the sample")
        yield view[at : at + size]
        at += size


def join_lengths(nal_units: Iterable[bytes], length_size: int) -> bytes:
    """A sample of NAL units, each with its length in front; the reverse of `split_lengths`.

    Raises:
        VseiError: a NAL unit is longer than such a length can say.
    """
    out = bytearray()
    for data in nal_units:
        if len(data) >> (8 * length_size):
            raise VseiError(f"a NAL unit of {len(data)} bytes; the file has room for lengths of {length_size} bytes")
        out += len(data).to_bytes(length_size, "big") + data
    return bytes(out)
