"""Where the slices of a picture lie: H.266 6.5.1 and the semantics of 7.4.3.5 and 7.4.8."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import lru_cache

from vsei.errors import VseiError
from vsei.vvc.common import ceil_div
from vsei.vvc.pps import Pps, Rect
from vsei.vvc.sps import Sps


def size_in_ctbs(sps: Sps, pps: Pps) -> tuple[int, int]:
    """PicWidthInCtbsY, PicHeightInCtbsY"""
    ctb = 1 << (sps.values["sps_log2_ctu_size_minus5"] + 5)
    return (
        ceil_div(pps.values["pps_pic_width_in_luma_samples"], ctb),
        ceil_div(pps.values["pps_pic_height_in_luma_samples"], ctb),
    )


@lru_cache(maxsize=64)
def subpictures(sps: Sps, pps: Pps) -> tuple[Rect, ...]:
    """The subpictures in CTUs; one that is the whole picture where the SPS has no more."""
    v = sps.values
    width, height = size_in_ctbs(sps, pps)
    count = v.get("sps_num_subpics_minus1") + 1
    if count == 1:
        return (Rect(0, 0, width, height),)
    if v["sps_subpic_same_size_flag"]:
        w = v.get(("sps_subpic_width_minus1", 0), width - 1) + 1
        h = v.get(("sps_subpic_height_minus1", 0), height - 1) + 1
        columns = max(1, width // w)
        places = ((i % columns * w, i // columns * h) for i in range(count))
        return tuple(Rect(x, y, x + w, y + h) for x, y in places)
    found = []
    for i in range(count):
        x = v.get(("sps_subpic_ctu_top_left_x", i))
        y = v.get(("sps_subpic_ctu_top_left_y", i))
        w = v.get(("sps_subpic_width_minus1", i), width - x - 1) + 1
        h = v.get(("sps_subpic_height_minus1", i), height - y - 1) + 1
        found.append(Rect(x, y, x + w, y + h))
    return tuple(found)


@lru_cache(maxsize=64)
def subpic_ids(sps: Sps, pps: Pps) -> dict[int, int]:
    """By SubpicIdVal: the index of the subpicture."""
    count = sps.values.get("sps_num_subpics_minus1") + 1
    if not sps.values.get("sps_subpic_id_mapping_explicitly_signalled_flag"):
        return {i: i for i in range(count)}
    in_pps = pps.values.get("pps_subpic_id_mapping_present_flag")
    values, name = (pps.values, "pps_subpic_id") if in_pps else (sps.values, "sps_subpic_id")
    return {values.get((name, i), -1): i for i in range(count)}


@lru_cache(maxsize=64)
def rectangular_slices(sps: Sps, pps: Pps) -> tuple[tuple[Rect, ...], ...]:
    """The rectangular slices of each subpicture, in the order of their addresses."""
    areas = subpictures(sps, pps)
    if pps.tiling is None or pps.tiling.slices is None:
        return tuple((area,) for area in areas)
    slices = pps.tiling.slices
    if len(areas) == 1:
        return (slices,)
    return tuple(
        tuple(r for r in slices if area.left <= r.left < area.right and area.top <= r.top < area.bottom)
        for area in areas
    )


def substreams(sps: Sps, pps: Pps, area: Rect) -> int:
    """How many entry points, the first included, a rectangular slice has (7.4.8, NumEntryPoints + 1)."""
    sync = sps.values["sps_entropy_coding_sync_enabled_flag"]
    if pps.tiling is None:
        return area.bottom - area.top if sync else 1
    columns = _crossed(pps.tiling.column_bd, area.left, area.right)
    return columns * (area.bottom - area.top if sync else _crossed(pps.tiling.row_bd, area.top, area.bottom))


def _crossed(boundaries: tuple[int, ...], low: int, high: int) -> int:
    """How many tile columns or rows the range touches."""
    return bisect_left(boundaries, high) - bisect_right(boundaries, low) + 1


def raster_substreams(sps: Sps, pps: Pps, first_tile: int, num_tiles: int) -> int:
    """The same for a slice of tiles in raster order.

    Raises:
        VseiError: the picture has fewer tiles.
    """
    if pps.tiling is None:
        raise VseiError("a picture of one tile has no slices in raster order")
    if first_tile + num_tiles > pps.tiling.num_tiles:
        raise VseiError(f"tiles {first_tile} to {first_tile + num_tiles - 1} of {pps.tiling.num_tiles}")
    if not sps.values["sps_entropy_coding_sync_enabled_flag"]:
        return num_tiles
    row_bd, columns = pps.tiling.row_bd, len(pps.tiling.column_bd) - 1
    rows = (tile // columns for tile in range(first_tile, first_tile + num_tiles))
    return sum(row_bd[row + 1] - row_bd[row] for row in rows)
