"""How the samples of a stream become colours, and their shape: from its VUI parameters (H.274 7.3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

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
    values = _first_sps(nal_units, codec)
    return Colour() if values is None else _of(values)


# SampleAspectRatio by aspect_ratio_idc, from 1 on (H.273 8.6).
_ASPECTS = tuple(
    Fraction(width, height)
    for width, height in (
        *((1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)),
        *((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
    )
)
_OWN_ASPECT = 255


def sample_aspect_ratio(nal_units: Iterable[NalUnit], codec: Codec) -> Fraction | None:
    """Width of a luma sample by its height, as the first SPS says; None where it says nothing."""
    values = _first_sps(nal_units, codec)
    if values is None:
        return None
    prefix = "vui_" if codec is Codec.VVC else ""
    idc = values.get(f"{prefix}aspect_ratio_idc", 0)
    if idc == _OWN_ASPECT:
        width, height = (values.get(f"{prefix}sar_{side}", 0) for side in ("width", "height"))
        return Fraction(width, height) if width and height else None
    return _ASPECTS[idc - 1] if 0 < idc <= len(_ASPECTS) else None


def _first_sps(nal_units: Iterable[NalUnit], codec: Codec) -> Values | None:
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
            return structure.values
    return None


def _of(values: Values) -> Colour:
    def first(default: int, *names: str) -> int:
        return next((value for name in names if (value := values.get(name, -1)) >= 0), default)

    return Colour(
        first(UNSPECIFIED, "vui_colour_primaries", "colour_primaries"),
        first(UNSPECIFIED, "vui_transfer_characteristics", "transfer_characteristics"),
        first(UNSPECIFIED, "vui_matrix_coeffs", "matrix_coeffs", "matrix_coefficients"),
        bool(first(0, "vui_full_range_flag", "video_full_range_flag")),
    )
