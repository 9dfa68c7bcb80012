"""What a display wants to know: mastering display (137), content light level (144), frame packing (45).

H.274 V4 clauses 8.13, 8.14 and 8.10; H.264 and H.265 use the same layout but for the end of frame packing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from vsei.messages.form import Message
from vsei.syntax import Syntax


@dataclass(frozen=True, kw_only=True, slots=True)
class MasteringDisplayColourVolume(Message):
    """mastering_display_colour_volume(): primaries in units of 0.00002, luminances of 0.0001 cd/m2"""

    PAYLOAD_TYPE: ClassVar[int] = 137
    NAME: ClassVar[str] = "mastering_display_colour_volume"

    mdcv_display_primaries_x: tuple[int, ...]
    mdcv_display_primaries_y: tuple[int, ...]
    mdcv_white_point_x: int
    mdcv_white_point_y: int
    mdcv_max_display_mastering_luminance: int
    mdcv_min_display_mastering_luminance: int


def mastering_display_colour_volume(s: Syntax) -> None:
    """mastering_display_colour_volume( payloadSize )"""
    for c in range(3):
        s.u(16, "mdcv_display_primaries_x", c)
        s.u(16, "mdcv_display_primaries_y", c)
    s.u(16, "mdcv_white_point_x")
    s.u(16, "mdcv_white_point_y")
    s.u(32, "mdcv_max_display_mastering_luminance")
    s.u(32, "mdcv_min_display_mastering_luminance")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentLightLevelInfo(Message):
    """content_light_level_info(): cd/m2"""

    PAYLOAD_TYPE: ClassVar[int] = 144
    NAME: ClassVar[str] = "content_light_level_info"

    clli_max_content_light_level: int
    clli_max_pic_average_light_level: int


def content_light_level_info(s: Syntax) -> None:
    """content_light_level_info( payloadSize )"""
    s.u(16, "clli_max_content_light_level")
    s.u(16, "clli_max_pic_average_light_level")


TEMPORAL_INTERLEAVING = 5  # fp_arrangement_type


@dataclass(frozen=True, kw_only=True, slots=True)
class FramePackingArrangement(Message):
    """frame_packing_arrangement(). H.264 has a repetition period where the others have a persistence flag."""

    PAYLOAD_TYPE: ClassVar[int] = 45
    NAME: ClassVar[str] = "frame_packing_arrangement"

    fp_arrangement_id: int
    fp_arrangement_cancel_flag: int
    fp_arrangement_type: int | None = None
    fp_quincunx_sampling_flag: int | None = None
    fp_content_interpretation_type: int | None = None
    fp_spatial_flipping_flag: int | None = None
    fp_frame0_flipped_flag: int | None = None
    fp_field_views_flag: int | None = None
    fp_current_frame_is_frame0_flag: int | None = None
    fp_frame0_self_contained_flag: int | None = None
    fp_frame1_self_contained_flag: int | None = None
    fp_frame0_grid_position_x: int | None = None
    fp_frame0_grid_position_y: int | None = None
    fp_frame1_grid_position_x: int | None = None
    fp_frame1_grid_position_y: int | None = None
    fp_arrangement_reserved_byte: int | None = None
    fp_arrangement_persistence_flag: int | None = None
    frame_packing_arrangement_repetition_period: int | None = None
    fp_upsampled_aspect_ratio_flag: int


def frame_packing_arrangement(s: Syntax) -> None:
    """frame_packing_arrangement( payloadSize ), H.274 8.10.1 and H.265 D.2.16"""
    _frame_packing(s, lambda: s.flag("fp_arrangement_persistence_flag"))


def avc_frame_packing_arrangement(s: Syntax) -> None:
    """frame_packing_arrangement( payloadSize ), H.264 D.1.26"""
    _frame_packing(s, lambda: s.ue("frame_packing_arrangement_repetition_period", max=16384))


def _frame_packing(s: Syntax, persistence: Callable[[], int]) -> None:
    s.ue("fp_arrangement_id")
    if not s.flag("fp_arrangement_cancel_flag"):
        arrangement_type = s.u(7, "fp_arrangement_type")
        quincunx = s.flag("fp_quincunx_sampling_flag")
        s.u(6, "fp_content_interpretation_type")
        s.flag("fp_spatial_flipping_flag")
        s.flag("fp_frame0_flipped_flag")
        s.flag("fp_field_views_flag")
        s.flag("fp_current_frame_is_frame0_flag")
        s.flag("fp_frame0_self_contained_flag")
        s.flag("fp_frame1_self_contained_flag")
        if not quincunx and arrangement_type != TEMPORAL_INTERLEAVING:
            for frame in (0, 1):
                s.u(4, f"fp_frame{frame}_grid_position_x")
                s.u(4, f"fp_frame{frame}_grid_position_y")
        s.u(8, "fp_arrangement_reserved_byte")
        persistence()
    s.flag("fp_upsampled_aspect_ratio_flag")
