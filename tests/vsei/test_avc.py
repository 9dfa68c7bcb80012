"""H.264: headers as FFmpeg reads them, of real and of invented streams; pictures as FFmpeg's decoder has them."""

import contextlib
import io
import random
from collections import Counter

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vsei.encoded import decoded, encode, trace_of_bytes
from tests.vsei.ffmpeg_trace import Element
from tests.vsei.invented import Invented, InventedStream, up_to
from tests.vsei.mutations import SOON, mutated
from vsei import sei
from vsei.annexb import NalUnit, escape, rbsp, split
from vsei.avc.nal_units import HeaderState
from vsei.avc.recovery_point import RECOVERY_POINT, recovery_frame_cnt
from vsei.bits import BitReader
from vsei.errors import VseiError
from vsei.nal import Avc, Codec, NalHeader, read_header
from vsei.pictures import Picture, PictureFormat, PictureUnit, in_output_order, picture_units
from vsei.sei import SeiMessage
from vsei.syntax import TraceEntry, write

# name of the test: parameters of x264, pixel format, size
STREAMS = {
    "plain": ("", "yuv420p", 96, 80),
    "10 bit, cropped": ("", "yuv420p10le", 98, 82),
    "4:2:2": ("", "yuv422p10le", 96, 80),
    "4:4:4": ("", "yuv444p", 96, 80),
    "4:0:0": ("", "gray", 96, 80),
    "open GOP, HRD": (
        "open-gop=1:keyint=8:bframes=3:b-pyramid=normal:nal-hrd=vbr:vbv-bufsize=900:vbv-maxrate=900:aud=1",
        "yuv420p",
        96,
        80,
    ),
    "slices, weights, matrices": ("slices=2:weightb=1:weightp=2:cqm=jvt:keyint=6", "yuv420p", 96, 80),
    "CAVLC, no B": ("cabac=0:bframes=0:8x8dct=0:weightp=0", "yuv420p", 96, 80),
    "MBAFF, cropped": ("interlaced=1:tff=1:weightp=0", "yuv420p", 98, 84),
    "intra refresh": ("bframes=0:ref=1:intra-refresh=1:keyint=10", "yuv420p", 96, 80),
    "many references": ("ref=8:bframes=6:b-pyramid=strict:b-adapt=2:no-deblock=1", "yuv420p", 96, 80),
    "VUI": ("sar=4:3:overscan=show:colorprim=bt709:chromaloc=2:crop-rect=2,4,6,8:pic-struct=1", "yuv420p", 96, 80),
}
# Where FFmpeg's names are not the standard's:
FFMPEG_NAMES = {"gaps_in_frame_num_value_allowed_flag": "gaps_in_frame_num_allowed_flag"}
# Elements that come again and again without subscripts in the standard; ours have the number of the repetition.
WITHOUT_SUBSCRIPTS = {
    "modification_of_pic_nums_idc",
    "abs_diff_pic_num_minus1",
    "long_term_pic_num",
    "memory_management_control_operation",
    "difference_of_pic_nums_minus1",
    "long_term_frame_idx",
    "max_long_term_frame_idx_plus1",
}


def in_ffmpeg_words(trace: list[TraceEntry]) -> list[Element]:
    out = []
    for entry in trace:
        name, bracket, subscripts = entry.element.partition("[")
        if name in WITHOUT_SUBSCRIPTS:
            bracket = subscripts = ""
        if name == "delta_scale":
            subscripts = subscripts.partition("[")[2]  # the number of the list is ours
        name = FFMPEG_NAMES.get(name, name) + bracket + subscripts
        out.append(Element(entry.position, name, entry.length, entry.value))
    return out


def without_slice_data(elements: list[Element]) -> list[Element]:
    """cabac_alignment_one_bit is the first element of slice_data( ); FFmpeg prints it."""
    return [element for element in elements if element.name != "cabac_alignment_one_bit"]


def bits_of(data: bytes, count: int) -> str:
    return format(int.from_bytes(data, "big"), f"0{8 * len(data)}b")[:count]


@pytest.mark.parametrize("name", STREAMS)
def test_headers_are_read_as_ffmpeg_reads_them_and_written_back(name: str) -> None:
    stream = encode("libx264", *STREAMS[name])
    theirs = [without_slice_data(elements) for _, elements in trace_of_bytes(stream, "h264")]
    ours, state = [], HeaderState()
    for unit in split([stream]):
        trace: list[TraceEntry] = []
        structure = state.read(read_header(Codec.AVC, unit.data), unit.data, trace)
        if structure is not None:
            ours.append(in_ffmpeg_words(trace))
            assert structure.out_of_range == ()
            assert structure.unread_bits == 0
            target = write(state.describe, structure.values).target
            assert target.pos == structure.bits
            target.u(-target.pos % 8, 0)
            assert bits_of(target.bytes(), structure.bits) == bits_of(rbsp(unit.data), structure.bits)
    assert ours == theirs


def pictures_of(stream: bytes) -> list[PictureUnit]:
    return list(picture_units(split([stream]), Codec.AVC))


@pytest.mark.parametrize("name", STREAMS)
def test_pictures_are_those_of_a_decoder(name: str) -> None:
    stream = encode("libx264", *STREAMS[name])
    units = pictures_of(stream)
    assert [unit.problem for unit in units if unit.problem] == []
    shown = [s.item.picture for s in in_output_order(units, lambda unit: unit.picture)]
    theirs = decoded(stream, "h264")
    assert [(p.decode_index, p.format.width, p.format.height) for p in shown] == [frame[:3] for frame in theirs]
    assert {p.format.bit_depth_luma for p in shown} == {av.VideoFormat(theirs[0][3]).components[0].bits}


def test_formats() -> None:
    formats = {name: pictures_of(encode("libx264", *STREAMS[name]))[0].picture.format for name in STREAMS}
    assert formats["10 bit, cropped"] == PictureFormat(112, 96, 0, 14, 0, 14, 1, 10, 10)
    # Fields are cropped by pairs of frame rows, and frames are pairs of macroblock rows.
    assert formats["MBAFF, cropped"] == PictureFormat(112, 96, 0, 14, 0, 12, 1, 8, 8)
    idc = {name: f.chroma_format_idc for name, f in formats.items()}
    assert (idc["4:0:0"], idc["plain"], idc["4:2:2"], idc["4:4:4"]) == (0, 1, 2, 3)


def test_every_idr_picture_starts_a_sequence() -> None:
    pictures = [unit.picture for unit in pictures_of(encode("libx264", *STREAMS["slices, weights, matrices"]))]
    assert [p.decode_index for p in pictures if p.clvs_start] == [0, 6, 12, 18]
    assert [p.poc for p in pictures if p.clvs_start] == [0] * 4
    open_gop = [unit.picture for unit in pictures_of(encode("libx264", *STREAMS["open GOP, HRD"]))]
    assert [p.decode_index for p in open_gop if p.clvs_start] == [0]


def test_decoding_can_start_at_recovery_points() -> None:
    """x264 marks the I pictures of open GOPs with recovery_frame_cnt 0; with intra refresh it takes some pictures."""
    units = pictures_of(encode("libx264", *STREAMS["open GOP, HRD"]))
    intra = [unit.picture.decode_index for unit in units if unit.picture.slice_type == "I"]
    assert len(intra) == 3
    assert [unit.picture.decode_index for unit in units if unit.picture.random_access] == intra
    assert [unit.picture.is_irap for unit in units if unit.picture.random_access] == [True, False, False]
    refreshed = pictures_of(encode("libx264", *STREAMS["intra refresh"]))
    assert [unit.picture.decode_index for unit in refreshed if unit.picture.random_access] == [0]


@given(st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=300)), max_size=4))
def test_recovery_points_are_found_among_other_messages(found) -> None:
    header = NalHeader(Codec.AVC, Avc.SEI)
    data = sei.build(header, [SeiMessage(kind, payload) for kind, payload in found])
    expected = None
    for kind, payload in found:
        if kind == RECOVERY_POINT:
            with contextlib.suppress(VseiError):
                expected = BitReader(payload).ue()
            break
    assert recovery_frame_cnt(data) == expected


@given(st.binary(max_size=40))
def test_broken_sei_has_no_recovery_point_or_one(data: bytes) -> None:
    assert recovery_frame_cnt(b"\6" + data) is None or RECOVERY_POINT in data


def test_recovery_point_makes_pictures_decodable() -> None:
    """A stream that starts two pictures before an I picture with recovery point SEI."""
    units = pictures_of(encode("libx264", *STREAMS["open GOP, HRD"]))
    intra = [i for i, unit in enumerate(units) if unit.picture.slice_type == "I"][1]
    later = [i for i, unit in enumerate(units) if unit.picture.slice_type == "I"][2:]
    sets = [u for u, h in zip(units[0].units, units[0].headers, strict=True) if h.nal_unit_type in (Avc.SPS, Avc.PPS)]

    def starting_at(first: int) -> bytes:
        return b"".join(u.to_bytes() for u in [*sets, *(u for unit in units[first:] for u in unit.units)])

    again = pictures_of(starting_at(intra - 2))
    assert [u.picture.poc for u in again if not u.picture.output] == [
        10,
        8,
        12,
        14,
    ]  # before it, and its leading pictures
    assert [u.picture.decode_index for u in again if u.picture.random_access] == [2, *(2 + i - intra for i in later)]

    again = pictures_of(starting_at(intra))
    shown = [s.item.picture.decode_index for s in in_output_order(again, lambda unit: unit.picture)]
    assert shown == [frame[0] for frame in decoded(starting_at(intra), "h264")]


class Zeros(dict):
    """Choices for a structure of which only a few elements matter: 0 (or the least value) for all others."""

    def get(self, name: str, default: object = None) -> object:
        return super().get(name, 0)


class Made:
    """A stream made slice by slice, for what x264 does not do: other POC types, fields, MMCO 5."""

    def __init__(self, **sps: int) -> None:
        self.state = HeaderState()
        self.units: list[NalUnit] = []
        size = {"pic_width_in_mbs_minus1": 3, "pic_height_in_map_units_minus1": 3}
        self.add(Avc.SPS, 1, **({"profile_idc": 77, "level_idc": 30} | size | sps))
        self.add(Avc.PPS, 1)

    def add(self, kind: int, ref_idc: int, **values: int) -> None:
        invented = Invented(random.Random(1), Zeros(values, nal_unit_type=kind, nal_ref_idc=ref_idc))
        invented.more_rbsp_data = lambda key: False
        found = self.state.describe(invented)
        self.state._activate(found)
        invented.fixed(-invented.position % 8, "slice_data", 0)
        self.units.append(NalUnit(0, b"\0\0\1", memoryview(escape(invented.target.bytes() + b"\xff")), 0))

    def pictures(self) -> list[Picture]:
        units = list(picture_units(self.units, Codec.AVC))
        assert [unit.problem for unit in units if unit.problem] == []
        return [unit.picture for unit in units]


def test_poc_of_type_1() -> None:
    """8.2.1.2: two reference frames in a cycle, 2 and 4 further on; non-reference frames 3 before what is expected."""
    offsets = iter((2, 4))
    stream = Made(
        pic_order_cnt_type=1,
        frame_mbs_only_flag=1,
        num_ref_frames_in_pic_order_cnt_cycle=2,
        offset_for_ref_frame=lambda s: next(offsets),
        offset_for_non_ref_pic=-3,
    )
    stream.add(Avc.IDR, 1, slice_type=7)
    for frame_num in (1, 2, 3):
        stream.add(Avc.SLICE, 1, slice_type=5, frame_num=frame_num)
    stream.add(Avc.SLICE, 0, slice_type=5, frame_num=4)
    stream.add(Avc.SLICE, 1, slice_type=5, frame_num=4)
    for frame_num in range(5, 18):  # over the end of frame_num, which has 4 bits
        stream.add(Avc.SLICE, 1, slice_type=5, frame_num=frame_num % 16)
    pocs = [p.poc for p in stream.pictures()]
    assert pocs[:6] == [0, 2, 6, 8, 8 - 3, 12]
    assert pocs[-1] == 8 * 6 + 2  # frame 17: eight cycles of 2 + 4, and 2


def test_poc_of_type_2_is_decoding_order() -> None:
    stream = Made(pic_order_cnt_type=2, frame_mbs_only_flag=1)
    stream.add(Avc.IDR, 1, slice_type=7)
    stream.add(Avc.SLICE, 0, slice_type=5, frame_num=1)
    for frame_num in range(1, 20):
        stream.add(Avc.SLICE, 1, slice_type=5, frame_num=frame_num % 16)
    assert [p.poc for p in stream.pictures()] == [0, 1, *range(2, 40, 2)]
    assert {p.max_num_reorder for p in stream.pictures()} == {0}


def test_two_fields_are_two_pictures_with_one_place_in_output_order() -> None:
    stream = Made(pic_order_cnt_type=0)
    stream.add(Avc.IDR, 1, slice_type=7, field_pic_flag=1)
    stream.add(Avc.SLICE, 1, slice_type=5, field_pic_flag=1, bottom_field_flag=1, pic_order_cnt_lsb=1)
    stream.add(Avc.SLICE, 1, slice_type=5, frame_num=1, pic_order_cnt_lsb=4)
    stream.add(Avc.SLICE, 0, slice_type=6, frame_num=2, field_pic_flag=1, pic_order_cnt_lsb=2)
    stream.add(Avc.SLICE, 0, slice_type=6, frame_num=2, field_pic_flag=1, bottom_field_flag=1, pic_order_cnt_lsb=3)
    pictures = stream.pictures()
    assert [p.poc for p in pictures] == [0, 1, 4, 2, 3]
    assert [p.output for p in pictures] == [True, False, True, True, False]
    assert [p.clvs_start for p in pictures] == [True, False, False, False, False]
    assert [s.item.decode_index for s in in_output_order(pictures, lambda p: p)] == [0, 3, 2]


def test_memory_management_5_starts_poc_anew() -> None:
    stream = Made(pic_order_cnt_type=0, frame_mbs_only_flag=1)
    stream.add(Avc.IDR, 1, slice_type=7)
    stream.add(Avc.SLICE, 1, slice_type=5, frame_num=1, pic_order_cnt_lsb=8)
    operations = iter((5, 0))
    stream.add(
        Avc.SLICE, 1, slice_type=5, frame_num=2, pic_order_cnt_lsb=12, adaptive_ref_pic_marking_mode_flag=1,
        memory_management_control_operation=lambda s: next(operations),
    )  # fmt: skip
    stream.add(Avc.SLICE, 1, slice_type=5, frame_num=1, pic_order_cnt_lsb=4)
    pictures = stream.pictures()
    assert [p.poc for p in pictures] == [0, 8, 0, 4]
    assert [p.poc_resets for p in pictures] == [False, False, True, False]
    assert [s.item.decode_index for s in in_output_order(pictures, lambda p: p)] == [0, 1, 2, 3]


def reordering(**sps: int) -> int:
    stream = Made(pic_order_cnt_type=0, frame_mbs_only_flag=1, **sps)
    stream.add(Avc.IDR, 1, slice_type=7)
    return stream.pictures()[0].max_num_reorder


def test_reordering_is_limited_by_the_dpb_where_the_vui_says_nothing() -> None:
    """Table A-1: MaxDpbMbs over the size of a frame, and no more than 16."""
    vga = {"pic_width_in_mbs_minus1": 39, "pic_height_in_map_units_minus1": 29}  # 1200 macroblocks
    assert reordering() == 16
    assert reordering(level_idc=30, **vga) == 6  # 8100
    assert reordering(level_idc=31, **vga) == 15  # 18000
    assert reordering(level_idc=9, pic_width_in_mbs_minus1=10, pic_height_in_map_units_minus1=8) == 4  # level 1b, 396
    assert (
        reordering(level_idc=11, constraint_set3_flag=1, pic_width_in_mbs_minus1=10, pic_height_in_map_units_minus1=8)
        == 4
    )
    assert reordering(level_idc=11, pic_width_in_mbs_minus1=10, pic_height_in_map_units_minus1=8) == 9  # 900
    assert reordering(profile_idc=110, constraint_set3_flag=1) == 0  # High 10 Intra
    vui = {"vui_parameters_present_flag": 1, "bitstream_restriction_flag": 1}
    assert reordering(**vui, max_num_reorder_frames=2) == 2


class Stream(InventedStream):
    def __init__(self, seed: int, template: av.VideoStream) -> None:
        super().__init__(seed, Codec.AVC, template)
        self.choices = {
            "forbidden_zero_bit": 0,
            "nal_ref_idc": up_to(3, 1),
            "profile_idc": lambda s: s.rng.choice((66, 77, 88, 100, 100, 110, 122, 244)),
            "constraint_set0_flag": up_to(1),
            "reserved_zero_2bits": 0,
            "seq_parameter_set_id": 0,
            "chroma_format_idc": up_to(3),
            "delta_scale": up_to(9, -9),
            "num_ref_frames_in_pic_order_cnt_cycle": up_to(3),
            "pic_width_in_mbs_minus1": up_to(9),
            "pic_height_in_map_units_minus1": up_to(9),
            "pic_parameter_set_id": 0,
            "num_slice_groups_minus1": lambda s: s.rng.choice((0, 0, 1, 2)),
            "pic_size_in_map_units_minus1": lambda s: self.map_units() - 1,
            "slice_group_change_rate_minus1": lambda s: s.rng.randint(0, self.map_units() - 1),
            "run_length_minus1": lambda s: s.rng.randint(0, self.map_units() - 1),
            "top_left": lambda s: s.rng.randint(0, self.map_units() - 1),
            "bottom_right": lambda s: s.rng.randint(0, self.map_units() - 1),
            "num_ref_idx_l0_default_active_minus1": up_to(4),
            "num_ref_idx_l1_default_active_minus1": up_to(4),
            "num_ref_idx_l0_active_minus1": up_to(4),
            "num_ref_idx_l1_active_minus1": up_to(4),
            "pic_init_qp_minus26": up_to(9, -9),
            "first_mb_in_slice": 0,
            "redundant_pic_cnt": 0,
            "abs_diff_pic_num_minus1": up_to(3),
            "difference_of_pic_nums_minus1": up_to(3),
            "long_term_pic_num": up_to(1),
            "long_term_frame_idx": up_to(1),
            "max_long_term_frame_idx_plus1": up_to(2),
            "slice_qp_delta": up_to(9, -9),
            "slice_qs_delta": up_to(9, -9),
        }

    def map_units(self) -> int:
        sps = self.state.sets.sps[0].values
        return (sps["pic_width_in_mbs_minus1"] + 1) * (sps["pic_height_in_map_units_minus1"] + 1)

    def ours(self, trace: list[TraceEntry]) -> list[Element]:
        return in_ffmpeg_words(trace)

    def theirs(self, elements: list[Element]) -> list[Element]:
        return without_slice_data(elements)


def invent_stream(seed: int, template: av.VideoStream) -> Counter[str]:
    stream = Stream(seed, template)
    assert stream.add(Avc.AUD, nal_ref_idc=0)
    assert stream.add(Avc.SPS)
    assert stream.add(Avc.PPS)
    stream.add(Avc.IDR, b"\xff" * 8, slice_type=2)
    for _ in range(5):
        stream.add(Avc.SLICE, b"\xff" * 8, nal_ref_idc=up_to(1))
    return stream.accepted


def test_invented_structures_are_read_as_ffmpeg_reads_them() -> None:
    seen: Counter[str] = Counter()
    with av.open(io.BytesIO(encode("libx264")), format="h264") as container:
        for seed in range(120):
            seen += invent_stream(seed, container.streams.video[0])
    assert len(seen) >= 160  # were a branch never taken, its elements would be missing here


STREAM = list(split([encode("libx264", STREAMS["slices, weights, matrices"][0])]))[:12]


@SOON
@given(mutated([STREAM]))
def test_mutated_streams_are_shown_or_refused(stream: list[NalUnit]) -> None:
    state = HeaderState()
    for unit in stream:
        with contextlib.suppress(VseiError):
            state.read(read_header(Codec.AVC, unit.data), unit.data, [])
    units = list(picture_units(stream, Codec.AVC))
    assert [nal_unit for unit in units for nal_unit in unit.units] == stream
