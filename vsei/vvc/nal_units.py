"""Parameter sets and headers as whole NAL units: read, traced, written, with the state that reading them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from vsei.annexb import rbsp
from vsei.errors import VseiError
from vsei.nal import NalHeader, Vvc
from vsei.syntax import OutOfRange, Reader, Syntax, TraceEntry, Values
from vsei.vvc.aps import adaptation_parameter_set_rbsp
from vsei.vvc.common import nal_unit_header, rbsp_trailing_bits
from vsei.vvc.headers import PictureHeader, SliceHeader, picture_header_structure, slice_header
from vsei.vvc.opi_dci import (
    access_unit_delimiter_rbsp,
    decoding_capability_information_rbsp,
    operating_point_information_rbsp,
)
from vsei.vvc.parameter_sets import ParameterSets
from vsei.vvc.pps import Pps, pic_parameter_set_rbsp
from vsei.vvc.sps import Sps, seq_parameter_set_rbsp
from vsei.vvc.vps import Vps, video_parameter_set_rbsp

# A slice header is looked for in so many bytes first, so that the slice data need not be copied. Few are longer.
SLICE_HEADER_BYTES = 192
SLICE_TYPES = (*range(Vvc.TRAIL, Vvc.RASL + 1), *range(Vvc.IDR_W_RADL, Vvc.GDR + 1))  # the others are reserved

NAL_HEADER_BITS = 16

_PARAMETER_SETS: dict[int, tuple[str, Callable[[Syntax], Vps | Sps | Pps]]] = {
    Vvc.VPS: ("video_parameter_set_rbsp", video_parameter_set_rbsp),
    Vvc.SPS: ("seq_parameter_set_rbsp", seq_parameter_set_rbsp),
    Vvc.PPS: ("pic_parameter_set_rbsp", pic_parameter_set_rbsp),
}
_OTHERS: dict[int, tuple[str, Callable[[Syntax], None]]] = {
    Vvc.OPI: ("operating_point_information_rbsp", operating_point_information_rbsp),
    Vvc.DCI: ("decoding_capability_information_rbsp", decoding_capability_information_rbsp),
    Vvc.PREFIX_APS: ("adaptation_parameter_set_rbsp", adaptation_parameter_set_rbsp),
    Vvc.SUFFIX_APS: ("adaptation_parameter_set_rbsp", adaptation_parameter_set_rbsp),
    Vvc.AUD: ("access_unit_delimiter_rbsp", access_unit_delimiter_rbsp),
}


def structure_name(nal_unit_type: int) -> str | None:
    """The standard's name of what such a NAL unit holds; None where this package has no description of it."""
    if nal_unit_type in SLICE_TYPES:
        return "slice_header"
    if nal_unit_type == Vvc.PH:
        return "picture_header_rbsp"
    if nal_unit_type in _PARAMETER_SETS:
        return _PARAMETER_SETS[nal_unit_type][0]
    return _OTHERS[nal_unit_type][0] if nal_unit_type in _OTHERS else None


@dataclass(frozen=True, slots=True)
class Structure:
    """What one NAL unit says.

    Attributes:
        name: of the structure, in the standard's words: `seq_parameter_set_rbsp`, `slice_header`, ...
        values: its elements; those of the NAL unit header in the structure `nal_unit_header`.
        out_of_range: elements outside the standard's range.
        bits: length in the RBSP, NAL unit header and closing bits included; slice data come after it.
        unread_bits: of the RBSP after the closing bits; 0 except in broken parameter sets and headers.
    """

    name: str
    values: Values
    out_of_range: tuple[OutOfRange, ...]
    bits: int
    unread_bits: int = 0


Found = Vps | Sps | Pps | PictureHeader | SliceHeader | None


@dataclass(slots=True)
class HeaderState:
    """What the headers of a stream refer to, kept up to date NAL unit by NAL unit, in decoding order."""

    sets: ParameterSets = field(default_factory=ParameterSets)
    picture: PictureHeader | None = None  # of the last PH NAL unit
    _received: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def read(
        self, header: NalHeader, data: bytes | memoryview, trace: list[TraceEntry] | None = None
    ) -> Structure | None:
        """What a NAL unit says, element by element, from its header on; None for types without a description here.

        Parameter sets and picture headers come into force. Bit positions count from the first bit of the NAL unit,
        emulation prevention bytes left out.

        Raises:
            VseiError: the NAL unit ends too early, refers to a set that has not come, or makes no sense. `trace` then
                holds the elements before the fault.
        """
        name = structure_name(header.nal_unit_type)
        if name is None:
            return None
        is_slice = header.nal_unit_type in SLICE_TYPES

        def run(part: bytes | memoryview) -> tuple[Reader, Found]:
            if trace is not None:
                del trace[before:]
            reader = Reader(rbsp(part), trace=trace)
            return reader, self.describe(reader)

        before = len(trace) if trace is not None else 0
        reader, found = _from_the_beginning(run, data) if is_slice else run(data)
        self._activate(found)
        unread = 0 if is_slice else reader.source.remaining
        return Structure(name, reader.values, tuple(reader.out_of_range), reader.position, unread)

    def describe(self, s: Syntax) -> Found:
        """The description of a NAL unit, from its header to its closing bits (of a slice: to those of its header)."""
        with s.structure("nal_unit_header"):
            nal_unit_header(s)
            nal_unit_type = s["nal_unit_type"]
        return self._describe_rbsp(s, nal_unit_type)

    def _describe_rbsp(self, s: Syntax, nal_unit_type: int) -> Found:
        if nal_unit_type in SLICE_TYPES:
            return slice_header(s, nal_unit_type, self.sets, self.picture)
        found: Found = None
        if nal_unit_type == Vvc.PH:
            found = picture_header_structure(s, self.sets)
        elif nal_unit_type in _PARAMETER_SETS:
            found = _PARAMETER_SETS[nal_unit_type][1](s)
        else:
            _OTHERS[nal_unit_type][1](s)
        rbsp_trailing_bits(s)
        return found

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        """Bring a parameter set or picture header into force; other NAL units change nothing. VseiError as `read`."""
        kind = header.nal_unit_type
        if kind == Vvc.PH:
            self.picture = None
            self._activate(self._describe_rbsp(Reader(rbsp(data), NAL_HEADER_BITS), kind))
        elif kind in _PARAMETER_SETS and len(data) > 2:
            # The identifier comes first: 4 bits, in a PPS 6. Sets are repeated often, and parsed only once.
            key = (kind, data[2] >> (2 if kind == Vvc.PPS else 4))
            if self._received.get(key) != data:
                self._received.pop(key, None)
                self._activate(self._describe_rbsp(Reader(rbsp(data), NAL_HEADER_BITS), kind))
                self._received[key] = bytes(data)

    def slice_header(self, header: NalHeader, data: bytes | memoryview) -> SliceHeader:
        """The header of a slice. VseiError as `read`."""
        kind = header.nal_unit_type

        def run(part: bytes | memoryview) -> SliceHeader:
            return slice_header(Reader(rbsp(part), NAL_HEADER_BITS), kind, self.sets, self.picture)

        return _from_the_beginning(run, data)

    def _activate(self, found: Found) -> None:
        if isinstance(found, Pps):
            self.sets.pps[found.values["pps_pic_parameter_set_id"]] = found
        elif isinstance(found, Sps):
            self.sets.sps[found.values["sps_seq_parameter_set_id"]] = found
        elif isinstance(found, Vps):
            self.sets.vps[found.values["vps_video_parameter_set_id"]] = found
        elif isinstance(found, PictureHeader):
            self.picture = found


T = TypeVar("T")


def _from_the_beginning(run: Callable[[bytes | memoryview], T], data: bytes | memoryview) -> T:
    if len(data) > SLICE_HEADER_BYTES:
        try:
            return run(data[:SLICE_HEADER_BYTES])
        except VseiError:
            pass  # perhaps only because it was cut
    return run(data)
