"""From a stream to the pictures that a receiver shows."""

import hashlib
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nnpf.decoding import decode_file
from nnpf.engines import select_engine
from nnpf.errors import NnpfError
from nnpf.filters import plan_patches
from nnpf.frames import Format, Frame, read_frame
from nnpf.model import load
from nnpf.runner import ApplyOptions, Shown, apply
from nnpf.sources import ModelSources
from nnpf.tensors import PatchProcess
from tests.nnpf.onnx_graphs import blur_filter, graph, identity_filter
from tests.nnpf.streams import activation, characteristics, luma_model, md5, nal_units, save, with_messages
from tests.nnpf.test_frames import picture
from tests.vsei.test_rules import order as processing_order
from vsei.annexb import NalUnit
from vsei.messages import form
from vsei.messages.display import FramePackingArrangement, frame_packing_arrangement
from vsei.nal import Codec
from vsei.pictures import picture_units

PICTURES = 65


@pytest.fixture(scope="module")
def decoded(samples: Path) -> list[Frame]:
    return [item.frame for item in decode_file(samples / "bbb_q37.266")]


def run(units: list[NalUnit], folder: Path | None = None, **options: Any) -> list[Shown]:
    with apply(units, Codec.VVC, ApplyOptions(sources=ModelSources(folder), **options)) as pictures:
        return list(pictures)


def equal(one: Frame, other: Frame) -> bool:
    return one.format == other.format and all(map(np.array_equal, one.planes, other.planes))


def test_a_stream_without_filters_comes_out_as_decoded(samples: Path, decoded: list[Frame]) -> None:
    shown = run(list(nal_units(samples / "bbb_q37.266")))
    assert [s.record.output_index for s in shown] == list(range(PICTURES))
    assert [s.record.poc for s in shown] == list(range(PICTURES))
    assert all(equal(s.frame, frame) for s, frame in zip(shown, decoded, strict=True))
    assert not any(s.record.applied or s.record.reasons for s in shown)


@pytest.mark.parametrize("engine", ["openvino", "torch", "onnxruntime"])
def test_a_filter_that_changes_nothing_changes_nothing(
    samples: Path, tmp_path: Path, decoded: list[Frame], engine: str
) -> None:
    save(tmp_path, identity_filter(7, 6, 1))
    message = characteristics(overlap=1, auxiliary_inp_idc=1)
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])
    shown = run(units, tmp_path, engine=engine)
    assert all(equal(s.frame, frame) for s, frame in zip(shown, decoded, strict=True))
    applied = [s.record.applied[0] for s in shown]
    assert {(a.engine, a.model, a.update) for a in applied} == {(engine, str(tmp_path / "filter.onnx"), False)}
    qps = {u.picture.poc: u.picture.slice_qp_y for u in picture_units(units, Codec.VVC) if u.picture is not None}
    assert len(set(qps.values())) > 3
    assert [a.strength for a in applied] == [(qps[poc] + 12) / (63 + 12) for poc in range(PICTURES)]


def test_only_pictures_with_an_active_filter_change(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    save(tmp_path, identity_filter(6, 6, 0, offset=8 / 1023))
    units = with_messages(
        samples / "bbb_q37.266",
        [
            ("random_access", characteristics()),
            ("poc:8", activation()),
            ("poc:12", activation(cancel_flag=1)),
            ("poc:20", activation(persistence_flag=0)),
        ],
    )
    shown = run(units, tmp_path)
    assert [s.record.poc for s in shown if s.record.applied] == [8, 9, 10, 11, 20]
    for s, frame in zip(shown, decoded, strict=True):
        expected = np.minimum(frame.planes[0] + 8, 1023) if s.record.applied else frame.planes[0]
        assert np.array_equal(s.frame.planes[0], expected)
        assert equal(s.decoded, frame)


def test_two_filters_in_the_order_of_the_bitstream(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    save(tmp_path, identity_filter(1, 1, 0, gain=0.5), "luma.onnx")
    save(tmp_path, identity_filter(2, 2, 0, offset=-4 / 1023), "chroma.onnx")
    units = with_messages(
        samples / "bbb_q37.266",
        [
            ("random_access", characteristics(1, "luma.onnx", inp_order_idc=0, out_order_idc=0)),
            ("random_access", characteristics(2, "chroma.onnx", inp_order_idc=1, out_order_idc=1)),
            ("poc:3", activation(2, persistence_flag=0)),
            ("poc:3", activation(1, persistence_flag=0)),
        ],
    )
    third = run(units, tmp_path)[3]
    assert [a.nnpfc_id for a in third.record.applied] == [1, 2]
    luma, cb, _ = decoded[3].planes
    assert np.array_equal(third.frame.planes[0], np.floor(luma / 2 + 0.5))
    assert np.array_equal(third.frame.planes[1], cb - 4)


def test_several_input_pictures(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    # The mean of the current luma picture and the two before it; absent ones are copies of the one after them.
    node = helper.make_node("ReduceMean", ["input", "axes"], ["output"], keepdims=1)
    shape = ((1, 3, None, None), TensorProto.FLOAT)
    save(tmp_path, graph([node], {"input": shape}, "output", {"axes": np.array([1], np.int64)}, output_rank=4))
    message = characteristics(
        num_input_pics_minus1=2, input_pic_filtering_flag=[1, 0, 0], inp_order_idc=0, out_order_idc=0
    )
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])
    shown = run(units, tmp_path)
    luma = [frame.planes[0].astype(int) for frame in decoded]
    for at in (0, 1, 2, 40, 64):
        total = luma[at] + luma[max(at - 1, 0)] + luma[max(at - 2, 0)]
        assert np.abs(shown[at].frame.planes[0] - total / 3).max() <= 0.5 + 1e-3


LUMA = {"inp_order_idc": 0, "out_order_idc": 0}


def near(frame: Frame, value: Any) -> bool:
    return bool(np.abs(frame.planes[0] - value).max() <= 0.5 + 1e-3)


def test_picture_rate_upsampling(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    # Two pictures between each two, nearer to the older one first.
    luma_model(tmp_path, [[1 / 4, 3 / 4], [3 / 4, 1 / 4]])
    message = characteristics(
        purpose=8, num_input_pics_minus1=1, input_pic_filtering_flag=[0, 0], interpolated_pics=[2], **LUMA
    )
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])
    shown = run(units, tmp_path)
    # Nothing stands between the first picture and an absent one.
    assert [s.record.position for s in shown] == pytest.approx([at / 3 for at in range(3 * (PICTURES - 1) + 1)])
    assert [s.record.kind for s in shown[:5]] == ["decoded", "interpolated", "interpolated", "decoded", "interpolated"]
    luma = [frame.planes[0].astype(float) for frame in decoded]
    assert all(equal(shown[3 * at].frame, decoded[at]) for at in range(PICTURES))
    for at in (0, 20, 63):
        assert near(shown[3 * at + 1].frame, 0.75 * luma[at] + 0.25 * luma[at + 1])
        assert near(shown[3 * at + 2].frame, 0.25 * luma[at] + 0.75 * luma[at + 1])
    assert shown[0].record.reasons == ("NNPFA 1 has no effect: no picture of its output is shown",)


def test_added_pictures_of_two_interleaved_views_alternate_too(
    samples: Path, tmp_path: Path, decoded: list[Frame]
) -> None:
    luma_model(tmp_path, [[1 / 2, 1 / 2]])
    message = characteristics(
        purpose=8, num_input_pics_minus1=1, input_pic_filtering_flag=[0, 0], interpolated_pics=[1], **LUMA
    )
    views = [
        (
            f"output:{at}",
            form.complete(
                FramePackingArrangement,
                frame_packing_arrangement,
                {"fp_arrangement_type": 5, "fp_current_frame_is_frame0_flag": 1 - at % 2},
                {},
            ),
        )
        for at in range(PICTURES)
    ]
    placed = [("random_access", message), ("segments", activation()), *views]
    shown = run(with_messages(samples / "bbb_q37.266", placed), tmp_path)
    luma = [frame.planes[0].astype(float) for frame in decoded]
    # Views A and B: A0 B0, then the ones between, A and B in turn; each from the pictures of its own view.
    expected = [luma[0], luma[1]]
    for at in range(2, PICTURES - 1, 2):
        expected += [(luma[k] + luma[k - 2]) / 2 for k in (at, at + 1)] + [luma[at], luma[at + 1]]
    expected += [(luma[64] + luma[62]) / 2, luma[64]]  # one picture without its partner
    assert len(shown) == len(expected)
    assert all(near(s.frame, value) for s, value in zip(shown, expected, strict=True))
    positions = [s.record.position for s in shown]
    assert positions[:10] == [0, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert positions[-3:] == [63, 63.5, 64]
    assert positions == sorted(set(positions))
    assert {s.rate_factor for s in shown} == {2}


def test_a_filter_of_the_picture_before(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    # It needs the picture that follows, so each picture is filtered one inference later, the last one by a closing
    # inference with an absent picture in front.
    luma_model(tmp_path, [[0.25, 0.5, 0.25]])
    message = characteristics(num_input_pics_minus1=2, input_pic_filtering_flag=[0, 1, 0], **LUMA)
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])
    shown = run(units, tmp_path)
    assert [s.record.poc for s in shown] == list(range(PICTURES))
    assert all(len(s.record.applied) == 1 for s in shown)
    luma = [frame.planes[0].astype(float) for frame in decoded]
    for at in (0, 1, 40, 63, 64):
        before, after = luma[max(at - 1, 0)], luma[min(at + 1, 64)]
        assert near(shown[at].frame, 0.25 * before + 0.5 * luma[at] + 0.25 * after)


def test_following_pictures_as_input(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma_model(tmp_path, [[0.25, 0.75]])
    message = characteristics(
        num_input_pics_minus1=1, input_pic_filtering_flag=[0, 1], absent_input_pic_zero_flag=1, **LUMA
    )
    shifted = activation(prompt_update_flag=0, seed_update_flag=0, selected_input_flag=1, num_input_pic_shift=1)
    units = with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", shifted)])
    shown = run(units, tmp_path)
    luma = [frame.planes[0].astype(float) for frame in decoded]
    for at in (0, 31, 63):
        assert near(shown[at].frame, 0.25 * luma[at + 1] + 0.75 * luma[at])
    assert near(shown[64].frame, 0.75 * luma[64])  # what follows the last picture is absent, and so zero


def test_temporal_extrapolation(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma_model(tmp_path, [[2.0, -1.0]])
    message = characteristics(
        purpose=0x40, num_input_pics_minus1=1, input_pic_filtering_flag=[0, 0], extrapolated_pics_minus1=0, **LUMA
    )
    placed = [("random_access", message), ("poc:64", activation(persistence_flag=0))]
    shown = run(with_messages(samples / "bbb_q37.266", placed), tmp_path)
    assert len(shown) == PICTURES + 1
    assert (shown[-1].record.kind, shown[-1].record.position) == ("extrapolated", 65.0)
    luma = [frame.planes[0].astype(float) for frame in decoded]
    assert near(shown[-1].frame, np.clip(2 * luma[64] - luma[63], 0, 1023))


def test_filters_after_one_another_meet_what_the_ones_before_made(
    samples: Path, tmp_path: Path, decoded: list[Frame]
) -> None:
    luma_model(tmp_path, [[0.5]], "half.onnx")
    luma_model(tmp_path, [[0.5, 0.5]], "between.onnx")
    between = characteristics(
        2,
        "between.onnx",
        purpose=8,
        num_input_pics_minus1=1,
        input_pic_filtering_flag=[0, 0],
        interpolated_pics=[1],
        **LUMA,
    )
    half = characteristics(1, "half.onnx", **LUMA)
    luma = [frame.planes[0].astype(float) for frame in decoded]
    for order in ((1, 2), (2, 1)):
        placed = [("random_access", half), ("random_access", between)]
        placed += [("segments", activation(number)) for number in order]
        shown = run(with_messages(samples / "bbb_q37.266", placed), tmp_path)
        assert len(shown) == 2 * PICTURES - 1
        assert near(shown[20].frame, luma[10] / 2)
        # Rounded twice, one way or the other.
        assert np.abs(shown[21].frame.planes[0] - (luma[10] + luma[11]) / 4).max() <= 1


def test_the_order_of_a_processing_order_message(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    luma_model(tmp_path, [[0.5]], "half.onnx")
    save(tmp_path, identity_filter(1, 1, 0, offset=100 / 1023), "more.onnx")
    half, more = characteristics(1, "half.onnx", **LUMA), characteristics(2, "more.onnx", **LUMA)
    placed: list[Any] = [("random_access", half), ("random_access", more)]
    placed += [("segments", activation(1)), ("segments", activation(2))]
    luma = decoded[9].planes[0].astype(float)
    assert near(run(with_messages(samples / "bbb_q37.266", placed), tmp_path)[9].frame, np.floor(luma / 2 + 0.5) + 100)
    # NNPFA of id 2 before the one of id 1: ue(v) of the target id tells them apart.
    order = processing_order((210, 0), (211, 1), (210, 2), (211, 3), prefix={1: "011", 3: "010"})
    shown = run(with_messages(samples / "bbb_q37.266", [("clvs_start", order), *placed]), tmp_path)
    assert [a.nnpfc_id for a in shown[9].record.applied] == [2, 1]
    assert near(shown[9].frame, np.minimum(luma + 100, 1023) / 2)


def test_decoded_picture_hashes_are_checked(shared: Path) -> None:
    units = list(nal_units(shared / "vectors/vtm/s01_vq_uri_ra.266"))
    assert len(run(units, skip_failures=True)) == 9
    # The hash of the fourth picture that has one, with another first byte.
    at = [i for i, unit in enumerate(units) if unit.data[1] >> 3 == 24 and unit.data[2] == 132][3]
    broken = bytearray(units[at].data)
    broken[6] ^= 0x40
    units[at] = units[at]._replace(data=memoryview(bytes(broken)))
    with pytest.raises(NnpfError, match="Y as decoded does not have the hash"):
        run(units, skip_failures=True)
    assert len(run(units, skip_failures=True, check_hashes=False)) == 9


def test_a_filter_that_doubles_the_size(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    nodes = [
        helper.make_node(
            "Resize",
            ["input", "", "scales"],
            ["output"],
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
    ]
    constants = {"scales": np.array([1, 1, 2, 2], np.float32)}
    save(tmp_path, graph(nodes, {"input": ((1, 3, None, None), TensorProto.FLOAT)}, "output", constants, output_rank=4))
    message = characteristics(
        purpose=4,
        pic_width_num_minus1=1,
        pic_width_denom_minus1=0,
        pic_height_num_minus1=1,
        pic_height_denom_minus1=0,
        inp_order_idc=2,
        out_order_idc=2,
    )
    units = with_messages(
        samples / "bbb_q37.266", [("random_access", message), ("poc:5", activation(persistence_flag=0))]
    )
    shown = run(units, tmp_path)
    assert str(shown[5].frame.format) == "832x480 4:2:0 10 bit"
    assert np.array_equal(shown[5].frame.planes[0], decoded[5].planes[0].repeat(2, 0).repeat(2, 1))
    assert np.array_equal(shown[5].frame.planes[2], decoded[5].planes[2].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_peers_filter_gives_what_onnxruntime_gives_on_the_same_patches(
    shared: Path, decoded: list[Frame], engine: str
) -> None:
    model = load(shared / "peer/nokia/model3.onnx")
    form = decoded[0].format
    process = PatchProcess(
        inp=form,
        out=form,
        inp_order_idc=3,
        out_order_idc=3,
        strength=True,
        overlap=4,
        padding_type=2,
        constant_patch_size=True,
        patch_width=64,
        patch_height=64,
    )
    plan, batch, _ = plan_patches(model, process)
    assert (plan.grid, batch) == ((2, 4), 2)
    tensor = plan.pack([decoded[7]], [Fraction(49, 75)], plan.new_input())
    results = []
    for name in (engine, "onnxruntime"):
        network = select_engine(name, "cpu").compile(model)

        def run_patches(batch: Any, network: Any = network) -> Any:
            return network.run({"input": batch})

        results.append(plan.run(run_patches, tensor, max_batch=batch if name == engine else 1).copy())
    assert np.abs(results[0] - results[1]).max() <= 1e-5
    assert not equal(plan.store(results[0], [decoded[7]])[0], decoded[7])


def test_the_choice_of_patches() -> None:
    form = Format(416, 240, 1, 10, 10)
    settings: dict[str, Any] = {"inp": form, "out": form, "inp_order_idc": 3, "out_order_idc": 3, "overlap": 1}
    free, constant = (
        PatchProcess(**settings),
        PatchProcess(**settings, constant_patch_size=True, patch_width=64, patch_height=64),
    )
    model = blur_filter(6, 6, 1)
    assert plan_patches(model, free)[0].num_patches == 1
    assert plan_patches(model, free, (100, 61))[0].patch == (61, 100)
    plan, batch, _ = plan_patches(blur_filter(6, 6, 1, batch=1), constant)
    assert (plan.grid, batch) == ((2, 4), 4)
    with pytest.raises(NnpfError, match="no other size is allowed"):
        plan_patches(model, constant, (32, 32))
    with pytest.raises(NnpfError, match="no patch width is legal"):
        plan_patches(model, free, (101, 61))
    with pytest.raises(NnpfError, match="the message says 6 channels"):
        plan_patches(blur_filter(7, 6, 1), free)
    with pytest.raises(NnpfError, match=r"gives \[1, 6, .*, the message says"):
        plan_patches(blur_filter(6, 6, 2), free)


def test_a_graph_of_one_size_decides_where_the_message_leaves_it_free() -> None:
    form = Format(416, 240, 1, 10, 10)
    nodes = [
        helper.make_node("Constant", [], ["begin"], value_ints=[1, 1]),
        helper.make_node("Constant", [], ["end"], value_ints=[31, 47]),
        helper.make_node("Constant", [], ["axes"], value_ints=[2, 3]),
        helper.make_node("Slice", ["input", "begin", "end", "axes"], ["output"]),
    ]
    model = graph(nodes, {"input": ((1, 6, 32, 48), TensorProto.FLOAT)}, "output", output_rank=4)
    process = PatchProcess(
        inp=form, out=form, inp_order_idc=3, out_order_idc=3, overlap=1, patch_width=2, patch_height=2
    )
    assert plan_patches(model, process)[0].patch == (30, 46)


def test_a_graph_of_one_batch_size_gets_full_batches() -> None:
    form = Format(416, 240, 1, 10, 10)
    nodes = [
        helper.make_node("Constant", [], ["flat"], value_ints=[4, 6, 64 * 64]),
        helper.make_node("Constant", [], ["deep"], value_ints=[4, 6, 64, 64]),
        helper.make_node("Reshape", ["input", "flat"], ["flattened"]),
        helper.make_node("Reshape", ["flattened", "deep"], ["output"]),
    ]
    model = graph(nodes, {"input": ((4, 6, 64, 64), TensorProto.FLOAT)}, "output", output_rank=4)
    process = PatchProcess(
        inp=form, out=form, inp_order_idc=3, out_order_idc=3, constant_patch_size=True, patch_width=64, patch_height=64
    )
    plan, batch, fixed = plan_patches(model, process)
    assert (plan.num_patches, batch, fixed) == (8, 4, True)
    network = select_engine("openvino").compile(model)
    frame = picture(form)
    for pixels, width in ((frame, 416), (picture(Format(160, 240, 1, 10, 10)), 160)):
        smaller = PatchProcess(
            inp=pixels.format,
            out=pixels.format,
            inp_order_idc=3,
            out_order_idc=3,
            constant_patch_size=True,
            patch_width=64,
            patch_height=64,
        )
        plan, batch, fixed = plan_patches(model, smaller)
        tensor = plan.pack([pixels], [Fraction(0)], plan.new_input())
        output = plan.run(lambda b: network.run({"input": b}), tensor, max_batch=batch, fixed_batch=fixed)
        assert equal(plan.store(output, [None])[0], pixels), width


def test_another_engine_where_the_first_one_does_not_take_the_model(
    samples: Path, tmp_path: Path, decoded: list[Frame]
) -> None:
    save(tmp_path, identity_filter(6, 6, 0))
    units = with_messages(
        samples / "bbb_q37.266", [("random_access", characteristics()), ("poc:0", activation(persistence_flag=0))]
    )
    from nnpf.engines import openvino_engine

    class Refusing(openvino_engine.OpenVinoNetwork):
        def run(self, inputs: Any) -> Any:
            raise NnpfError("operator Conv is not supported")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(openvino_engine, "OpenVinoNetwork", Refusing)
        applied = run(units, tmp_path)[0].record.applied[0]
        assert (applied.engine, applied.instead_of) == ("torch", "openvino: operator Conv is not supported")
        with pytest.raises(NnpfError, match="operator Conv is not supported"):
            run(units, tmp_path, engine="openvino")
    assert run(units, tmp_path)[0].record.applied[0].instead_of is None


def test_decoded_pictures_from_elsewhere(samples: Path, tmp_path: Path, decoded: list[Frame]) -> None:
    from nnpf.frames import write_frame

    save(tmp_path, identity_filter(6, 6, 0, offset=8 / 1023))
    placed = [("random_access", characteristics()), ("segments", activation())]
    units = with_messages(samples / "bbb_q37.266", placed)
    with (tmp_path / "decoded.yuv").open("wb") as file:
        for frame in decoded:
            write_frame(file, frame)
    expected = [md5([s.frame]) for s in run(units, tmp_path)]
    options = ApplyOptions(sources=ModelSources(tmp_path))
    with (
        (tmp_path / "decoded.yuv").open("rb") as file,
        apply(units, Codec.VVC, options, decoded=lambda form: read_frame(file, form)) as pictures,
    ):
        assert [md5([s.frame]) for s in pictures] == expected
    for wrong, reason in (
        (decoded[:-1], "the decoded pictures end after 64; the stream goes on with POC 64"),
        ([*decoded, decoded[0]], "more decoded pictures than the 65"),
    ):
        left = iter(wrong)
        with (
            pytest.raises(NnpfError, match=reason),
            apply(units, Codec.VVC, options, decoded=lambda form, left=left: next(left, None)) as pictures,
        ):
            list(pictures)


@pytest.mark.parametrize(
    "name",
    [
        "cat_eos_two_scenes",
        "cat_res_change_idr",
        "cra_start_open_gop",
        "eos_before_cra",
        "opengop16_vvenc_mix_q42",
        "idr16_vvenc_mix_q37",
        "ldb_vtm_mix_q37_33f",
        "ra_vtm_bbb_q42_33f",
    ],
)
def test_the_pictures_are_those_of_the_reference_decoder(shared: Path, name: str) -> None:
    path = shared / f"vectors/streams/{name}.266"
    shown = run(list(nal_units(path)))
    assert md5(s.frame for s in shown) == path.with_suffix(".md5").read_text().split()[0]


@pytest.mark.parametrize(
    "name",
    [
        "RAP_A_HHI_1",
        "RAP_B_HHI_1",
        "POUT_A_Sharplabs_2",
        "GDR_C_NOKIA_2",
        "RPR_A_Alibaba_4",
        "DPB_A_Sharplabs_2",
        "STILL_B_ERICSSON_1",
        "8b400_A_Bytedance_2",
        "12b420Ivvc1_A_InterDigital_2",
    ],
)
def test_conformance_streams_with_unusual_pictures(shared: Path, name: str) -> None:
    """Start at a CRA picture, pictures that are not output, gradual refresh, sizes that change; hashes are checked."""
    lines = (line.split() for line in (shared / "conformance/md5.txt").read_text().splitlines() if line.strip())
    sums = {file: digest for digest, file in lines}
    assert md5(s.frame for s in run(list(nal_units(shared / f"conformance/{name}.bit")))) == sums[f"{name}.bit"]


def test_the_vectors_with_messages_decode_to_the_same_pictures(shared: Path) -> None:
    """Their filters do not exist; each picture says so, and is shown as decoded."""
    names = sorted((shared / "vectors/vtm").glob("*.266"))
    assert len(names) > 30
    for path in names:
        shown = run(list(nal_units(path)), skip_failures=True)
        assert md5(s.frame for s in shown) == path.with_suffix(".md5").read_text().split()[0], path.name
        assert any(s.record.reasons for s in shown), path.name


def test_a_model_that_is_not_there_is_an_error_that_says_what_to_do(samples: Path, tmp_path: Path) -> None:
    for uri, reason in (
        ("absent.onnx", "absent.onnx: is not in the model folder"),
        ("https://example.com/f.onnx", "is not fetched; fetch it"),
        ("../absent.onnx", "lies outside the model folder"),
    ):
        placed = [("random_access", characteristics(uri=uri)), ("segments", activation())]
        units = with_messages(samples / "bbb_q37.266", placed)
        with pytest.raises(NnpfError, match=f"NNPFC 1 at POC 0: .*{reason}"):
            run(units, tmp_path)
        shown = run(units, tmp_path, skip_failures=True)
        assert len(shown) == PICTURES
        assert all(s.frame is s.decoded and reason in s.record.reasons[0] for s in shown)


def test_a_filter_that_gives_no_numbers_is_an_error(samples: Path, tmp_path: Path) -> None:
    save(tmp_path, identity_filter(6, 6, 0, gain=float("nan")))
    placed = [("random_access", characteristics()), ("segments", activation())]
    with pytest.raises(NnpfError, match="NaN"):
        run(with_messages(samples / "bbb_q37.266", placed), tmp_path)


def test_what_is_no_stream_is_one_clear_error() -> None:
    with pytest.raises(NnpfError, match="the stream has no picture"):
        run([])


def test_a_caller_that_stops_early_leaves_nothing_running(samples: Path) -> None:
    before = threading.active_count()
    with apply(nal_units(samples / "bbb_q37.266"), Codec.VVC, ApplyOptions()) as pictures:
        assert next(pictures).record.output_index == 0
    assert threading.active_count() == before


def test_what_is_announced_is_what_runs(samples, tmp_path):
    """Pictures, output order, filters in force and reasons, without decoding."""
    from nnpf.intake import announced_pictures

    save(tmp_path, identity_filter(6, 6, 0))
    placed = [
        ("first", characteristics(overlap=0)),
        ("poc:3", activation()),
        ("poc:9", activation(cancel_flag=1)),
        ("poc:12", activation(persistence_flag=0)),
        ("poc:20", activation(7)),
    ]
    units = with_messages(samples / "bbb_q37.266", placed)
    announced = list(announced_pictures(units, Codec.VVC))
    with apply(units, Codec.VVC, ApplyOptions(sources=ModelSources(tmp_path))) as pictures:
        ran = [shown.record for shown in pictures]
    assert [p.picture.poc for p in announced] == [record.poc for record in ran]
    assert [p.output_index for p in announced] == list(range(65))
    assert [len(p.active) for p in announced] == [len(record.applied) for record in ran]
    assert [p.output_index for p in announced if p.active] == [3, 4, 5, 6, 7, 8, 12]
    assert [p.reasons for p in announced] == [record.reasons for record in ran]
    assert any("no NNPFC with this id" in reason for p in announced for reason in p.reasons)


def damaged(path: Path, picture: int) -> list[NalUnit]:
    """A stream whose coded picture (in decoding order) has wrong bytes inside."""
    units = list(nal_units(path))
    slices = [at for at, unit in enumerate(units) if (bytes(unit.data)[1] >> 3) < 12]
    at = slices[picture]
    data = bytearray(units[at].data)
    middle = len(data) // 2
    data[middle : middle + 8] = b"\xa5" * 8
    units[at] = units[at]._replace(data=memoryview(bytes(data)))
    return units


def test_a_lost_picture_is_an_error_or_noted(samples: Path) -> None:
    units = list(nal_units(samples / "bbb_q37.266"))
    slices = [at for at, unit in enumerate(units) if (bytes(unit.data)[1] >> 3) < 12]
    del units[slices[4]]  # two pictures refer to it
    with pytest.raises(NnpfError, match=r"decoder.*stopped at picture 4.*--keep-going"):
        run(units)
    shown = run(units, keep_going=True)
    assert len(shown) == PICTURES - 3
    faults = [fault for s in shown for fault in s.record.faults]
    assert "the decoder left out 2 pictures: POC 0, 2" in faults


@pytest.mark.parametrize("parameter_sets", [False, True])
def test_a_recording_that_begins_anywhere_is_shown_from_where_decoding_can_start(
    samples: Path, parameter_sets: bool
) -> None:
    units = list(nal_units(samples / "bbb_q37.266"))
    types = [bytes(unit.data)[1] >> 3 for unit in units]
    slices = [at for at, kind in enumerate(types) if kind < 12]
    begin = [unit for unit, kind in zip(units, types, strict=True) if kind in (15, 16)][:2] if parameter_sets else []
    whole = run(units)
    shown = run(begin + units[slices[5] :])
    random_access = [at for at, index in enumerate(slices) if 7 <= types[index] <= 10 and at > 5]
    first = shown[0].record
    assert f"{random_access[0] - 5} pictures before it are left out: decoding cannot start there" in first.reasons
    assert not any(s.record.faults for s in shown)
    assert [s.record.poc for s in shown] == [s.record.poc for s in whole[-len(shown) :]]
    assert all(equal(one.frame, other.frame) for one, other in zip(shown, whole[-len(shown) :], strict=True))


def test_a_picture_with_another_hash_is_an_error_or_noted(shared: Path) -> None:
    stream = shared / "vectors/streams/ra_vtm_bbb_q42_33f.266"
    whole = run(list(nal_units(stream)))
    assert {s.record.hash_check for s in whole} == {"matches"}
    assert not any(s.record.faults for s in whole)
    units = damaged(stream, 20)
    with pytest.raises(NnpfError):
        run(units)
    shown = run(units, keep_going=True)
    wrong = [s.record for s in shown if s.record.hash_check == "differs"]
    assert wrong
    assert all("does not have the hash" in " ".join(record.faults) for record in wrong)
    assert any(s.record.hash_check == "matches" for s in shown)


def test_too_few_and_too_many_given_pictures_are_noted(samples: Path, decoded: list[Frame]) -> None:
    def given(frames: list[Frame]) -> list[Shown]:
        rest = iter(frames)
        units = nal_units(samples / "bbb_q37.266")
        options = ApplyOptions(keep_going=True)
        with apply(units, Codec.VVC, options, decoded=lambda form: next(rest, None)) as pictures:
            return list(pictures)

    few, many = given(decoded[:50]), given([*decoded, decoded[0]])
    assert (len(few), len(many)) == (50, PICTURES)
    assert "15 decoded pictures are missing at the end" in few[-1].record.faults
    assert many[-1].record.faults == ("there are more decoded pictures than the 65 that the stream outputs",)


def test_fields_are_shown_one_by_one_and_woven_are_the_frames_of_the_reference(shared: Path) -> None:
    """A field is a picture of its own, which filters get; the reference decoder writes pairs as frames, top first."""
    name = "FIELD_A_Panasonic_4.bit"
    shown = run(list(nal_units(shared / "conformance" / name)))
    assert {s.record.hash_check for s in shown} == {"matches"}
    woven = hashlib.md5()
    for top, bottom in zip(shown[::2], shown[1::2], strict=True):
        for upper, lower in zip(top.frame.planes, bottom.frame.planes, strict=True):
            woven.update(np.stack([upper, lower], 1).tobytes())
    expected = dict(line.split()[::-1] for line in (shared / "conformance/md5.txt").read_text().splitlines())
    assert woven.hexdigest() == expected[name]
