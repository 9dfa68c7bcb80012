"""Pictures of a stream: POC, CLVS, output order and QP as the reference decoder prints them; boundaries; faults."""

import random
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsei.invented import Invented
from vsei.annexb import NalUnit, escape, rbsp, read_chunks, split
from vsei.nal import Codec, NalHeader, Vvc, read_header, type_name
from vsei.pictures import (
    OutputOrder,
    Picture,
    PictureFormat,
    PictureUnit,
    in_output_order,
    picture_units,
    with_output_index,
)
from vsei.syntax import write
from vsei.vvc.nal_units import HeaderState

SHARED = Path(__file__).resolve().parents[3] / "shared"
POC_LISTS = sorted((SHARED / "vectors").glob("*/*.poc.txt"))
CONFORMANCE = sorted((SHARED / "conformance").glob("*.bit"))
FORMAT = PictureFormat(64, 48, 0, 0, 0, 0, 1, 8, 8)


def pictures_of(path: Path) -> list[PictureUnit]:
    with path.open("rb") as file:
        return list(picture_units(split(read_chunks(file)), Codec.VVC))


def name(path: object) -> str:
    return Path(str(path)).name.split(".")[0]


@pytest.mark.parametrize("listing", POC_LISTS or ["none"], ids=name)
def test_pictures_are_those_of_the_reference_decoder(listing: Path, shared: Path) -> None:
    units = pictures_of(listing.with_name(name(listing) + ".266"))
    assert [unit.problem for unit in units if unit.problem] == []
    found = [
        [str(p.poc), type_name(Codec.VVC, p.nal_unit_type), str(p.temporal_id), p.slice_type, str(p.slice_qp_y)]
        for p in (unit.picture for unit in units)
        if p.output  # the reference decoder skips RASL pictures without their references, and prints nothing of them
    ]
    lines = [line.split() for line in listing.read_text().splitlines() if not line.startswith("#")]
    assert found == [fields[:5] for fields in lines]


@pytest.mark.parametrize("path", CONFORMANCE or ["none"], ids=name)
def test_output_order_and_sizes_are_those_of_a_decoder(path: Path, shared: Path) -> None:
    shown = in_output_order(pictures_of(path), lambda unit: unit.picture)
    ours = [(s.item.picture.decode_index, s.item.picture.format.width, s.item.picture.format.height) for s in shown]
    assert ours == decoded(path)


def decoded(path: Path) -> list[tuple[int, int, int]]:
    """(decode index, width, height) of FFmpeg's output pictures: its packets hold one picture each here."""
    frames = []
    with av.open(str(path), format="vvc") as container:
        stream = container.streams.video[0]
        stream.codec_context.flags |= av.codec.context.Flags.unaligned  # or cropping is rounded
        for number, packet in enumerate(container.demux(stream)):
            packet.pts = packet.dts = number
            frames += [(frame.pts, frame.width, frame.height) for frame in packet.decode()]
    return frames


def test_clvs_starts_at_idr_and_after_end_of_sequence(shared: Path) -> None:
    two_scenes = pictures_of(shared / "vectors/streams/cat_eos_two_scenes.266")
    starts = [unit.picture.decode_index for unit in two_scenes if unit.picture.clvs_start]
    assert starts == [0, 65]
    assert [unit.picture.clvs for unit in two_scenes] == [0] * 65 + [1] * 65
    assert two_scenes[64].headers[-1].nal_unit_type == Vvc.EOS  # it belongs to the picture that it ends

    # After an end of sequence a CRA picture starts a CLVS, and its RASL pictures cannot be output.
    cut = [unit.picture for unit in pictures_of(shared / "vectors/streams/eos_before_cra.266")]
    assert sum(p.output for p in cut) == 50
    assert {p.nal_unit_type for p in cut if not p.output} == {Vvc.RASL}
    assert [p.nal_unit_type for p in cut if p.clvs_start] == [Vvc.IDR_W_RADL, Vvc.CRA]


def test_format_changes_with_the_sps(shared: Path) -> None:
    units = pictures_of(shared / "vectors/streams/cat_res_change_idr.266")
    sizes = [(unit.picture.format.width, unit.picture.format.height) for unit in units]
    assert sizes == [(208, 120)] * 33 + [(416, 240)] * 65


def test_conformance_window_is_cut_off(shared: Path) -> None:
    picture = pictures_of(shared / "vectors/vtm/s22_crop202x113_444.266")[0].picture
    assert (picture.format.width, picture.format.height) == (202, 113)
    assert (picture.format.chroma_format_idc, picture.format.sub_width_c, picture.format.sub_height_c) == (3, 1, 1)
    assert picture.format.coded_width % 8 == 0


def test_sample_stream(samples: Path) -> None:
    units = pictures_of(samples / "bbb_q37.266")
    assert len(units) == 65
    assert [unit.picture.decode_index for unit in units if unit.picture.random_access] == [0, 32]
    assert units[0].picture.format == PictureFormat(416, 240, 0, 0, 0, 0, 1, 10, 10)
    shown = list(in_output_order(units, lambda unit: unit.picture))
    assert [s.item.picture.poc for s in shown] == list(range(65))
    numbered = list(with_output_index(units, lambda unit: unit.picture))
    assert [s.item for s in numbered] == units
    assert [s.output_index for s in numbered] == [unit.picture.poc for unit in units]


def nal(kind: int, payload: bytes = b"\x80", layer_id: int = 0) -> NalUnit:
    data = NalHeader(Codec.VVC, kind, layer_id, 0).to_bytes() + payload
    return NalUnit(0, b"\0\0\1", memoryview(data), 0)


def test_nal_units_go_to_the_picture_they_belong_to(samples: Path) -> None:
    """H.266 7.4.2.4.4: what comes before the slices, and what after them."""
    units = pictures_of(samples / "bbb_q37.266")
    before = [nal(Vvc.AUD), nal(Vvc.PREFIX_SEI), nal(Vvc.PREFIX_APS), nal(26)]
    after = [nal(Vvc.SUFFIX_APS), nal(Vvc.SUFFIX_SEI), nal(Vvc.FD, b"\xff\x80"), nal(27)]
    stream = [nal_unit for unit in units[:5] for nal_unit in (*before, *unit.units, *after)]
    again = list(picture_units([*stream, nal(Vvc.EOS, b""), nal(Vvc.EOB, b"")], Codec.VVC))
    assert len(again) == 5
    for unit, original in zip(again[:4], units[:4], strict=True):
        assert [*unit.units] == [*before, *original.units, *after]
    assert [header.nal_unit_type for header in again[-1].headers[-2:]] == [Vvc.EOS, Vvc.EOB]
    counts = [len(unit.units) for unit in again]
    assert [unit.nal_index for unit in again] == [sum(counts[:i]) for i in range(5)]


def test_nothing_but_non_vcl_nal_units_is_one_unit_without_picture() -> None:
    units = list(picture_units([nal(Vvc.PREFIX_SEI), nal(Vvc.AUD)], Codec.VVC))
    assert len(units) == 1
    assert units[0].picture is None
    assert list(picture_units([], Codec.VVC)) == []


def test_a_broken_picture_does_not_hide_the_others(samples: Path) -> None:
    units = pictures_of(samples / "bbb_q37.266")
    broken = units[4].units[-1]
    cut = broken._replace(data=broken.data[:5])
    stream = [cut if nal_unit is broken else nal_unit for unit in units for nal_unit in unit.units]
    again = list(picture_units(stream, Codec.VVC))
    assert len(again) == 65
    assert again[4].picture is None
    assert again[4].problem is not None
    assert again[4].problem.offset == broken.offset
    assert [u.picture for i, u in enumerate(again) if i != 4] == [u.picture for i, u in enumerate(units) if i != 4]


def test_a_picture_without_its_pps_says_so(samples: Path) -> None:
    units = pictures_of(samples / "bbb_q37.266")
    stream = [
        nal_unit
        for unit in units[:3]
        for nal_unit in unit.units
        if read_header(Codec.VVC, nal_unit.data).nal_unit_type != Vvc.PPS
    ]
    assert [str(unit.problem) for unit in picture_units(stream, Codec.VVC)] != []
    assert all("PPS 0 has not come" in str(unit.problem) for unit in picture_units(stream, Codec.VVC))


def test_a_stream_cut_before_a_random_access_point_outputs_nothing_before_it(samples: Path) -> None:
    units = pictures_of(samples / "bbb_q37.266")
    sets = [u for u, header in zip(units[0].units, units[0].headers, strict=True) if header.nal_unit_type > Vvc.OPI]
    stream = [*sets, *(nal_unit for unit in units[20:] for nal_unit in unit.units)]
    again = [unit.picture for unit in picture_units(stream, Codec.VVC)]
    first = next(i for i, picture in enumerate(again) if picture.random_access)
    assert not any(picture.output for picture in again[:first])
    assert again[first].clvs_start
    assert not any(picture.output for picture in again[first:] if picture.nal_unit_type == Vvc.RASL)


def a_picture(poc: int, **changes: object) -> Picture:
    base = Picture(0, poc, 0, 0, 0, Vvc.TRAIL, False, False, False, True, FORMAT, 32, "B", 4)
    return replace(base, **changes)


@given(st.lists(st.permutations(range(6)) | st.permutations(range(3)), min_size=1, max_size=4), st.data())
def test_output_order_is_poc_order_in_each_clvs(clvss: list[list[int]], data: st.DataObject) -> None:
    """Whatever order the pictures are decoded in, as long as the stream states how many wait."""
    pictures = []
    for number, pocs in enumerate(clvss):
        reorder = max(sum(other > poc for other in pocs[:i]) for i, poc in enumerate(pocs))
        for i, poc in enumerate(pocs):
            pictures.append(a_picture(poc, clvs=number, clvs_start=i == 0, max_num_reorder=reorder))
    shown = [s.item for s in in_output_order(pictures, lambda p: p)]
    assert [(p.clvs, p.poc) for p in shown] == sorted((p.clvs, p.poc) for p in pictures)

    hidden = data.draw(st.sets(st.integers(0, len(pictures) - 1)))
    pictures = [replace(p, output=i not in hidden, decode_index=i) for i, p in enumerate(pictures)]
    numbered = list(with_output_index(pictures, lambda p: p))
    assert [s.item for s in numbered] == pictures
    assert {s.item.decode_index for s in numbered if s.output_index is None} == hidden
    indices = sorted((s.output_index, s.item.clvs, s.item.poc) for s in numbered if s.output_index is not None)
    assert [i for i, _, _ in indices] == list(range(len(pictures) - len(hidden)))
    assert [(clvs, poc) for _, clvs, poc in indices] == sorted((clvs, poc) for _, clvs, poc in indices)


def test_output_needs_no_more_pictures_than_the_stream_reorders() -> None:
    order: OutputOrder[int] = OutputOrder()
    outs = [[s.item for s in order.push(a_picture(poc, max_num_reorder=1), poc)] for poc in (0, 2, 1, 4, 3)]
    assert outs == [[], [0], [1], [2], [3]]
    assert [s.item for s in order.flush()] == [4]


def test_latency_limit_lets_pictures_out_earlier() -> None:
    order: OutputOrder[int] = OutputOrder()
    pictures = [a_picture(poc, max_num_reorder=4, max_latency=2) for poc in range(4)]
    # Only pictures after it in output order count against the one that waits.
    assert [[s.item for s in order.push(p, p.poc)] for p in pictures] == [[], [], [], []]
    order = OutputOrder()
    pictures = [a_picture(poc, max_num_reorder=4, max_latency=2) for poc in (8, 4, 2, 1)]
    assert [[s.item for s in order.push(p, p.poc)] for p in pictures] == [[], [], [2, 4, 8], []]


def test_prior_pictures_can_be_dropped() -> None:
    pictures = [a_picture(0, clvs_start=True), a_picture(2), a_picture(1)]
    dropping = a_picture(0, clvs=1, clvs_start=True, no_output_of_prior_pics=True)
    assert [s.item for s in in_output_order([*pictures, dropping], lambda p: p)] == [dropping]
    assert [s.output_index for s in with_output_index([*pictures, dropping], lambda p: p)] == [None, None, None, 0]


def test_layers_are_ordered_each_for_itself() -> None:
    pictures = [a_picture(poc, layer_id=layer) for poc in (0, 2, 1) for layer in (0, 1)]
    shown = list(in_output_order(pictures, lambda p: p))
    for layer in (0, 1):
        assert [(s.output_index, s.item.poc) for s in shown if s.item.layer_id == layer] == [(0, 0), (1, 1), (2, 2)]


def in_layer(unit: NalUnit, layer_id: int) -> NalUnit:
    return unit._replace(data=memoryview(bytes([layer_id]) + bytes(unit.data[1:])))


def two_layers(samples: Path) -> list[NalUnit]:
    """Each picture of the sample twice, as layer 0 and layer 1, without end of sequence."""
    stream = []
    for unit in pictures_of(samples / "bbb_q37.266")[:40]:
        slices = [u for u, h in zip(unit.units, unit.headers, strict=True) if h.nal_unit_type < Vvc.OPI]
        stream += [*unit.units, *(in_layer(u, 1) for u in slices)]
    return stream


def test_layers_have_pictures_poc_and_clvs_of_their_own(samples: Path) -> None:
    original = [unit.picture for unit in pictures_of(samples / "bbb_q37.266")[:40]]
    stream = two_layers(samples)
    # an end of sequence of layer 1 alone, before the CRA picture of layer 1
    cra = next(i for i, p in enumerate(original) if p.nal_unit_type == Vvc.CRA)
    pictures = [unit.picture for unit in picture_units(stream, Codec.VVC)]
    assert [p.layer_id for p in pictures] == [0, 1] * 40
    for layer in (0, 1):
        assert [p.poc for p in pictures[layer::2]] == [p.poc for p in original]
        assert [p.clvs for p in pictures[layer::2]] == [p.clvs for p in original]
    assert [p.decode_index for p in pictures] == list(range(80))

    units = [unit.units for unit in picture_units(stream, Codec.VVC)]
    cut = [*sum(units[: 2 * cra], ()), nal(Vvc.EOS, b"", layer_id=1), *sum(units[2 * cra :], ())]
    pictures = [unit.picture for unit in picture_units(cut, Codec.VVC)]
    assert {p.clvs for p in pictures[::2]} == {0}
    assert [p.decode_index // 2 for p in pictures[1::2] if p.clvs_start] == [0, cra]
    assert all(p.output for p in pictures[::2])
    assert {p.nal_unit_type for p in pictures[1::2] if not p.output} == {Vvc.RASL}


def a_vps_of_two_layers() -> NalUnit:
    """Layer 1 depends on layer 0."""
    vps = Invented(
        random.Random(1),
        {
            "forbidden_zero_bit": 0,
            "nal_unit_type": Vvc.VPS,
            "vps_video_parameter_set_id": 1,
            "vps_max_layers_minus1": 1,
            "vps_layer_id": lambda s: ("vps_layer_id", 0) in s.values,
            "vps_all_independent_layers_flag": 0,
            "vps_independent_layer_flag": 0,
            "vps_direct_ref_layer_flag": 1,
            "vps_ols_mode_idc": 0,
            "vps_num_ptls_minus1": 0,
            "vps_num_dpb_params_minus1": 0,
            "vps_num_ols_timing_hrd_params_minus1": 0,
        },
    )
    HeaderState().describe(vps)
    return NalUnit(0, b"\0\0\1", memoryview(escape(vps.target.bytes())), 0)


def test_a_dependent_layer_takes_its_poc_from_the_reference_layer(samples: Path) -> None:
    """H.266 8.3.1. The stream is changed by writing its headers anew."""
    state, stream = HeaderState(), [a_vps_of_two_layers()]
    for unit in two_layers(samples):
        header = read_header(Codec.VVC, unit.data)
        structure = state.read(header, unit.data)
        if header.nal_unit_type == Vvc.SPS:
            structure.values.present["sps_video_parameter_set_id"] = 1
            structure.values.present["sps_inter_layer_prediction_enabled_flag"] = 0
        elif header.layer_id == 1:
            structure.values.present["ph_pic_order_cnt_lsb"] ^= 1  # tells which POC was taken
        if structure is not None:
            written = write(state.describe, structure.values).target.bytes() + rbsp(unit.data)[structure.bits // 8 :]
            unit = unit._replace(data=memoryview(escape(written)))
        stream.append(unit)
    pictures = [unit.picture for unit in picture_units(stream, Codec.VVC)]
    assert [p.poc for p in pictures[1::2]] == [p.poc for p in pictures[::2]]
    without_vps = [unit.picture for unit in picture_units(stream[1:], Codec.VVC)]
    assert [p.poc ^ 1 for p in without_vps[1::2]] == [p.poc for p in pictures[::2]]
