"""Picture parameter set: H.266 7.3.2.5, and how it cuts pictures into tiles and slices: 6.5.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from vsei.errors import VseiError
from vsei.rbsp import limited
from vsei.syntax import Syntax, Values
from vsei.vvc.common import ceil_div, extension_data
from vsei.vvc.sps import MAX_PIC_SIZE, MAX_SUBPICS

# Table A.2, level 6.3. Loops over tiles and slices consume few bits or none, so they need a limit.
MAX_TILE_COLUMNS = 30
MAX_TILES = 990
MAX_TILE_ROWS = MAX_TILES
MAX_SLICES = 1000


class Rect(NamedTuple):
    """A rectangle of CTUs, right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True, eq=False)
class Tiling:
    """Tiles and slices of a picture.

    Attributes:
        column_bd, row_bd: CTB positions of the tile boundaries, the picture's edges included.
        rect_slice: pps_rect_slice_flag, or what is inferred for it.
        slices: the rectangular slices in the order of their addresses; None where the SPS or the slice headers tell.
    """

    column_bd: tuple[int, ...]
    row_bd: tuple[int, ...]
    rect_slice: int
    slices: tuple[Rect, ...] | None

    @property
    def num_tiles(self) -> int:
        return (len(self.column_bd) - 1) * (len(self.row_bd) - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Pps:
    """A picture parameter set. `tiling` is None where the picture is one slice and one tile."""

    values: Values
    tiling: Tiling | None


def pic_parameter_set_rbsp(s: Syntax) -> Pps:
    """7.3.2.5, without rbsp_trailing_bits()."""
    s.u(6, "pps_pic_parameter_set_id")
    s.u(4, "pps_seq_parameter_set_id")
    s.flag("pps_mixed_nalu_types_in_pic_flag")
    width = s.ue("pps_pic_width_in_luma_samples", min=1)
    height = s.ue("pps_pic_height_in_luma_samples", min=1)
    limited(s, "pps_pic_width_in_luma_samples", width, MAX_PIC_SIZE)
    limited(s, "pps_pic_height_in_luma_samples", height, MAX_PIC_SIZE)
    if s.flag("pps_conformance_window_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.ue(f"pps_conf_win_{side}_offset")
    if s.flag("pps_scaling_window_explicit_signalling_flag"):
        for side in ("left", "right", "top", "bottom"):
            s.se(f"pps_scaling_win_{side}_offset")
    s.flag("pps_output_flag_present_flag")
    no_partition = s.flag("pps_no_pic_partition_flag")
    if s.flag("pps_subpic_id_mapping_present_flag"):
        subpics = 1
        if not no_partition:
            subpics = s.ue("pps_num_subpics_minus1", max=MAX_SUBPICS - 1) + 1
            limited(s, "pps_num_subpics_minus1", subpics, MAX_SUBPICS)
        id_bits = s.ue("pps_subpic_id_len_minus1", max=15) + 1
        limited(s, "pps_subpic_id_len_minus1", id_bits, 16)
        for i in range(subpics):
            s.u(id_bits, "pps_subpic_id", i)
    tiling = None if no_partition else _partition(s, width, height)
    s.flag("pps_cabac_init_present_flag")
    for i in range(2):
        s.ue("pps_num_ref_idx_default_active_minus1", i, max=14)
    s.flag("pps_rpl1_idx_present_flag")
    weighted = s.flag("pps_weighted_pred_flag")
    weighted |= s.flag("pps_weighted_bipred_flag")
    if s.flag("pps_ref_wraparound_enabled_flag"):
        s.ue("pps_pic_width_minus_wraparound_offset")
    s.se("pps_init_qp_minus26", min=-(26 + 48), max=37)
    s.flag("pps_cu_qp_delta_enabled_flag")
    chroma_tool_offsets = s.flag("pps_chroma_tool_offsets_present_flag")
    if chroma_tool_offsets:
        _chroma_qp_offsets(s)
    if s.flag("pps_deblocking_filter_control_present_flag"):
        override = s.flag("pps_deblocking_filter_override_enabled_flag")
        disabled = s.flag("pps_deblocking_filter_disabled_flag")
        if not no_partition and override:
            s.flag("pps_dbf_info_in_ph_flag")
        if not disabled:
            deblocking_offsets(s, "pps", chroma_tool_offsets)
    if not no_partition:
        rpl_info_in_ph = s.flag("pps_rpl_info_in_ph_flag")
        s.flag("pps_sao_info_in_ph_flag")
        s.flag("pps_alf_info_in_ph_flag")
        if weighted and rpl_info_in_ph:
            s.flag("pps_wp_info_in_ph_flag")
        s.flag("pps_qp_delta_info_in_ph_flag")
    s.flag("pps_picture_header_extension_present_flag")
    s.flag("pps_slice_header_extension_present_flag")
    extension_data(s, "pps")
    return Pps(s.values, tiling)


def deblocking_offsets(s: Syntax, prefix: str, chroma: int) -> None:
    """The same elements stand in the PPS, the picture header and the slice header."""
    for component in ("luma", "cb", "cr") if chroma else ("luma",):
        s.se(f"{prefix}_{component}_beta_offset_div2", min=-12, max=12)
        s.se(f"{prefix}_{component}_tc_offset_div2", min=-12, max=12)


def _chroma_qp_offsets(s: Syntax) -> None:
    s.se("pps_cb_qp_offset", min=-12, max=12)
    s.se("pps_cr_qp_offset", min=-12, max=12)
    joint = s.flag("pps_joint_cbcr_qp_offset_present_flag")
    if joint:
        s.se("pps_joint_cbcr_qp_offset_value", min=-12, max=12)
    s.flag("pps_slice_chroma_qp_offsets_present_flag")
    if s.flag("pps_cu_chroma_qp_offset_list_enabled_flag"):
        length = s.ue("pps_chroma_qp_offset_list_len_minus1", max=5) + 1
        for i in range(limited(s, "pps_chroma_qp_offset_list_len_minus1", length, 6)):
            s.se("pps_cb_qp_offset_list", i, min=-12, max=12)
            s.se("pps_cr_qp_offset_list", i, min=-12, max=12)
            if joint:
                s.se("pps_joint_cbcr_qp_offset_list", i, min=-12, max=12)


def _partition(s: Syntax, width: int, height: int) -> Tiling:
    """Tiles and slices, where there is more than one CTU row in one slice."""
    ctb_log2 = s.u(2, "pps_log2_ctu_size_minus5", max=2) + 5
    columns = s.ue("pps_num_exp_tile_columns_minus1", max=MAX_TILE_COLUMNS - 1) + 1
    rows = s.ue("pps_num_exp_tile_rows_minus1", max=MAX_TILE_ROWS - 1) + 1
    limited(s, "pps_num_exp_tile_columns_minus1", columns, MAX_TILE_COLUMNS)
    limited(s, "pps_num_exp_tile_rows_minus1", rows, MAX_TILE_ROWS)
    explicit_columns = [s.ue("pps_tile_column_width_minus1", i) + 1 for i in range(columns)]
    explicit_rows = [s.ue("pps_tile_row_height_minus1", i) + 1 for i in range(rows)]
    try:
        column_bd = tile_boundaries(explicit_columns, ceil_div(width, 1 << ctb_log2), MAX_TILE_COLUMNS)
        row_bd = tile_boundaries(explicit_rows, ceil_div(height, 1 << ctb_log2), MAX_TILE_ROWS)
    except VseiError as error:
        raise s.fail("pps_tile_column_width_minus1, pps_tile_row_height_minus1", error.problem) from None
    tiles = (len(column_bd) - 1) * (len(row_bd) - 1)
    limited(s, "NumTilesInPic", tiles, MAX_TILES)
    rect = 1
    if tiles > 1:
        s.flag("pps_loop_filter_across_tiles_enabled_flag")
        rect = s.flag("pps_rect_slice_flag")
    single_per_subpic = s.flag("pps_single_slice_per_subpic_flag") if rect else 1
    slices_minus1, slices = 0, None
    if not single_per_subpic:
        slices_minus1 = s.ue("pps_num_slices_in_pic_minus1", max=MAX_SLICES - 1)
        limited(s, "pps_num_slices_in_pic_minus1", slices_minus1, MAX_SLICES - 1)
        slices = tuple(_rectangular_slices(s, slices_minus1, column_bd, row_bd))
    if not rect or single_per_subpic or slices_minus1 > 0:
        s.flag("pps_loop_filter_across_slices_enabled_flag")
    return Tiling(tuple(column_bd), tuple(row_bd), rect, slices)


def tile_boundaries(explicit: list[int], total: int, most: int) -> list[int]:
    """TileColBdVal or TileRowBdVal, in CTBs: the explicit sizes, then the last of them repeated (6.5.1)."""
    boundaries = [0]
    for size in explicit:
        boundaries.append(boundaries[-1] + size)
    if boundaries[-1] > total:
        raise VseiError(f"tiles of {boundaries[-1]} CTBs in a picture of {total}")
    if boundaries[-1] + (most - len(explicit)) * explicit[-1] < total:
        raise VseiError(f"more than {most} tile columns or rows")
    while boundaries[-1] < total:
        boundaries.append(min(total, boundaries[-1] + explicit[-1]))
    return boundaries


def _rectangular_slices(s: Syntax, slices_minus1: int, column_bd: list[int], row_bd: list[int]) -> list[Rect]:
    """The slices of the picture one by one (6.5.1, the part for pps_rect_slice_flag)."""
    columns, rows = len(column_bd) - 1, len(row_bd) - 1
    delta_present = s.flag("pps_tile_idx_delta_present_flag") if slices_minus1 > 1 else 0
    slices: list[Rect] = []
    tile, i, height = 0, 0, 1
    while i < slices_minus1:
        y, x = divmod(tile, columns)
        width = s.ue("pps_slice_width_in_tiles_minus1", i, max=columns - 1) + 1 if x != columns - 1 else 1
        if y == rows - 1:
            height = 1
        elif delta_present or x == 0:
            height = s.ue("pps_slice_height_in_tiles_minus1", i, max=rows - 1) + 1
        # otherwise it is as high as its neighbour to the left
        if x + width > columns or y + height > rows:
            raise s.fail(f"pps_slice_width_in_tiles_minus1[{i}]", "the slice goes beyond the picture")
        top, bottom = row_bd[y], row_bd[y + height]
        first = i
        if width == 1 and height == 1 and bottom - top > 1:
            # Several slices may share the tile, each some CTU rows high.
            explicit = s.ue("pps_num_exp_slices_in_tile", i, max=bottom - top - 1)
            size = bottom - top
            for j in range(limited(s, f"pps_num_exp_slices_in_tile[{i}]", explicit, MAX_SLICES)):
                size = s.ue("pps_exp_slice_height_in_ctus_minus1", first, j) + 1
                slices.append(Rect(column_bd[x], top, column_bd[x + 1], top + size))
                top += size
            if top > bottom:
                raise s.fail(f"pps_exp_slice_height_in_ctus_minus1[{i}]", "the slices are higher than their tile")
            limited(s, "pps_exp_slice_height_in_ctus_minus1", len(slices) + ceil_div(bottom - top, size), MAX_SLICES)
            while top < bottom:
                slices.append(Rect(column_bd[x], top, column_bd[x + 1], min(bottom, top + size)))
                top += size
        else:
            slices.append(Rect(column_bd[x], top, column_bd[x + width], bottom))
        i = len(slices) - 1
        if i < slices_minus1:
            if delta_present:
                tile += s.se("pps_tile_idx_delta_val", i)
            else:
                tile += width
                if tile % columns == 0:
                    tile += (height - 1) * columns
            if not 0 <= tile < columns * rows:
                raise s.fail(f"pps_tile_idx_delta_val[{i}]", f"leads to tile {tile} of {columns * rows}")
        i += 1
    if len(slices) == slices_minus1:
        y, x = divmod(tile, columns)  # the last slice takes what is left
        slices.append(Rect(column_bd[x], row_bd[y], column_bd[columns], row_bd[rows]))
    if len(slices) != slices_minus1 + 1:
        raise s.fail("pps_num_slices_in_pic_minus1", f"{slices_minus1}, but the tiles hold {len(slices)} slices")
    return slices
