"""The pictures that lead a random access picture, from a glance at each picture header.

`vsei.pictures` reads headers whole and knows all of output order; that is many times the work. What persists from the
first picture in output order of each segment on needs less: which pictures are leading ones their NAL unit types say,
and their order among each other the low bits of POC, a few elements into the picture header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from vsei.annexb import NalUnit, rbsp
from vsei.errors import VseiError
from vsei.grouping import Group, PictureStart, groups
from vsei.nal import Codec, NalHeader, Vvc, is_vcl
from vsei.syntax import Reader, Values
from vsei.vvc.headers import picture_header_structure
from vsei.vvc.nal_units import NAL_HEADER_BITS, HeaderState

# The low bits of POC stand in the first ten bytes; emulation prevention may make it more.
_GLANCE_BYTES = 24


class NotSimple(Exception):
    """A stream for which a glance does not do; `vsei.pictures` has to read it."""


class _Reached(Exception):
    """The element that was wanted has been read."""


class _Glance(Reader):
    """Reads the description of a picture header up to the low bits of POC."""

    def u(self, n: int, name: str, *index: int, min: int = 0, max: int | None = None) -> int:
        value = super().u(n, name, *index, min=min, max=max)
        if name == "ph_pic_order_cnt_lsb":
            raise _Reached
        return value


def first_leading(nal_units: Iterable[NalUnit], see: Callable[[PictureStart], None]) -> frozenset[int]:
    """Of the leading pictures of each random access picture of a VVC stream, the one that is output first, as decode
    index.

    Args:
        see: called for each picture on the way.

    Raises:
        NotSimple: several layers, GDR pictures, pictures of mixed types, POC with coded high bits, pictures that are
            dropped, broken headers.
    """
    state = HeaderState()
    firsts: set[int] = set()
    anchor: int | None = None  # POC low bits of the random access picture
    skips_rasl = False  # its RASL pictures are not output
    first: tuple[int, int] | None = None  # POC less that of the random access picture, decode index
    for group in groups(nal_units, Codec.VVC):
        start = group.start
        try:
            _take_parameter_sets(state, group)
            if start is None:
                continue
            see(start)
            if start.layer_id or start.nal_unit_type == Vvc.GDR:
                raise NotSimple
            if start.random_access:
                if first is not None:
                    firsts.add(first[1])
                first = None
                anchor = _irap(state, group, drops=start.clvs_start and start.decode_index > 0)
                skips_rasl = start.clvs_start
            elif anchor is None or start.clvs_start:
                raise NotSimple  # decoding does not start at the start
            elif start.nal_unit_type == Vvc.RADL or (start.nal_unit_type == Vvc.RASL and not skips_rasl):
                lsb, bits, output = _glance(state, group)
                half = 1 << (bits - 1)
                distance = (lsb - anchor + half) % (2 * half) - half
                if output and distance < min(0, first[0] if first else 0):
                    first = distance, start.decode_index
        except VseiError:
            raise NotSimple from None
    if first is not None:
        firsts.add(first[1])
    return frozenset(firsts)


def _take_parameter_sets(state: HeaderState, group: Group) -> None:
    for unit in group.units:
        if unit.header is not None and Vvc.VPS <= unit.header.nal_unit_type <= Vvc.PPS:
            state.take(unit.header, unit.nal.data)


def _irap(state: HeaderState, group: Group, *, drops: bool) -> int:
    """The POC low bits of an IRAP picture."""
    state.picture = None
    for unit in group.units[group.first_vcl :]:
        if unit.header is None:
            raise NotSimple
        if unit.header.nal_unit_type == Vvc.PH:
            state.take(unit.header, unit.nal.data)
        elif is_vcl(Codec.VVC, unit.header.nal_unit_type):
            slice_header = state.slice_header(unit.header, unit.nal.data)
            if drops and slice_header.values.get("sh_no_output_of_prior_pics_flag"):
                raise NotSimple
            _check(slice_header.picture.sps.values, slice_header.picture.pps.values)
            return slice_header.picture.values["ph_pic_order_cnt_lsb"]
    raise NotSimple


def _glance(state: HeaderState, group: Group) -> tuple[int, int, bool]:
    """POC low bits, their number, and whether the picture is output."""
    unit = group.units[group.first_vcl]
    reader = _started(_Glance, unit.header, unit.nal.data[:_GLANCE_BYTES])
    with suppress(_Reached):
        picture_header_structure(reader, state.sets)
    values = reader.values
    pps = state.sets.pps[values["ph_pic_parameter_set_id"]].values
    sps = state.sets.sps[pps["pps_seq_parameter_set_id"]].values
    _check(sps, pps)
    output = True
    if pps["pps_output_flag_present_flag"] and not values["ph_non_ref_pic_flag"]:
        whole = _started(Reader, unit.header, unit.nal.data)
        output = bool(picture_header_structure(whole, state.sets).values.get("ph_pic_output_flag", 1))
    return values["ph_pic_order_cnt_lsb"], sps["sps_log2_max_pic_order_cnt_lsb_minus4"] + 4, output


R = TypeVar("R", bound=Reader)


def _started(kind: type[R], header: NalHeader | None, data: bytes | memoryview) -> R:
    """A reader at the picture header of a PH NAL unit or of the slice that holds it."""
    reader = kind(rbsp(data), NAL_HEADER_BITS)
    if (
        header is not None
        and header.nal_unit_type != Vvc.PH
        and not reader.flag("sh_picture_header_in_slice_header_flag")
    ):
        raise NotSimple
    return reader


def _check(sps: Values, pps: Values) -> None:
    if sps["sps_poc_msb_cycle_flag"] or pps["pps_mixed_nalu_types_in_pic_flag"]:
        raise NotSimple
