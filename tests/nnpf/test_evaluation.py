"""What a filter gains and costs: a stream with a known filter against a known original."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nnpf.complexity import complexity
from nnpf.decoding import decode_file
from nnpf.errors import NnpfError
from nnpf.evaluation import Evaluation, StreamBytes, evaluate, evaluate_video, survey
from nnpf.frames import Format, Frame
from nnpf.gain import Point, Rating, curves, gains
from nnpf.metrics import combined, compare
from nnpf.model import load
from nnpf.nnc import Settings, encode
from nnpf.runner import ApplyOptions
from nnpf.sources import ModelSources
from tests.nnpf.onnx_graphs import graph, identity_filter
from tests.nnpf.streams import activation, characteristics, nal_units, save, with_messages
from tests.nnpf.test_metrics import flat
from tests.nnpf.test_runner import luma_model
from vsei.messages.processing_order import SeiProcessingOrder
from vsei.nal import Codec

OVERLAP = 1
# One luma sample is a quarter of a tensor sample; 6 channels of 6 times 3x3.
MACS = 6 * 6 * 9 / 4


def brighter(frame: Frame, by: int) -> Frame:
    return Frame(tuple(np.minimum(p.astype(np.int32) + by, 1023).astype(np.uint16) for p in frame.planes), frame.format)


@pytest.fixture(scope="module")
def decoded(samples: Path) -> list[Frame]:
    return [item.frame for item in decode_file(samples / "bbb_q37.266")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save(folder, identity_filter(6, 6, OVERLAP, offset=4 / 1023))
    return folder


@pytest.fixture(scope="module")
def stream(samples: Path):
    """The sample with a filter that adds 4 to all samples."""
    message = characteristics(overlap=OVERLAP, complexity_info_present_flag=1, total_kilobyte_size=1)
    return with_messages(samples / "bbb_q37.266", [("random_access", message), ("segments", activation())])


@pytest.fixture(scope="module")
def evaluation(stream, folder, decoded):
    """Against an original that is 4 brighter than what was decoded, but for noise."""
    noise = np.random.default_rng(1).integers(0, 3, decoded[0].planes[0].shape, np.uint16)
    original = [brighter(Frame((f.planes[0] + noise, *f.planes[1:]), f.format), 4) for f in decoded]
    return evaluate(
        lambda: stream,
        Codec.VVC,
        lambda form: iter(original),
        ApplyOptions(sources=ModelSources(folder)),
        with_similarity=False,
    )


def test_the_gain_is_that_of_the_filter(evaluation):
    assert len(evaluation.pictures) == 65
    before, after = evaluation.decoded, evaluation.filtered
    assert before.average.largest == (6, 4, 4)
    assert after.average.largest == (2, 0, 0)
    assert after.average.psnr[0] > before.average.psnr[0] + 8
    assert after.average.psnr[1] == float("inf")
    assert any("without any difference" in note for note in evaluation.notes)
    assert all(p.filters == (str(evaluation.filters[0].model),) for p in evaluation.pictures)


def test_all_bits_of_the_messages_are_counted(evaluation, samples):
    size = evaluation.size
    assert size.anchor == (samples / "bbb_q37.266").stat().st_size
    assert size.messages > 0
    assert size.test(Fraction(1, 4)) == size.anchor + size.messages / 4


def test_a_processing_order_that_names_the_filters_is_theirs_another_is_not(samples):
    path = samples / "bbb_q37.266"
    plain = survey(nal_units(path), Codec.VVC).size
    assert plain.messages == 0
    for types, theirs in (((210, 137), True), ((137, 144), False)):
        order = SeiProcessingOrder(
            po_sei_id=0,
            po_for_human_viewing_idc=0,
            po_for_machine_analysis_idc=0,
            po_sei_num_minus1=1,
            po_breadth_first_flag=0,
            po_sei_wrapping_flag=(0, 0),
            po_sei_importance_flag=(0, 0),
            po_sei_processing_degree_flag=(0, 0),
            po_sei_payload_type=types,
            po_sei_prefix_flag=(0, 0),
            po_sei_processing_order=(0, 1),
            po_complexity_info_present_flag=0,
        )
        size = survey(with_messages(path, [("decode:0", order)]), Codec.VVC).size
        assert (size.messages > 0) is theirs
        assert (size.anchor == plain.anchor) is theirs


def test_the_cost_is_counted_and_checked_against_the_message(evaluation, folder):
    (facts,) = evaluation.filters
    cost = facts.complexity
    assert (facts.uri, facts.carried_bytes) == ("filter.onnx", 0)
    assert cost.parameters == 6 * 6 * 9 + 6
    assert cost.macs == pytest.approx(MACS)
    columns, rows = cost.patch
    # Valid convolutions: one result for each position of a patch without its overlap.
    assert cost.macs_with_overlap == pytest.approx(MACS)
    assert cost.macs_of_picture == pytest.approx(MACS * cost.patches * columns * rows * 4 / (416 * 240))
    claims = {claim.element: claim for claim in cost.claims}
    size = claims["nnpfc_total_kilobyte_size"]
    assert (size.bound, size.measured, size.holds) == (1000, 330 * 4, False)
    assert not claims["nnpfc_parameter_type_idc"].holds  # 0: integers
    assert "nnpfc_num_kmac_operations_idc" not in claims  # 0: unspecified


def test_the_peers_filter_costs_what_is_published(shared):
    """26.08 kMAC per luma sample, 33.01 with patches of 64 + 2 * 4 (../shared/anchors/published-results.md)."""
    model = load(shared / "peer/nokia/model3.onnx")
    elements = {"constant_patch_size_flag": 1, "patch_width_minus1": 63, "patch_height_minus1": 63, "overlap": 4}
    message = characteristics(auxiliary_inp_idc=1, **elements)
    cost = complexity(model, message, message, Format(416, 240))
    assert cost.macs == pytest.approx(26082)
    assert cost.macs_with_overlap == pytest.approx(26082 * (72 / 64) ** 2)
    # 4x2 patches reach over the right and the lower edge.
    assert cost.macs_of_picture == pytest.approx(26082 * (72 / 64) ** 2 * 8 * 128 * 128 / (416 * 240))
    assert cost.claims == ()


def test_a_short_original_is_an_error_and_a_long_one_is_said(stream, folder, decoded):
    options = ApplyOptions(sources=ModelSources(folder))
    with pytest.raises(NnpfError, match="the original ends after 3 pictures"):
        evaluate(lambda: stream, Codec.VVC, lambda form: iter(decoded[:3]), options)
    result = evaluate_video(decoded[:2], lambda form: iter(decoded))
    assert result.notes[-1] == "the original has more pictures; its first 2 are compared"
    assert (result.size, result.decoded) == (None, None)
    assert result.filtered.ssim == pytest.approx((1, 1, 1))


def test_videos_of_another_depth_are_compared_at_the_larger_one():
    eight, ten = Format(16, 16), Format(16, 16, 1, 10, 10)
    result = evaluate_video([flat(402, ten)], lambda form: iter([flat(100, eight)]))
    assert result.pictures[0].filtered.difference == compare(flat(402, ten), flat(400, ten))
    assert result.notes == (
        "bit depths: original 8, decoded 10, filtered 10; compared at the larger one of each pair, samples of the "
        "lower one shifted up",
    )


def test_6_1_1():
    assert combined((40.0, 42.0, 46.0)) == 41.0
    assert combined((40.0,)) is None


def test_rates_and_curves(evaluation):
    points = [Point(name, evaluation) for name in "abcd"]
    rating = Rating(Fraction(60), Fraction(10))
    anchor, test = rating.rates(evaluation)
    seconds = 65 / 60
    assert anchor == pytest.approx(evaluation.size.anchor * 8 / 1000 / seconds)
    assert test - anchor == pytest.approx(evaluation.size.messages * 8 / 1000 / 10)
    assert Rating().rates(evaluation)[1] == pytest.approx(evaluation.size.total * 8 / 1000 / 65)
    # Four times the same stream: the points are there, a delta is not.
    found = curves(points, rating)
    assert [c.measure for c in found] == ["Y", "Cb", "Cr", "6:1:1"]  # SSIM was not asked for
    assert all(gain.delta.rate_percent is None and gain.delta.problems for gain in gains(found))


def test_what_has_no_rate_has_no_curve(evaluation, decoded):
    video = evaluate_video(decoded, lambda form: iter(decoded), with_similarity=False)
    with pytest.raises(NnpfError, match="b: has no decoded pictures"):
        curves([Point("a", evaluation), Point("b", video)], Rating())
    short = evaluate_video(decoded[:5], lambda form: iter(decoded), with_similarity=False)
    with pytest.raises(NnpfError, match="5, 65 pictures"):
        curves([Point("a", evaluation), Point("b", short)], Rating())
    with pytest.raises(NnpfError, match=r"the video itself is 1\.08 s long"):
        Rating(Fraction(60), Fraction(1)).rates(evaluation)
    with pytest.raises(NnpfError, match="no bitstream"):
        Rating().rates(video)


def test_without_messages_test_and_anchor_have_the_same_rate():
    assert StreamBytes(100, 0).test() == StreamBytes(100, 0).anchor == 100


def evaluated(samples: Path, folder: Path, placed: list[Any], original: list[Frame]) -> Evaluation:
    units = with_messages(samples / "bbb_q37.266", placed)
    options = ApplyOptions(sources=ModelSources(folder))
    return evaluate(lambda: units, Codec.VVC, lambda form: iter(original), options, with_similarity=False)


def test_an_update_in_the_message_is_in_the_rate(samples, folder, decoded):
    payload = encode({"bias": np.full(6, 0.25, np.float32)}, Settings())
    update = characteristics(base_flag=0, mode_idc=0, tag_uri=None, uri=None, overlap=OVERLAP, payload=payload)
    placed = [
        ("random_access", characteristics(overlap=OVERLAP)),
        ("random_access", update),
        ("segments", activation(target_base_flag=0)),
    ]
    result = evaluated(samples, folder, placed, decoded)
    base, updated = result.filters
    assert (base.update, base.carried_bytes, base.uri) == (False, 0, "filter.onnx")
    assert (updated.update, updated.carried_bytes, updated.uri) == (True, len(payload), None)
    assert result.size.messages > 2 * len(payload)  # at both random access pictures
    assert updated.complexity.macs == base.complexity.macs == pytest.approx(MACS)
    assert result.decoded.average.psnr == (float("inf"),) * 3
    assert result.filtered.average.psnr[0] < 20  # a quarter of the range too bright


def test_pictures_that_a_filter_adds_are_not_compared(samples, tmp_path, decoded):
    luma_model(tmp_path, [[0.5, 0.5]])
    message = characteristics(
        purpose=8,
        num_input_pics_minus1=1,
        input_pic_filtering_flag=[0, 0],
        interpolated_pics=[1],
        inp_order_idc=0,
        out_order_idc=0,
    )
    result = evaluated(samples, tmp_path, [("random_access", message), ("segments", activation())], decoded)
    assert len(result.pictures) == 65
    assert "64 pictures that filters added have no original and are not compared" in result.notes


def test_a_filter_that_doubles_the_size_has_no_decoded_picture_to_beat(samples, tmp_path, decoded):
    resize = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    nodes = [helper.make_node("Resize", ["input", "", "scales"], ["output"], **resize)]
    inputs = {"input": ((1, 3, None, None), TensorProto.FLOAT)}
    save(tmp_path, graph(nodes, inputs, "output", {"scales": np.array([1, 1, 2, 2], np.float32)}, output_rank=4))
    message = characteristics(
        purpose=4,
        pic_width_num_minus1=1,
        pic_width_denom_minus1=0,
        pic_height_num_minus1=1,
        pic_height_denom_minus1=0,
        inp_order_idc=2,
        out_order_idc=2,
    )
    doubled = [
        Frame(tuple(p.repeat(2, 0).repeat(2, 1) for p in f.planes), Format(832, 480, 1, 10, 10)) for f in decoded
    ]
    result = evaluated(samples, tmp_path, [("random_access", message), ("segments", activation())], doubled)
    assert result.decoded is None
    assert result.filtered.average.largest == (0, 0, 0)
    assert result.notes[0].endswith("only filtered pictures are compared")
    with pytest.raises(NnpfError, match="no decoded pictures of the original's size"):
        curves([Point("a", result)], Rating())
