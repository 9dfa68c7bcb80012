"""Parameter sets and headers as whole NAL units: read, traced, written, with the state that reading them needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vsei.nal import NalHeader, Vvc
from vsei.rbsp import rbsp_trailing_bits
from vsei.structures import ParsedSets, Structure, run, structure_of
from vsei.syntax import Syntax, TraceEntry
from vsei.vvc.aps import adaptation_parameter_set_rbsp
from vsei.vvc.common import nal_unit_header
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


Found = Vps | Sps | Pps | PictureHeader | SliceHeader | None


@dataclass(slots=True)
class HeaderState:
    """What the headers of a stream refer to, kept up to date NAL unit by NAL unit, in decoding order."""

    sets: ParameterSets = field(default_factory=ParameterSets)
    picture: PictureHeader | None = None  # of the last PH NAL unit
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
        if kind == Vvc.PH or kind in _PARAMETER_SETS:

            def parse() -> Found:
                return run(lambda s: self._describe_rbsp(s, kind), data, is_slice=False, first_bit=NAL_HEADER_BITS)[1]

            self._activate(parse() if kind == Vvc.PH else self._parsed.get(data, parse))

    def slice_header(self, header: NalHeader, data: bytes | memoryview) -> SliceHeader:
        """The header of a slice. VseiError as `read`."""
        return run(
            lambda s: slice_header(s, header.nal_unit_type, self.sets, self.picture),
            data,
            is_slice=True,
            first_bit=NAL_HEADER_BITS,
        )[1]

    def _activate(self, found: Found) -> None:
        if isinstance(found, Pps):
            self.sets.pps[found.values["pps_pic_parameter_set_id"]] = found
        elif isinstance(found, Sps):
            self.sets.sps[found.values["sps_seq_parameter_set_id"]] = found
        elif isinstance(found, Vps):
            self.sets.vps[found.values["vps_video_parameter_set_id"]] = found
        elif isinstance(found, PictureHeader):
            self.picture = found
