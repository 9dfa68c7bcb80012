"""Broken parameter sets and headers: a result or a VseiError, soon, whatever the bytes are."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsei.mutations import SOON, mutated
from vsei.annexb import NalUnit, read_chunks, split
from vsei.errors import VseiError
from vsei.nal import Codec, NalHeader, Vvc, read_header
from vsei.pictures import in_output_order, picture_units
from vsei.syntax import Reader
from vsei.vvc import sps
from vsei.vvc.common import MAX_REF_PIC_LISTS
from vsei.vvc.nal_units import HeaderState
from vsei.vvc.pps import tile_boundaries


def some_streams() -> list[list[NalUnit]]:
    """The beginnings of streams with different tools: the sample, and the small conformance streams where there are."""
    root = Path(__file__).resolve().parents[2]
    names = (
        "SLICES_A_HUAWEI_3",
        "SUBPIC_C_ERICSSON_1",
        "WP_A_InterDigital_3",
        "HRD_A_Fujitsu_3",
        "APSMULT_A_MediaTek_4",
    )
    paths = [root / "samples/bbb_q37.266", *(root.parent / "shared/conformance" / f"{name}.bit" for name in names)]
    streams = []
    for path in paths:
        if path.exists():
            with path.open("rb") as file:
                streams.append([unit for unit, _ in zip(split(read_chunks(file)), range(12), strict=False)])
    return streams


STREAMS = some_streams()


@SOON
@given(mutated(STREAMS))
def test_mutated_streams_are_shown_or_refused(stream: list[NalUnit]) -> None:
    state = HeaderState()
    for unit in stream:
        with contextlib.suppress(VseiError):
            state.read(read_header(Codec.VVC, unit.data), unit.data, [])
    units = list(picture_units(stream, Codec.VVC))
    assert [nal_unit for unit in units for nal_unit in unit.units] == stream  # nothing is lost
    assert len(list(in_output_order(units, lambda unit: unit.picture))) <= len(units)


@SOON
@given(st.sampled_from([Vvc.OPI, Vvc.DCI, Vvc.VPS, Vvc.SPS, Vvc.PPS, Vvc.PREFIX_APS, Vvc.AUD]), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(kind: int, payload: bytes) -> None:
    header = NalHeader(Codec.VVC, kind)
    with contextlib.suppress(VseiError):
        HeaderState().read(header, header.to_bytes() + payload)


def test_numbers_that_would_make_long_loops_are_refused() -> None:
    with pytest.raises(VseiError, match="more than 30 tile columns"):
        tile_boundaries([1], sps.MAX_PIC_SIZE // 32, 30)
    with pytest.raises(VseiError, match="tiles of 9 CTBs in a picture of 8"):
        tile_boundaries([4, 5], 8, 30)
    assert tile_boundaries([3, 2], 8, 30) == [0, 3, 5, 7, 8]


def test_faults_name_the_element_and_the_bit() -> None:
    def lists(reader: Reader) -> None:
        sps.limited(reader, "sps_num_ref_pic_lists", reader.ue("sps_num_ref_pic_lists", 0), MAX_REF_PIC_LISTS)

    with pytest.raises(VseiError) as caught:
        lists(Reader(bytes([0, 0, 0, 0x80, 0, 0, 0, 0])))
    assert caught.value.element == "sps_num_ref_pic_lists"
    assert caught.value.bit == 49
    assert "limit of 64" in str(caught.value)


def test_a_fault_deep_in_a_slice_header_leaves_the_trace_before_it() -> None:
    stream = STREAMS[0]
    state, trace = HeaderState(), []
    for unit in stream:
        header = read_header(Codec.VVC, unit.data)
        if header.nal_unit_type < Vvc.OPI:
            with pytest.raises(VseiError, match="bits wanted"):
                state.read(header, unit.data[:5], trace)
            break
        state.read(header, unit.data)
    assert [e.element for e in trace[:2]] == ["forbidden_zero_bit", "nuh_reserved_zero_bit"]
    assert len(trace) > 5
    assert trace[-1].position + trace[-1].length <= 40
