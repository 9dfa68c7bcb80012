"""Parameter sets and headers made up at random: read as FFmpeg reads them, and written back, also where no stream goes.

Real streams use half of the elements. Here each structure is invented by its own description, so every branch of it is
taken; FFmpeg then is the witness that the description is the standard's. Inventions that FFmpeg refuses (values that do
not go together) are compared up to the refused element, and another one is tried.
"""

from collections import Counter
from pathlib import Path

import av
import pytest

from tests.vsei.ffmpeg_trace import Element, joined
from tests.vsei.invented import Invented, InventedStream, nth, up_to
from tests.vsei.test_vvc_conformance import as_ffmpeg_names
from vsei.nal import Codec, Vvc
from vsei.syntax import TraceEntry
from vsei.vvc.slices import subpic_ids

# Elements behind which rare ones stand: set more often than by chance.
GATES = (
    "sps_alf_enabled_flag",
    "sps_ccalf_enabled_flag",
    "sps_long_term_ref_pics_flag",
    "pps_alf_info_in_ph_flag",
    "pps_rpl_info_in_ph_flag",
    "pps_deblocking_filter_control_present_flag",
    "pps_deblocking_filter_override_enabled_flag",
    "pps_dbf_info_in_ph_flag",
    "vps_timing_hrd_params_present_flag",
    "ph_alf_enabled_flag",
)


class Stream(InventedStream):
    def __init__(self, seed: int, template: av.VideoStream) -> None:
        super().__init__(seed, Codec.VVC, template)
        rng = self.rng
        self.header_in_slice = rng.randint(0, 1)
        self.top_layer = rng.choice((0, 1, 2, 3))
        width, height = (16 * rng.randint(1, 40) for _ in range(2))
        self.choices = {
            "forbidden_zero_bit": 0,
            "nuh_reserved_zero_bit": 0,
            "nuh_layer_id": 0,
            "nuh_temporal_id_plus1": 1,
            "gci_num_additional_bits": lambda s: s.rng.choice((0, 3, 6, 9)),
            "vps_video_parameter_set_id": 1,
            "vps_max_layers_minus1": self.top_layer,
            "vps_layer_id": nth("vps_layer_id"),
            "sps_seq_parameter_set_id": 0,
            "sps_video_parameter_set_id": up_to(1),
            "sps_pic_width_max_in_luma_samples": width,
            "sps_pic_height_max_in_luma_samples": height,
            "sps_log2_min_luma_coding_block_size_minus2": up_to(2),
            "sps_num_subpics_minus1": up_to(2),
            "sps_subpic_id_len_minus1": up_to(4, 2),
            "sps_subpic_id": nth("sps_subpic_id"),
            "sps_inter_layer_prediction_enabled_flag": 0,
            "sps_delta_qp_in_val_minus1": up_to(6),
            "sps_delta_qp_diff_val": up_to(6),
            "sps_vui_payload_size_minus1": up_to(40, 24),
            "num_ref_entries": up_to(4, 1),
            "pps_pic_parameter_set_id": 0,
            "pps_seq_parameter_set_id": 0,
            "pps_pic_width_in_luma_samples": width,
            "pps_pic_height_in_luma_samples": height,
            "pps_conformance_window_flag": 0,  # not where the size is that of the SPS
            "pps_no_pic_partition_flag": lambda s: 0 if self.sps("sps_num_subpics_minus1") else s.rng.randint(0, 1),
            "pps_num_subpics_minus1": lambda s: self.sps("sps_num_subpics_minus1"),
            "pps_subpic_id_len_minus1": lambda s: self.sps("sps_subpic_id_len_minus1"),
            "pps_subpic_id": nth("pps_subpic_id"),
            "pps_log2_ctu_size_minus5": lambda s: self.sps("sps_log2_ctu_size_minus5"),
            "pps_num_exp_tile_columns_minus1": up_to(2),
            "pps_num_exp_tile_rows_minus1": up_to(2),
            "pps_tile_column_width_minus1": up_to(2),
            "pps_tile_row_height_minus1": up_to(5),
            "pps_num_slices_in_pic_minus1": up_to(6),
            "pps_num_exp_slices_in_tile": up_to(2),
            "pps_exp_slice_height_in_ctus_minus1": up_to(1),
            # invented subpictures do not keep to the tiles, as those must that are one slice each
            "pps_single_slice_per_subpic_flag": lambda s: 0 if self.sps("sps_num_subpics_minus1") else up_to(1)(s),
            "pps_tile_idx_delta_val": lambda s: s.rng.choice((-2, -1, 1, 2, 3)),
            "pps_init_qp_minus26": up_to(9, -9),
            "aps_params_type": up_to(2),
            "ph_pic_parameter_set_id": 0,
            "ph_qp_delta": up_to(9, -9),
            "sh_qp_delta": up_to(9, -9),
            "sh_picture_header_in_slice_header_flag": self.header_in_slice,
            "sh_subpic_id": self.a_subpicture,
            # Where FFmpeg 8.1 errs:
            # it passes vps_max_sublayers_minus1 on to ols_timing_hrd_parameters( ), not vps_hrd_max_tid[ i ]
            "vps_hrd_max_tid": lambda s: s["vps_max_sublayers_minus1"],
            # it looks at the SPS's depth where the picture header has its own
            "ph_max_mtt_hierarchy_depth_intra_slice_chroma": lambda s: self.sps(
                "sps_max_mtt_hierarchy_depth_intra_slice_chroma"
            ),
            # it reads no offsets in the picture header where the PPS disables the deblocking filter
            "ph_deblocking_params_present_flag": lambda s: (
                0 if self.pps("pps_deblocking_filter_disabled_flag") else s.rng.randint(0, 1)
            ),
            # it finds the tile row of a tile as tileIdx / NumTileRows, which matters for raster-scan slices
            "pps_rect_slice_flag": lambda s: 1 if self.sps("sps_entropy_coding_sync_enabled_flag") else up_to(1)(s),
        }
        for gate in GATES:
            if rng.random() < 0.6:
                self.choices[gate] = 1
        for side in ("left", "right", "top", "bottom"):
            self.choices[f"sps_conf_win_{side}_offset"] = up_to(3)
            self.choices[f"pps_scaling_win_{side}_offset"] = up_to(3, -3)
        for what in ("cu_qp_delta", "cu_chroma_qp_offset"):
            for slice_type in ("intra", "inter"):
                self.choices[f"ph_{what}_subdiv_{slice_type}_slice"] = up_to(2)

    def sps(self, name: str) -> int:
        return self.state.sets.sps[0].values.get(name)

    def pps(self, name: str) -> int:
        return self.state.sets.pps[0].values.get(name)

    def a_subpicture(self, s: Invented) -> int:
        return s.rng.choice(sorted(subpic_ids(self.state.sets.sps[0], self.state.sets.pps[0])))

    def ours(self, trace: list[TraceEntry]) -> list[Element]:
        elements = (Element(e.position, as_ffmpeg_names(e.element), e.length, e.value) for e in trace)
        return [e._replace(name=EXTENSIONS.get(e.name, e.name)) for e in elements]

    def theirs(self, elements: list[Element]) -> list[Element]:
        return joined(elements, (), EXTENSIONS.values())


EXTENSIONS = {  # FFmpeg has one name for all
    **{f"{set_}_extension_data_flag": "extension_data" for set_ in ("vps", "opi", "dci", "sps", "pps", "aps")},
    "vui_reserved_payload_extension_data": "reserved_payload_extension_data",
}
SLICE_DATA = b"\xaa" * 8


def invent_stream(seed: int, template: av.VideoStream) -> Counter[str]:
    stream = Stream(seed, template)
    for kind in (Vvc.OPI, Vvc.DCI, Vvc.AUD, Vvc.VPS):
        assert stream.add(kind)
    vps = stream.state.sets.vps[1]
    layer = stream.top_layer
    if vps.direct_ref_layers[layer]:
        inter_layer = {"sps_inter_layer_prediction_enabled_flag": 1, "ilrp_idx": 0, "sps_video_parameter_set_id": 1}
        assert stream.add(Vvc.SPS, nuh_layer_id=layer, **inter_layer)
        stream.choices["ilrp_idx"] = 0
    else:
        assert stream.add(Vvc.SPS)
    for kind in (Vvc.PREFIX_APS, Vvc.SUFFIX_APS, Vvc.PREFIX_APS):
        assert stream.add(kind)
    slices = {"pps_no_pic_partition_flag": 0, "pps_rect_slice_flag": 1, "pps_single_slice_per_subpic_flag": 0}
    if (seed % 2 and stream.add(Vvc.PPS, **slices)) or stream.add(
        Vvc.PPS
    ):  # some sizes of tiles and subpictures go with no PPS that is found by chance
        if not stream.header_in_slice:
            assert stream.add(Vvc.PH)
        for kind in (Vvc.TRAIL, Vvc.TRAIL, Vvc.GDR, Vvc.IDR_N_LP):
            # No slice of an IDR picture without reference picture lists refers to other pictures.
            stream.add(kind, SLICE_DATA, **({"sh_slice_type": 2} if kind == Vvc.IDR_N_LP else {}))
    return stream.accepted


def test_invented_structures_are_read_as_ffmpeg_reads_them(samples: Path) -> None:
    seen: Counter[str] = Counter()
    with av.open(str(samples / "bbb_q37.266"), format="vvc") as container:
        for seed in range(80):
            seen += invent_stream(seed, container.streams.video[0])
    # Were a branch never taken, its elements would be missing here.
    assert len(seen) >= 586


@pytest.mark.slow
def test_more_invented_structures(samples: Path) -> None:
    with av.open(str(samples / "bbb_q37.266"), format="vvc") as container:
        for seed in range(100, 500):
            invent_stream(seed, container.streams.video[0])
