"""Film grain characteristics (payloadType 19) and post-filter hint (22): H.274 V4 clauses 8.6 and 8.7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from vsei.errors import VseiError
from vsei.messages.form import Message
from vsei.syntax import Syntax

PerComponent = tuple[int | None, ...]
PerInterval = tuple[tuple[int, ...] | None, ...]
PerValue = tuple[tuple[tuple[int, ...], ...] | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmGrainCharacteristics(Message):
    """film_grain_characteristics(). Subscripts: colour component, intensity interval, model value."""

    PAYLOAD_TYPE: ClassVar[int] = 19
    NAME: ClassVar[str] = "film_grain_characteristics"

    fg_characteristics_cancel_flag: int
    fg_model_id: int | None = None
    fg_separate_colour_description_present_flag: int | None = None
    fg_bit_depth_luma_minus8: int | None = None
    fg_bit_depth_chroma_minus8: int | None = None
    fg_full_range_flag: int | None = None
    fg_colour_primaries: int | None = None
    fg_transfer_characteristics: int | None = None
    fg_matrix_coeffs: int | None = None
    fg_blending_mode_id: int | None = None
    fg_log2_scale_factor: int | None = None
    fg_comp_model_present_flag: tuple[int, ...] | None = None
    fg_num_intensity_intervals_minus1: PerComponent | None = None
    fg_num_model_values_minus1: PerComponent | None = None
    fg_intensity_interval_lower_bound: PerInterval | None = None
    fg_intensity_interval_upper_bound: PerInterval | None = None
    fg_comp_model_value: PerValue | None = None
    fg_characteristics_persistence_flag: int | None = None
    film_grain_characteristics_repetition_period: int | None = None


def film_grain_characteristics(s: Syntax) -> None:
    """film_grain_characteristics( payloadSize ), H.274 8.6.1 and H.265 D.2.21"""
    _film_grain(s, lambda: s.flag("fg_characteristics_persistence_flag"))


def avc_film_grain_characteristics(s: Syntax) -> None:
    """film_grain_characteristics( payloadSize ), H.264 D.1.21"""
    _film_grain(s, lambda: s.ue("film_grain_characteristics_repetition_period", max=16384))


def _film_grain(s: Syntax, persistence: Callable[[], int]) -> None:
    if s.flag("fg_characteristics_cancel_flag"):
        return
    s.u(2, "fg_model_id")
    if s.flag("fg_separate_colour_description_present_flag"):
        s.u(3, "fg_bit_depth_luma_minus8")
        s.u(3, "fg_bit_depth_chroma_minus8")
        s.flag("fg_full_range_flag")
        s.u(8, "fg_colour_primaries")
        s.u(8, "fg_transfer_characteristics")
        s.u(8, "fg_matrix_coeffs")
    s.u(2, "fg_blending_mode_id")
    s.u(4, "fg_log2_scale_factor")
    present = [s.flag("fg_comp_model_present_flag", c) for c in range(3)]
    for c in range(3):
        if not present[c]:
            continue
        intervals = s.u(8, "fg_num_intensity_intervals_minus1", c) + 1
        model_values = s.u(3, "fg_num_model_values_minus1", c, max=5) + 1
        for i in range(intervals):
            s.u(8, "fg_intensity_interval_lower_bound", c, i)
            s.u(8, "fg_intensity_interval_upper_bound", c, i)
            for j in range(model_values):
                s.se("fg_comp_model_value", c, i, j)
    persistence()


@dataclass(frozen=True, kw_only=True, slots=True)
class PostFilterHint(Message):
    """post_filter_hint() of H.274. Subscripts of the values: colour component, row, column."""

    PAYLOAD_TYPE: ClassVar[int] = 22
    NAME: ClassVar[str] = "post_filter_hint"

    filter_hint_cancel_flag: int
    filter_hint_persistence_flag: int | None = None
    filter_hint_size_y: int | None = None
    filter_hint_size_x: int | None = None
    filter_hint_type: int | None = None
    filter_hint_chroma_coeff_present_flag: int | None = None
    filter_hint_value: tuple[tuple[tuple[int, ...], ...], ...] | None = None


MAX_HINT_SIZE = 15  # filter_hint_size_x and _y are 1..15


def post_filter_hint(s: Syntax) -> None:
    """post_filter_hint( payloadSize ), H.274 8.7.1"""
    if s.flag("filter_hint_cancel_flag"):
        return
    s.flag("filter_hint_persistence_flag")
    height = s.ue("filter_hint_size_y", min=1, max=MAX_HINT_SIZE)
    width = s.ue("filter_hint_size_x", min=1, max=MAX_HINT_SIZE)
    s.u(2, "filter_hint_type", max=2)
    components = 3 if s.flag("filter_hint_chroma_coeff_present_flag") else 1
    if height > 1 << 16 or width > 1 << 16:
        problem = f"a filter of {width}x{height} coefficients"
        raise VseiError(problem, element="filter_hint_size_x", bit=s.position)
    for c in range(components):
        for y in range(height):
            for x in range(width):
                s.se("filter_hint_value", c, y, x)
