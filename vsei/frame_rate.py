"""How many pictures a stream says it has per second. Most streams say nothing, or leave it to their container."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from vsei.annexb import NalUnit
from vsei.errors import VseiError
from vsei.nal import Codec, Hevc, Vvc, read_header
from vsei.structures import header_state
from vsei.syntax import Values

# A stream could start with anything but an SPS; this many NAL units are looked at.
LOOKED_AT = 256


def frame_rate(nal_units: Iterable[NalUnit], codec: Codec) -> Fraction | None:
    """Pictures per second, from the first parameter sets that say so; None where none does.

    H.266: general_timing_hrd_parameters() in VPS or SPS. H.265: the timing information of VUI or VPS. H.264: that of
    VUI, which counts fields.
    """
    state = header_state(codec)
    for i, unit in enumerate(nal_units):
        if i >= LOOKED_AT:
            break
        try:
            header = read_header(codec, unit.data)
            if codec is Codec.VVC and header.nal_unit_type not in (Vvc.VPS, Vvc.SPS):
                continue
            if codec is Codec.HEVC and header.nal_unit_type not in (Hevc.VPS, Hevc.SPS):
                continue
            structure = state.read(header, unit.data)
        except VseiError:
            continue
        rate = _of(structure.values, codec) if structure is not None else None
        if rate is not None:
            return rate
    return None


def _of(values: Values, codec: Codec) -> Fraction | None:
    for prefix in ("", "vui_", "vps_"):
        tick, scale = values.get(f"{prefix}num_units_in_tick"), values.get(f"{prefix}time_scale")
        if tick and scale:
            return Fraction(scale, tick * (2 if codec is Codec.AVC else _ticks_for_a_picture(values)))
    return None


def _ticks_for_a_picture(values: Values) -> int:
    """Clock ticks from one picture to the next, of the highest sublayer, where these are constant."""
    durations = [
        (key[1], value)
        for key, value in values.present.items()
        if isinstance(key, tuple) and key[0] == "elemental_duration_in_tc_minus1" and isinstance(value, int)
    ]
    return max(durations)[1] + 1 if durations else 1
