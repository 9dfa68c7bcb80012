"""H.264 parameter sets and slice headers as whole NAL units: read, traced, written, with the state that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from vsei.avc.parameter_sets import (
    ParameterSets,
    Pps,
    Sps,
    nal_unit_header,
    pic_parameter_set_rbsp,
    seq_parameter_set_data,
)
from vsei.avc.slice_header import SliceHeader, slice_header
from vsei.nal import Avc, Codec, NalHeader
from vsei.rbsp import rbsp_trailing_bits
from vsei.structures import Structure, run, structure_of
from vsei.syntax import Syntax, TraceEntry

NAL_HEADER_BITS = 8
SLICE_TYPES = (Avc.SLICE, Avc.DPA, Avc.IDR)
_NAMES = {
    Avc.SPS: "seq_parameter_set_rbsp",
    Avc.PPS: "pic_parameter_set_rbsp",
    Avc.AUD: "access_unit_delimiter_rbsp",
    **dict.fromkeys(SLICE_TYPES, "slice_header"),
}


def access_unit_delimiter_rbsp(s: Syntax) -> None:
    """7.3.2.4, without rbsp_trailing_bits()."""
    s.u(3, "primary_pic_type")


def structure_name(nal_unit_type: int) -> str | None:
    """The standard's name of what such a NAL unit holds; None where this package has no description of it."""
    return _NAMES.get(nal_unit_type)


Found = Sps | Pps | SliceHeader | None


@dataclass(slots=True)
class HeaderState:
    """What the headers of a stream refer to, kept up to date NAL unit by NAL unit, in decoding order."""

    sets: ParameterSets = field(default_factory=ParameterSets)

    def read(
        self, header: NalHeader, data: bytes | memoryview, trace: list[TraceEntry] | None = None
    ) -> Structure | None:
        """See `vsei.structures.HeaderState`. The header of a slice ends where its data begin, at any bit."""
        name = structure_name(header.nal_unit_type)
        if name is None:
            return None
        is_slice = header.nal_unit_type in SLICE_TYPES
        reader, found = run(self.describe, data, is_slice=is_slice, trace=trace)
        self._activate(found)
        return structure_of(name, reader, is_slice=is_slice)

    def describe(self, s: Syntax) -> Found:
        """The description of a NAL unit, from its header to its closing bits (of a slice: to the end of its header)."""
        with s.structure("nal_unit_header"):
            nal_unit_header(s)
            header = NalHeader(Codec.AVC, s["nal_unit_type"], ref_idc=s["nal_ref_idc"])
        return self._describe_rbsp(s, header)

    def _describe_rbsp(self, s: Syntax, header: NalHeader) -> Found:
        if header.nal_unit_type in SLICE_TYPES:
            return slice_header(s, header, self.sets)
        found: Found = None
        if header.nal_unit_type == Avc.SPS:
            found = seq_parameter_set_data(s)
        elif header.nal_unit_type == Avc.PPS:
            found = pic_parameter_set_rbsp(s, self.sets)
        else:
            access_unit_delimiter_rbsp(s)
        rbsp_trailing_bits(s)
        return found

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        """Bring a parameter set into force; other NAL units change nothing. VseiError as `read`."""
        if header.nal_unit_type in (Avc.SPS, Avc.PPS):
            self._activate(
                run(lambda s: self._describe_rbsp(s, header), data, is_slice=False, first_bit=NAL_HEADER_BITS)[1]
            )

    def slice_header(self, header: NalHeader, data: bytes | memoryview) -> SliceHeader:
        """The header of a slice. VseiError as `read`."""
        return run(lambda s: slice_header(s, header, self.sets), data, is_slice=True, first_bit=NAL_HEADER_BITS)[1]

    def _activate(self, found: Found) -> None:
        if isinstance(found, Pps):
            self.sets.pps[found.values["pic_parameter_set_id"]] = found
        elif isinstance(found, Sps):
            self.sets.sps[found.values["seq_parameter_set_id"]] = found
