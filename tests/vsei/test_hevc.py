"""H.265: headers as FFmpeg reads them, of real and of invented streams; pictures as FFmpeg's decoder has them."""

import contextlib
import io
from collections import Counter

import av
import pytest
from hypothesis import given

from tests.vsei.encoded import decoded, encode, trace_of_bytes
from tests.vsei.ffmpeg_trace import Element, joined
from tests.vsei.invented import InventedStream, up_to
from tests.vsei.mutations import SOON, mutated
from vsei.annexb import NalUnit, rbsp, split
from vsei.errors import VseiError
from vsei.hevc.nal_units import HeaderState
from vsei.nal import Codec, Hevc, NalHeader, read_header
from vsei.pictures import PictureFormat, PictureUnit, in_output_order, picture_units
from vsei.syntax import TraceEntry, write

# name of the test: parameters of x265, pixel format, size
STREAMS = {
    "plain": ("", "yuv420p", 96, 80),
    "10 bit, cropped": ("", "yuv420p10le", 98, 82),
    "4:2:2": ("", "yuv422p10le", 96, 80),
    "4:4:4": ("", "yuv444p", 96, 80),
    "4:0:0": ("", "gray", 96, 80),
    "open GOP, HRD": ("open-gop=1:keyint=8:bframes=3:hrd=1:vbv-bufsize=900:vbv-maxrate=900:aud=1", "yuv420p", 96, 80),
    "closed GOP": ("open-gop=0:keyint=8:repeat-headers=1", "yuv420p", 96, 80),
    "weights, WPP": ("weightb=1:weightp=1:wpp=1:scaling-list=default", "yuv420p", 96, 160),
    "sub-layers, no filters": ("temporal-layers=3:no-deblock=1:no-sao=1", "yuv420p", 96, 80),
    "field_seq_flag": ("interlace=tff", "yuv420p", 96, 80),
    "intra only": ("keyint=1", "yuv420p12le", 96, 80),
    "VUI": (
        "sar=4:3:overscan=show:range=limited:colorprim=bt709:chromaloc=2:display-window=2,4,6,8",
        "yuv420p",
        96,
        80,
    ),
}
# Where FFmpeg's names are not the standard's:
FFMPEG_NAMES = {
    "matrix_coeffs": "matrix_coefficients",  # that is what H.264 says
    "scaling_list_delta_coef": "scaling_list_delta_coeff",
    "intra_boundary_filtering_disabled_flag": "intra_boundary_filtering_disable_flag",
    "sps_palette_predictor_initializers_present_flag": "sps_palette_predictor_initializer_present_flag",
    "pps_palette_predictor_initializers_present_flag": "pps_palette_predictor_initializer_present_flag",
    "sps_num_palette_predictor_initializers_minus1": "sps_num_palette_predictor_initializer_minus1",
    "pps_num_palette_predictor_initializers": "pps_num_palette_predictor_initializer",
    "sps_palette_predictor_initializer": "sps_palette_predictor_initializers",
    "pps_palette_predictor_initializer": "pps_palette_predictor_initializers",
    "sub_layer_reserved_zero_35bits": "sub_layer_reserved_zero_43bits",
    "delta_chroma_offset_l0": "chroma_offset_l0",
    "delta_chroma_offset_l1": "chroma_offset_l1",
    "vps_extension_data_flag": "extension_data",
    "sps_extension_data_flag": "extension_data",
    "pps_extension_data_flag": "extension_data",
}
RESERVED = [f"{who}_reserved_zero_{n}bits" for who in ("general", "sub_layer") for n in (7, 33, 34, 35, 43)]
# FFmpeg prints these without subscripts.
WITHOUT_SUBSCRIPTS = {"reserved_zero_2bits", *(name for name in RESERVED if name.startswith("sub_layer"))}
WITHOUT_SUBSCRIPTS.add("sub_layer_reserved_zero_bit")


def in_ffmpeg_words(trace: list[TraceEntry]) -> list[Element]:
    out = []
    for entry in trace:
        name, bracket, subscripts = entry.element.partition("[")
        if name in WITHOUT_SUBSCRIPTS:
            bracket = subscripts = ""
        out.append(
            Element(entry.position, FFMPEG_NAMES.get(name, name) + bracket + subscripts, entry.length, entry.value)
        )
    return out


@pytest.mark.parametrize("name", STREAMS)
def test_headers_are_read_as_ffmpeg_reads_them_and_written_back(name: str) -> None:
    stream = encode("libx265", *STREAMS[name])
    theirs = trace_of_bytes(stream, "hevc")
    ours, state = [], HeaderState()
    for unit in split([stream]):
        trace: list[TraceEntry] = []
        structure = state.read(read_header(Codec.HEVC, unit.data), unit.data, trace)
        if structure is not None:
            ours.append(in_ffmpeg_words(trace))
            assert structure.out_of_range == ()
            assert structure.unread_bits == 0
            assert write(state.describe, structure.values).target.bytes() == rbsp(unit.data)[: structure.bits // 8]
    assert [joined(elements, RESERVED, ["extension_data"]) for _, elements in theirs] == ours


def pictures_of(stream: bytes) -> list[PictureUnit]:
    return list(picture_units(split([stream]), Codec.HEVC))


@pytest.mark.parametrize("name", STREAMS)
def test_pictures_are_those_of_a_decoder(name: str) -> None:
    stream = encode("libx265", *STREAMS[name])
    units = pictures_of(stream)
    assert [unit.problem for unit in units if unit.problem] == []
    shown = [s.item.picture for s in in_output_order(units, lambda unit: unit.picture)]
    theirs = decoded(stream, "hevc")
    assert [(p.decode_index, p.format.width, p.format.height) for p in shown] == [frame[:3] for frame in theirs]
    pix_fmt = av.VideoFormat(theirs[0][3])
    assert {p.format.bit_depth_luma for p in shown} == {pix_fmt.components[0].bits}


def test_formats() -> None:
    assert pictures_of(encode("libx265", *STREAMS["10 bit, cropped"]))[0].picture.format == PictureFormat(
        104, 88, 0, 6, 0, 6, 1, 10, 10
    )
    idc = {name: pictures_of(encode("libx265", *STREAMS[name]))[0].picture.format.chroma_format_idc for name in STREAMS}
    assert (idc["4:0:0"], idc["plain"], idc["4:2:2"], idc["4:4:4"]) == (0, 1, 2, 3)


def test_open_gop_has_one_cvs_and_closed_gop_several() -> None:
    open_gop = [unit.picture for unit in pictures_of(encode("libx265", *STREAMS["open GOP, HRD"]))]
    assert {p.clvs for p in open_gop} == {0}
    assert sum(p.random_access for p in open_gop) == 3
    assert sum(p.clvs_start for p in open_gop) == 1
    closed = [unit.picture for unit in pictures_of(encode("libx265", *STREAMS["closed GOP"]))]
    assert {p.clvs for p in closed} == {0, 1, 2}
    assert [p.poc for p in closed if p.clvs_start] == [0, 0, 0]


def test_stream_that_starts_at_a_cra_picture_outputs_no_rasl_pictures() -> None:
    units = pictures_of(encode("libx265", *STREAMS["open GOP, HRD"]))
    second = [i for i, unit in enumerate(units) if unit.picture.random_access][1]
    assert units[second].picture.nal_unit_type == Hevc.CRA
    sets = [u for u, h in zip(units[0].units, units[0].headers, strict=True) if Hevc.VPS <= h.nal_unit_type <= Hevc.PPS]
    stream = b"".join(unit.to_bytes() for unit in [*sets, *(u for unit in units[second:] for u in unit.units)])
    again = pictures_of(stream)
    rasl = [unit.picture for unit in again if unit.picture.nal_unit_type in (Hevc.RASL_N, Hevc.RASL_R)]
    third = [unit.picture.decode_index for unit in again if unit.picture.random_access][1]
    assert [p.output for p in rasl] == [p.decode_index > third for p in rasl]
    assert not all(p.output for p in rasl)
    shown = [s.item.picture.decode_index for s in in_output_order(again, lambda unit: unit.picture)]
    assert shown == [frame[0] for frame in decoded(stream, "hevc")]


def test_end_of_sequence_makes_a_cra_picture_start_a_cvs() -> None:
    units = pictures_of(encode("libx265", *STREAMS["open GOP, HRD"]))
    second = [i for i, unit in enumerate(units) if unit.picture.random_access][1]
    eos = NalUnit(0, b"\0\0\1", memoryview(NalHeader(Codec.HEVC, Hevc.EOS).to_bytes()), 0)
    stream = [u for unit in units[:second] for u in unit.units] + [eos]
    stream += [u for unit in units[second:] for u in unit.units]
    pictures = [unit.picture for unit in picture_units(stream, Codec.HEVC)]
    assert [p.decode_index for p in pictures if p.clvs_start] == [0, second]
    # Dropped are the leading pictures of this CRA picture, not those of the next.
    third = [i for i, p in enumerate(pictures) if p.random_access][2]
    assert {p.output for p in pictures[second:third] if p.nal_unit_type in (Hevc.RASL_N, Hevc.RASL_R)} == {False}
    assert all(p.output for p in pictures[:second] + pictures[third:])


class Stream(InventedStream):
    def __init__(self, seed: int, template: av.VideoStream) -> None:
        super().__init__(seed, Codec.HEVC, template)
        width, height = (64 * self.rng.randint(2, 8) for _ in range(2))
        sub_layers = self.rng.choice((0, 0, 1, 3))
        self.choices = {
            "forbidden_zero_bit": 0,
            "nuh_layer_id": 0,
            "nuh_temporal_id_plus1": 1,
            "vps_video_parameter_set_id": 0,
            "vps_max_layers_minus1": 0,
            "vps_max_sub_layers_minus1": sub_layers,
            "vps_temporal_id_nesting_flag": 1,
            "vps_reserved_0xffff_16bits": 0xFFFF,
            "vps_max_layer_id": up_to(2),
            "vps_num_layer_sets_minus1": up_to(3),
            "vps_num_hrd_parameters": up_to(2),
            "sps_video_parameter_set_id": 0,
            "sps_max_sub_layers_minus1": sub_layers,
            "sps_temporal_id_nesting_flag": 1,
            "sps_seq_parameter_set_id": 0,
            "pic_width_in_luma_samples": width,
            "pic_height_in_luma_samples": height,
            "log2_min_luma_coding_block_size_minus3": up_to(1),
            "log2_diff_max_min_luma_coding_block_size": up_to(2, 1),
            "log2_min_luma_transform_block_size_minus2": 0,
            "log2_diff_max_min_luma_transform_block_size": up_to(1),
            "max_transform_hierarchy_depth_inter": up_to(1),
            "max_transform_hierarchy_depth_intra": up_to(1),
            "log2_min_pcm_luma_coding_block_size_minus3": up_to(1),
            "log2_diff_max_min_pcm_luma_coding_block_size": 0,
            "num_negative_pics": up_to(3),
            "num_positive_pics": up_to(2),
            "delta_poc_s0_minus1": up_to(5),
            "delta_poc_s1_minus1": up_to(5),
            "abs_delta_rps_minus1": up_to(5),
            "num_long_term_ref_pics_sps": up_to(4),
            "num_long_term_sps": up_to(2),
            "num_long_term_pics": up_to(2),
            "palette_max_size": up_to(9),
            "sps_num_palette_predictor_initializers_minus1": up_to(3),
            "pps_num_palette_predictor_initializers": up_to(3),
            "motion_vector_resolution_control_idc": up_to(2),
            "sps_3d_extension_flag": 0,
            "pps_pic_parameter_set_id": 0,
            "pps_seq_parameter_set_id": 0,
            "num_tile_columns_minus1": up_to(1),
            "num_tile_rows_minus1": up_to(1),
            "column_width_minus1": 0,
            "row_height_minus1": 0,
            "init_qp_minus26": up_to(9, -9),
            "pps_multilayer_extension_flag": 0,
            "pps_3d_extension_flag": 0,
            "slice_pic_parameter_set_id": 0,
            "slice_qp_delta": up_to(9, -9),
            "num_entry_point_offsets": up_to(1),
            "first_slice_segment_in_pic_flag": up_to(1),
            # Where FFmpeg 8.1 errs:
            # it does not take the common part of hrd_parameters( ) over from the structure before
            "cprms_present_flag": 1,
            # it knows no weights beside a current picture that is a reference; neither do we
            "pps_curr_pic_ref_enabled_flag": lambda s: 0 if s["weighted_pred_flag"] or s["weighted_bipred_flag"] else 1,
        }
        for gate in ("sps_extension_present_flag", "pps_extension_present_flag", "palette_mode_enabled_flag"):
            if self.rng.random() < 0.6:
                self.choices[gate] = 1
        for prefix in ("general", "sub_layer"):
            self.choices[f"{prefix}_profile_space"] = 0
            self.choices[f"{prefix}_reserved_zero_bit"] = 0
        self.choices |= dict.fromkeys([*RESERVED, "reserved_zero_2bits"], 0)

    def ours(self, trace: list[TraceEntry]) -> list[Element]:
        return in_ffmpeg_words(trace)

    def theirs(self, elements: list[Element]) -> list[Element]:
        return joined(elements, RESERVED, ["extension_data"])


def invent_stream(seed: int, template: av.VideoStream) -> Counter[str]:
    stream = Stream(seed, template)
    for kind in (Hevc.AUD, Hevc.VPS, Hevc.SPS, Hevc.PPS):
        assert stream.add(kind)
    for kind in (Hevc.TRAIL_R, Hevc.TRAIL_R, Hevc.TRAIL_R, Hevc.CRA, Hevc.IDR_N_LP):
        stream.add(kind, b"\xaa" * 8)
    return stream.accepted


def test_invented_structures_are_read_as_ffmpeg_reads_them() -> None:
    seen: Counter[str] = Counter()
    with av.open(io.BytesIO(encode("libx265")), format="hevc") as container:
        for seed in range(100):
            seen += invent_stream(seed, container.streams.video[0])
    assert len(seen) >= 355  # were a branch never taken, its elements would be missing here


STREAM = list(split([encode("libx265", STREAMS["weights, WPP"][0])]))[:12]


@SOON
@given(mutated([STREAM]))
def test_mutated_streams_are_shown_or_refused(stream: list[NalUnit]) -> None:
    state = HeaderState()
    for unit in stream:
        with contextlib.suppress(VseiError):
            state.read(read_header(Codec.HEVC, unit.data), unit.data, [])
    units = list(picture_units(stream, Codec.HEVC))
    assert [nal_unit for unit in units for nal_unit in unit.units] == stream


def test_other_layers_stay_bytes() -> None:
    units = pictures_of(encode("libx265"))[:3]
    stream = []
    for unit in units:
        slices = [u for u, h in zip(unit.units, unit.headers, strict=True) if h.nal_unit_type < Hevc.VPS]
        others = [NalHeader(Codec.HEVC, h.nal_unit_type, 1, 0) for h in unit.headers if h.nal_unit_type < Hevc.VPS]
        copies = [
            u._replace(data=memoryview(header.to_bytes() + bytes(u.data[2:])))
            for u, header in zip(slices, others, strict=True)
        ]
        stream += [*unit.units, *copies]
    again = list(picture_units(stream, Codec.HEVC))
    base = [unit for unit in again if unit.picture is not None]
    assert [unit.picture.poc for unit in base] == [unit.picture.poc for unit in units]
    assert all(unit.problem is None for unit in again)
    assert len(again) == 2 * len(base)
