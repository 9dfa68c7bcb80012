"""Where the pictures of a stream begin, and where SEI goes in front of them, from a scan of its bytes.

The same pictures as `vsei.grouping.groups` finds, but nothing is made of the NAL units between: a regular expression
looks for start codes, and Python runs a few operations for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from vsei.avc.recovery_point import recovery_frame_cnt
from vsei.errors import VseiError
from vsei.grouping import BEGINS_NEXT, END_OF_SEQUENCE, Numbering, PictureStart
from vsei.nal import Avc, Codec, Hevc, NalHeader, Vvc, is_sei, is_vcl, read_header

# What stands in front of prefix SEI in an access unit (H.266 7.4.2.4.4 and its like).
BEFORE_SEI = {
    Codec.VVC: (Vvc.AUD, Vvc.OPI, Vvc.DCI, Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_SEI),
    Codec.HEVC: (Hevc.AUD, Hevc.VPS, Hevc.SPS, Hevc.PPS, Hevc.PREFIX_SEI),
    Codec.AVC: (Avc.AUD, Avc.SPS, Avc.SPS_EXT, Avc.SUBSET_SPS, Avc.PPS, Avc.SEI),
}


def _one_of(values: Iterable[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % value for value in values) + b"]"


# A start code, and after it what `Outline` looks at: the NAL unit header and the byte after it. (H.264 has a header of
# one byte; the byte more does no harm.) The first group is the commonest case: what starts a picture of layer 0 at
# which decoding cannot start; the second one a further slice of such a picture.
_TEMPORAL_ID = range(1, 8)
_ORDINARY = {
    Codec.VVC: _one_of([0]) + _one_of(k << 3 | t for k in range(Vvc.IDR_W_RADL) for t in _TEMPORAL_ID),
    Codec.HEVC: _one_of(k << 1 for k in range(Hevc.BLA_W_LP)) + _one_of(_TEMPORAL_ID),
    Codec.AVC: _one_of(ref_idc << 5 | Avc.SLICE for ref_idc in range(4)),
}
_STARTED = _one_of(range(0x80, 0x100))
_ALL = {
    codec: re.compile(b"\0\0\1(?=(%b)|(%b)|(..).)" % (kind + _STARTED + rest, kind + b"." + rest), re.DOTALL)
    for codec, kind, rest in (
        (Codec.VVC, _ORDINARY[Codec.VVC], b""),
        (Codec.HEVC, _ORDINARY[Codec.HEVC], b""),
        (Codec.AVC, _ORDINARY[Codec.AVC], b"."),  # three bytes always, so that LOOK_AHEAD is right
    )
}
_BUT_ORDINARY = {codec: re.compile(b"\0\0\1(?!%b)(?=()()(..).)" % kind, re.DOTALL) for codec, kind in _ORDINARY.items()}
_COUNTED, _OTHER = 1, 3  # groups
# Bytes at the end of a block in which a start code may be that is not seen.
LOOK_AHEAD = 5

# What a NAL unit type means to the outline, as bits.
_VCL, _BEGINS, _BEFORE, _PH, _MAY_START, _EOS, _SEI = (1 << i for i in range(7))


class Place(NamedTuple):
    """A picture, and the offset in the stream at which prefix SEI for it is put in."""

    offset: int
    start: PictureStart


SeeSei = Callable[[int, bytes | bytearray, int, int], None]


class Outline:
    """Fed a stream block by block; gives the pictures.

    Args:
        every: give all pictures. Else: random access pictures, and those that start a CLVS.
        count: count pictures. Without, decode_index and `pictures` mean nothing, but that the first picture has 0.
        see_sei: called for each SEI NAL unit: offset in the stream; a buffer, and where in it the NAL unit begins (with
            its start code) and ends (with the zeros after it).

    Attributes:
        settled: up to this offset nothing will be put in any more.
        started: a start code has come.
    """

    def __init__(self, codec: Codec, *, every: bool, count: bool = True, see_sei: SeeSei | None = None) -> None:
        self.codec = codec
        self.settled = 0
        self.started = False
        self._every, self._count = every, count or every
        self._recovers = False  # a recovery point message says so of the next picture
        self._see_sei = self._seeing_recovery_points(see_sei) if codec is Codec.AVC else see_sei
        self._numbering = Numbering(codec)
        self._kinds = _Kinds(codec)
        self._all, self._but_ordinary = _ALL[codec].finditer, _BUT_ORDINARY[codec].finditer
        self._only_counted: set[bytes] = set()  # NAL unit headers of pictures that are
        self._place: int | None = None  # for SEI of the next picture; None: where the next NAL unit starts
        self._open = False  # a picture of the group has begun
        self._announced = False  # by a picture header NAL unit; no slice yet
        self._after_ph = False  # the NAL unit before was that
        self._ended = False  # an end of sequence in this group
        self._sei: int | None = None  # offset of the SEI NAL unit that is open

    @property
    def pictures(self) -> int:
        return self._numbering.pictures

    def _seeing_recovery_points(self, see_sei: SeeSei | None) -> SeeSei:
        def see(offset: int, buffer: bytes | bytearray, begin: int, end: int) -> None:
            nal_unit = bytes(buffer[begin + (3 if buffer[begin + 2] else 4) : end])
            self._recovers |= recovery_frame_cnt(nal_unit) == 0
            if see_sei is not None:
                see_sei(offset, buffer, begin, end)

        return see

    def scan(self, buffer: bytes | bytearray, base: int, begin: int, end: int) -> tuple[list[Place], int]:
        """Go on with the scan.

        Args:
            buffer: `base` is the offset of its first byte in the stream. What is not `settled` has to stay in it.
            begin: where the scan goes on.
            end: where the block ends. At the end of the stream, LOOK_AHEAD zeros have to be appended, and counted.

        Returns:
            Pictures; and where in `buffer` the scan is to go on.
        """
        kinds, numbering, every, see_sei = self._kinds, self._numbering, self._every, self._see_sei
        place, is_open, announced, after_ph = self._place, self._open, self._announced, self._after_ph
        ended, sei = self._ended, self._sei
        bit_at = 4 if self.codec is Codec.AVC else 5  # of the bit that says that a picture starts, after a start code
        found: list[Place] = []
        ordinary = 0  # pictures to be counted
        match = None
        go_on: int | None = begin
        while go_on is not None:
            # Steady: a group is open, and an ordinary picture opens the next, just the same.
            steady = is_open and not (announced or after_ph or ended or every) and 0 in numbering.clvs and sei is None
            matches = (self._all if self._count or not steady else self._but_ordinary)(buffer, go_on, end)
            go_on = None
            for match in matches:
                if steady and match.lastindex != _OTHER:
                    if match.lastindex == _COUNTED:
                        ordinary += 1
                    continue
                if sei is not None and see_sei is not None:
                    see_sei(sei, buffer, sei - base, match.start())
                    sei = None
                at = match.start()
                header = match[_OTHER] or bytes(buffer[at + 3 : at + 5])
                kind = kinds[header]
                if place is None:
                    place = base + at - (at > 0 and buffer[at - 1] == 0)
                starts = kind & _PH or (kind & _MAY_START and buffer[at + bit_at] & 0x80)
                if is_open and (starts or kind & _BEGINS) and not (after_ph and kind & _VCL):
                    if ended:
                        numbering.end_of_sequence()
                    is_open = announced = ended = False
                    place = base + at - (buffer[at - 1] == 0)
                after_ph = False
                picture = False
                if is_open:
                    if kind & _VCL and announced:
                        announced = False
                        picture = True
                elif starts or kind & _VCL:
                    is_open = True
                    announced = after_ph = bool(kind & _PH)
                    picture = not announced
                elif kind & _BEFORE:
                    place = None
                if picture and header in self._only_counted and not self._recovers:
                    ordinary += 1
                elif picture:
                    numbering.pictures += ordinary
                    ordinary = 0
                    recovers, self._recovers = self._recovers, False
                    start = numbering.picture(kinds.headers[header], recovers=recovers)
                    if every or start.random_access or start.clvs_start:
                        assert place is not None
                        found.append(Place(place, start))
                    else:
                        self._only_counted.add(header)
                if kind & _EOS:
                    ended = True
                elif kind & _SEI and see_sei is not None:
                    sei = base + at - (at > 0 and buffer[at - 1] == 0)
                if steady != (
                    is_open and not (announced or after_ph or ended or every) and 0 in numbering.clvs and sei is None
                ):
                    go_on = at + 3
                    break
        self.started = self.started or match is not None
        numbering.pictures += ordinary
        self._place, self._open, self._announced, self._after_ph = place, is_open, announced, after_ph
        self._ended, self._sei = ended, sei
        scanned = max(begin, end - LOOK_AHEAD)
        # The next start code may take the zero in front of it along.
        self.settled = base + max(0, scanned - 1)
        if place is not None and (announced or not is_open):
            self.settled = min(self.settled, place)
        if sei is not None:
            self.settled = min(self.settled, sei)
        return found, scanned

    def finish(self, buffer: bytes | bytearray, base: int, end: int) -> None:
        """The stream ends at `end`."""
        if self._sei is not None and self._see_sei is not None:
            self._see_sei(self._sei, buffer, self._sei - base, end)


class _Kinds(dict[bytes, int]):
    """What the outline needs to know of a NAL unit, by the first two bytes of its header; 0 where that is broken."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self._codec = codec
        self.headers: dict[bytes, NalHeader] = {}

    def __missing__(self, data: bytes) -> int:
        try:
            header = read_header(self._codec, data)
            kind = self._of(header)
            self.headers[data] = header
        except VseiError:
            kind = 0
        self[data] = kind
        return kind

    def _of(self, header: NalHeader) -> int:
        codec, kind = self._codec, header.nal_unit_type
        may_start = kind in (Avc.SLICE, Avc.DPA, Avc.IDR) if codec is Codec.AVC else is_vcl(codec, kind)
        return (
            _VCL * is_vcl(codec, kind)
            | _BEGINS * (kind in BEGINS_NEXT[codec])
            | _BEFORE * (kind in BEFORE_SEI[codec])
            | _PH * (codec is Codec.VVC and kind == Vvc.PH)
            | _MAY_START * may_start
            | _EOS * (kind in END_OF_SEQUENCE[codec])
            | _SEI * is_sei(codec, kind)
        )
