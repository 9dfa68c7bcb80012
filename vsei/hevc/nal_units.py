"""H.265 parameter sets and slice headers as whole NAL units: read, traced, written, with the state that it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vsei.errors import VseiError
from vsei.hevc.common import nal_unit_header
from vsei.hevc.parameter_sets import (
    ParameterSets,
    Pps,
    Sps,
    Vps,
    pic_parameter_set_rbsp,
    seq_parameter_set_rbsp,
    video_parameter_set_rbsp,
)
from vsei.hevc.slice_header import SliceHeader, slice_segment_header
from vsei.nal import Hevc, NalHeader
from vsei.rbsp import rbsp_trailing_bits
from vsei.structures import ParsedSets, Structure, run, structure_of
from vsei.syntax import Syntax, TraceEntry

NAL_HEADER_BITS = 16
SLICE_TYPES = (*range(Hevc.TRAIL_N, Hevc.RASL_R + 1), *range(Hevc.BLA_W_LP, Hevc.CRA + 1))  # the others are reserved

_PARAMETER_SETS: dict[int, tuple[str, Callable[[Syntax], Vps | Sps | Pps]]] = {
    Hevc.VPS: ("video_parameter_set_rbsp", video_parameter_set_rbsp),
    Hevc.SPS: ("seq_parameter_set_rbsp", seq_parameter_set_rbsp),
    Hevc.PPS: ("pic_parameter_set_rbsp", pic_parameter_set_rbsp),
}


def access_unit_delimiter_rbsp(s: Syntax) -> None:
    """7.3.2.5, without rbsp_trailing_bits()."""
    s.u(3, "pic_type", max=2)


def structure_name(nal_unit_type: int) -> str | None:
    """The standard's name of what such a NAL unit holds; None where this package has no description of it."""
    if nal_unit_type in SLICE_TYPES:
        return "slice_segment_header"
    if nal_unit_type == Hevc.AUD:
        return "access_unit_delimiter_rbsp"
    return _PARAMETER_SETS[nal_unit_type][0] if nal_unit_type in _PARAMETER_SETS else None


Found = Vps | Sps | Pps | SliceHeader | None


@dataclass(slots=True)
class HeaderState:
    """What the headers of a stream refer to, kept up to date NAL unit by NAL unit, in decoding order."""

    sets: ParameterSets = field(default_factory=ParameterSets)
    _parsed: ParsedSets[Found] = field(default_factory=ParsedSets)

    def read(
        self, header: NalHeader, data: bytes | memoryview, trace: list[TraceEntry] | None = None
    ) -> Structure | None:
        """See `vsei.structures.HeaderState`."""
        name = structure_name(header.nal_unit_type)
        if name is None:
            return None
        is_slice = header.nal_unit_type in SLICE_TYPES
        reader, found = run(self.describe, data, is_slice=is_slice, trace=trace)
        self._activate(found)
        return structure_of(name, reader, is_slice=is_slice)

    def describe(self, s: Syntax) -> Found:
        """The description of a NAL unit, from its header to its closing bits (of a slice: to those of its header)."""
        with s.structure("nal_unit_header"):
            nal_unit_header(s)
            nal_unit_type, layer_id = s["nal_unit_type"], s["nuh_layer_id"]
        return self._describe_rbsp(s, nal_unit_type, layer_id)

    def _describe_rbsp(self, s: Syntax, nal_unit_type: int, layer_id: int) -> Found:
        if layer_id > 0 and nal_unit_type not in (Hevc.VPS, Hevc.AUD):
            raise s.fail("nuh_layer_id", f"{layer_id}; layers other than the base layer are out of reach")
        if nal_unit_type in SLICE_TYPES:
            return slice_segment_header(s, nal_unit_type, self.sets)
        found: Found = None
        if nal_unit_type == Hevc.AUD:
            access_unit_delimiter_rbsp(s)
        else:
            found = _PARAMETER_SETS[nal_unit_type][1](s)
        rbsp_trailing_bits(s)
        return found

    def take(self, header: NalHeader, data: bytes | memoryview) -> None:
        """Bring a parameter set of the base layer into force; others change nothing. VseiError as `read`."""
        kind = header.nal_unit_type
        if kind in (Hevc.SPS, Hevc.PPS) and header.layer_id == 0:
            self._activate(
                self._parsed.get(
                    data,
                    lambda: run(
                        lambda s: self._describe_rbsp(s, kind, 0), data, is_slice=False, first_bit=NAL_HEADER_BITS
                    )[1],
                )
            )

    def slice_header(self, header: NalHeader, data: bytes | memoryview) -> SliceHeader:
        """The header of a slice segment of the base layer. VseiError as `read`."""
        if header.layer_id > 0:
            raise VseiError(
                f"{header.layer_id}; layers other than the base layer are out of reach", element="nuh_layer_id", bit=7
            )
        return run(
            lambda s: slice_segment_header(s, header.nal_unit_type, self.sets),
            data,
            is_slice=True,
            first_bit=NAL_HEADER_BITS,
        )[1]

    def _activate(self, found: Found) -> None:
        if isinstance(found, Pps):
            self.sets.pps[found.values["pps_pic_parameter_set_id"]] = found
        elif isinstance(found, Sps):
            self.sets.sps[found.values["sps_seq_parameter_set_id"]] = found
