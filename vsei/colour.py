"""How the samples of a stream become colours: the colour description of its VUI parameters (H.274 7.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, Hevc, Vvc, read_header
from vsei.structures import header_state
from vsei.syntax import Values

# A stream could start with anything but an SPS; this many NAL units are looked at.
LOOKED_AT = 256
UNSPECIFIED = 2  # of the three code points (H.273)
_SPS = {Codec.VVC: Vvc.SPS, Codec.HEVC: Hevc.SPS, Codec.AVC: Avc.SPS}


@dataclass(frozen=True, slots=True)
class Colour:
    """Code points of H.273: colour_primaries, transfer_characteristics, matrix_coeffs, and video_full_range_flag."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool = False


def colour(nal_units: Iterable[NalUnit], codec: Codec) -> Colour:
    """What the first SPS says; unspecified where it says nothing."""
    state = header_state(codec)
    for i, unit in enumerate(nal_units):
        if i >= LOOKED_AT:
            break
        try:
            header = read_header(codec, unit.data)
            if header.nal_unit_type != _SPS[codec]:
                continue
            structure = state.read(header, unit.data)
        except VseiError:
            continue
        if structure is not None:
            return _of(structure.values)
    return Colour()


def _of(values: Values) -> Colour:
    def first(default: int, *names: str) -> int:
        return next((value for name in names if (value := values.get(name, -1)) >= 0), default)

    return Colour(
        first(UNSPECIFIED, "vui_colour_primaries", "colour_primaries"),
        first(UNSPECIFIED, "vui_transfer_characteristics", "transfer_characteristics"),
        first(UNSPECIFIED, "vui_matrix_coeffs", "matrix_coeffs", "matrix_coefficients"),
        bool(first(0, "vui_full_range_flag", "video_full_range_flag")),
    )
