"""Fitting updates: what is divided how, what a byte costs, and that a fit goes on from where it was."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpf import describe
from nnpf.adapt.adaptation import AdaptOptions, adapt_segment, stands_still
from nnpf.adapt.checkpoint import Checkpoint
from nnpf.adapt.clip import Segment, at_depth_of, read_clip, segments
from nnpf.adapt.coding import message_bytes, update_message
from nnpf.adapt.fit import Fit, FitData, State
from nnpf.adapt.fitted import load_base_filter
from nnpf.adapt.folding import folded
from nnpf.adapt.measure import Receiver, channel_weights, check_supported, training_picture
from nnpf.adapt.placement import specification
from nnpf.adapt.price import Price, default_slope, slope_of
from nnpf.adapt.scope import scope_of
from nnpf.engines import select_engine
from nnpf.errors import NnpfError
from nnpf.frames import Format, Frame
from nnpf.metrics import compare
from nnpf.model import Model, load
from nnpf.nnc import Settings
from nnpf.nnc.model import encode_model
from nnpf.prepare import prepare
from nnpf.sources import Base, ModelSources, apply_update, load_base
from tests.nnpf.onnx_graphs import graph
from tests.nnpf.streams import nal_units
from vsei.nal import Codec


def small_filter() -> Model:
    """Adds a correction that is nearly nothing: enough to be fitted."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["input", "w0", "b0"], ["f"]),
        helper.make_node("LeakyRelu", ["f"], ["g"], alpha=0.1),
        helper.make_node("Conv", ["g", "w1", "b1"], ["correction"]),
        helper.make_node("Slice", ["input", "starts", "ends", "axes"], ["centre"]),
        helper.make_node("Add", ["centre", "correction"], ["output"]),
    ]
    constants = {
        "w0": (rng.standard_normal((8, 7, 3, 3)) * 0.2).astype(np.float32),
        "b0": np.zeros(8, np.float32),
        "w1": (rng.standard_normal((6, 8, 3, 3)) * 0.0005).astype(np.float32),
        "b1": np.zeros(6, np.float32),
        "starts": np.asarray([0, 2, 2], np.int64),
        "ends": np.asarray([6, -2, -2], np.int64),
        "axes": np.asarray([1, 2, 3], np.int64),
    }
    return graph(nodes, {"input": ((None, 7, None, None), TensorProto.FLOAT)}, "output", constants, output_rank=4)


@pytest.fixture(scope="module")
def clip(samples):
    """The first random access segment of the sample stream."""
    stream = samples / "bbb_q37.266"
    parts = segments(nal_units(stream), Codec.VVC, "ras")
    return next(read_clip(nal_units(stream), Codec.VVC, samples / "bbb.mkv", parts))


def message(model: Model, **elements: int):
    identity = {
        "nnpfc_id": 1,
        "nnpfc_base_flag": 1,
        "nnpfc_mode_idc": 1,
        "nnpfc_tag_uri": describe.ONNX_TAG,
        "nnpfc_uri": "base.onnx",
    }
    return describe.characteristics(identity, model, elements)


def adapted(clip, model: Model, **options):
    segment, pictures = clip
    chosen = AdaptOptions(**{"params": "all", "steps": 10, "serves": 1e8, "device": "cpu", **options})
    return adapt_segment(Base(model), message(model), segment, pictures[:4], chosen, codec=Codec.VVC)


# --- segments ---


def test_a_clip_is_one_segment_that_gets_the_update_where_a_viewer_needs_it(samples) -> None:
    (whole,) = segments(nal_units(samples / "bbb_q37.266"), Codec.VVC, "clip")
    assert (whole.first, whole.last) == (0, 64)
    # The IDR picture (0) is output after pictures that lead it; the first of those is 5. The CRA picture is 32, and
    # only two pictures are left for a viewer who tunes in there.
    assert whole.random_access == (5, 32)
    assert whole.copies == (5,)
    size = (samples / "bbb_q37.266").stat().st_size
    assert whole.stream_bytes == size


def test_random_access_segments_hold_what_leads_them(samples) -> None:
    parts = segments(nal_units(samples / "bbb_q37.266"), Codec.VVC, "ras")
    assert [(p.first, p.last) for p in parts] == [(0, 31), (32, 64)]
    assert sum(p.stream_bytes for p in parts) == (samples / "bbb_q37.266").stat().st_size


def test_segments_of_some_pictures(samples) -> None:
    parts = segments(nal_units(samples / "bbb_q37.266"), Codec.VVC, "30")
    assert [p.num_pictures for p in parts] == [30, 30, 5]
    assert all(p.copies for p in parts)


@pytest.mark.parametrize("division", ["0", "-3", "gop", ""])
def test_other_divisions_are_refused(samples, division: str) -> None:
    with pytest.raises(NnpfError, match="clip, ras"):
        segments(nal_units(samples / "bbb_q37.266"), Codec.VVC, division)


def test_originals_of_fewer_bits_are_shifted_and_not_stretched() -> None:
    eight = Frame((np.full((2, 2), 255, np.uint8),), Format(2, 2, 0))
    ten = Frame((np.zeros((2, 2), np.uint16),), Format(2, 2, 0, 10, 10))
    assert (at_depth_of(eight, ten).planes[0] == 1020).all()


# --- price ---


def test_the_price_of_bytes() -> None:
    price = Price(slope=4.0, stream_bytes=10_000, copies=2)
    assert price.cost(0) == 0
    assert price.cost(500) == pytest.approx(4 * math.log(1.1))
    assert price.cost(1) == pytest.approx(price.per_byte, rel=1e-3)
    assert price.luma_cost(500) > price.cost(500)
    assert default_slope(10) > default_slope(40) > default_slope(60)


def test_the_slope_of_a_clip() -> None:
    points = [(1000.0, 30.0), (2000.0, 33.0), (4000.0, 35.0)]
    assert slope_of(points, 2000) == pytest.approx(2.5 / math.log(2))
    with pytest.raises(NnpfError, match="two rate points"):
        slope_of(points[:1], 1000)
    with pytest.raises(NnpfError, match="do not rise"):
        slope_of([(1000, 30), (2000, 29)], 1000)


# --- scopes ---


def test_scopes_name_parameters() -> None:
    model = small_filter()
    assert set(scope_of(model, "last").masks) == {"w1", "b1"}
    assert set(scope_of(model, "last:2").masks) == set(scope_of(model, "all").masks) == {"w0", "b0", "w1", "b1"}
    assert set(scope_of(model, "biases").masks) == {"b0", "b1"}
    prepared = prepare(model, ("multipliers", "biases"))
    assert scope_of(prepared, "multipliers").num_free(prepared.parameters) == 14
    assert scope_of(prepared, "multipliers+biases").num_free(prepared.parameters) == 28
    assert "u" in scope_of(prepared, "all").masks


@pytest.mark.parametrize("wanted", ["multipliers", "first", "last:0", "last:x", "all:2", "", "last+"])
def test_scopes_that_there_are_not(wanted: str) -> None:
    with pytest.raises(NnpfError):
        scope_of(small_filter(), wanted)


# --- the fit ---


def test_an_update_gains_on_the_pictures_it_was_fitted_to_and_decodes_to_what_was_measured(clip) -> None:
    model = small_filter()
    result = adapted(clip, model, steps=48)
    document = result.document()
    assert result.decision == "update"
    assert document["gain_update_db"]["luma"] > 0.01
    sent = apply_update(Base(model), update_message(message(model), result.payload), ModelSources())
    changed = {n for n, v in sent.parameters.items() if not np.array_equal(v, model.parameters[n])}
    assert changed
    assert changed == set(document["tensors"])
    assert document["message_bytes"] == message_bytes(update_message(message(model), result.payload), Codec.VVC)


def test_bytes_that_cost_more_than_they_gain_are_not_sent(clip) -> None:
    result = adapted(clip, small_filter(), serves=100.0)
    assert result.payload is None
    assert result.decision in ("base", "off")
    assert result.reason


def test_what_is_sent_pays_even_if_bytes_cost_a_fifth_more(clip) -> None:
    results = [adapted(clip, small_filter(), steps=16, serves=serves) for serves in (1e4, 3e4, 1e5, 1e6)]
    assert {result.decision == "update" for result in results} == {True, False}
    for result in results:
        document = result.document()
        cost, found = document["cost_db"], document["gain_update_db"]
        pays = found is not None and found["combined"] > 1.2 * cost and found["luma"] > 1.2 * cost
        assert result.decision != "update" or pays, document


def test_a_budget_is_kept(clip) -> None:
    free = adapted(clip, small_filter(), steps=16)
    tight = adapted(clip, small_filter(), steps=16, budget=len(free.payload) // 2)
    assert tight.payload is None or len(tight.payload) <= len(free.payload) // 2
    assert adapted(clip, small_filter(), steps=4, budget=10).payload is None


def test_the_same_seed_gives_the_same_update(clip) -> None:
    first, second = (adapted(clip, small_filter(), seed=5) for _ in range(2))
    assert first.payload == second.payload
    assert first.payload != adapted(clip, small_filter(), seed=6).payload


def test_a_run_that_was_stopped_goes_on_to_the_same_result(clip, tmp_path: Path) -> None:
    model, (segment, pictures) = small_filter(), clip
    options = AdaptOptions(params="all", steps=20, serves=1e8, device="cpu", checkpoints=tmp_path / "c", resume=True)

    class Stopped(Exception):
        pass

    def stop(progress) -> None:
        if progress.step >= 12:
            raise Stopped

    arguments = (Base(model), message(model), segment, pictures[:4], options)
    with pytest.raises(Stopped):
        adapt_segment(*arguments, codec=Codec.VVC, tell=stop)
    steps = []
    resumed = adapt_segment(*arguments, codec=Codec.VVC, tell=lambda p: steps.append(p.step))
    assert min(steps) >= 12
    assert resumed.payload == adapted(clip, model, steps=20).payload
    # And once more: all is done already.
    assert adapt_segment(*arguments, codec=Codec.VVC, tell=stop).payload == resumed.payload


def test_checkpoints_of_another_run_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    zeros = {"w": np.zeros(3, np.float32)}
    state = State(7, zeros, zeros, {"w": np.zeros((), np.float32)})
    kept = Checkpoint(tmp_path, 0, "one", resume=False)
    kept.save("last x1", state)
    again = Checkpoint(tmp_path, 0, "one", resume=True)
    assert again.load("last x1", State(0, zeros, zeros, zeros)).step == 7
    with pytest.raises(NnpfError, match="another stream"):
        Checkpoint(tmp_path, 0, "other", resume=True)
    file = next(tmp_path.glob("*.npz"))
    for data in (b"", b"PK\3\4", file.read_bytes()[:100]):
        file.write_bytes(data)
        with pytest.raises(NnpfError, match="no checkpoint"):
            again.load("last x1", state)
    (tmp_path / "segment-0.json").write_text("[" * 100)
    with pytest.raises(NnpfError, match="no checkpoint"):
        Checkpoint(tmp_path, 0, "one", resume=True)


@pytest.mark.parametrize("params", ["multipliers", "biases", "multipliers+biases", "last", "last:2", "all"])
def test_every_scope_moves_what_it_names_and_nothing_else(clip, params: str) -> None:
    model = prepare(small_filter(), ("multipliers", "biases"), short_names=False)
    picture = clip[1][0]
    process = check_supported(model, message(model), picture)
    weights = channel_weights(process, compare(picture.decoded, picture.original))
    data = FitData([training_picture(model, process, picture)], [weights])
    scope = scope_of(model, params)
    fit = Fit(model, scope, data, device="cpu", seed=0)
    steps = dict.fromkeys(scope.masks, 1e-6)
    deltas = fit.deltas(fit.run(fit.start(), 3, 3, rate=0.0, learning_rate=0.004, steps=steps))
    assert deltas.keys() == scope.masks.keys()
    for name, mask in scope.masks.items():
        moved = deltas[name] != 0
        assert moved.any()
        assert mask is None or not moved[~mask].any()


def test_a_base_out_of_nnc_is_adapted_as_the_receiver_has_it(clip, tmp_path: Path) -> None:
    """The base is quantised, and its decoder is what the update's coding refers to."""
    (tmp_path / "base.nnc").write_bytes(encode_model(prepare(small_filter()).proto, Settings(qp=-30)))
    base = load_base_filter(tmp_path / "base.nnc")
    segment, pictures = clip
    options = AdaptOptions(steps=24, serves=1e8, device="cpu")
    result = adapt_segment(base.base, base.message, segment, pictures[:4], options, codec=Codec.VVC)
    assert result.decision == "update"
    update = update_message(base.message, result.payload)
    received = load_base(base.message, ModelSources())
    sent = apply_update(received, update, ModelSources())
    assert any(not np.array_equal(v, received.model.parameters[n]) for n, v in sent.parameters.items())
    measured = Receiver(base.message, threads=1).measure(sent, pictures[:4])
    assert [m.psnr for m in measured] == [p.psnr for p in result.update]


def test_a_base_of_one_size_only_is_adapted_in_its_patches(clip) -> None:
    """As the filter of the peer: [1, 7, 72, 72] in, [1, 6, 64, 64] out."""
    proto = onnx.ModelProto()
    proto.CopyFrom(small_filter().proto)
    for dim, size in zip(proto.graph.input[0].type.tensor_type.shape.dim, (1, 7, 68, 68), strict=True):
        dim.dim_value = size
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    for size in (1, 6, 64, 64):
        proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    fixed = Model(proto, "fixed.onnx")
    assert adapted(clip, fixed, params="all", steps=24).decision == "update"


@pytest.mark.slow
def test_the_filter_of_the_peer_is_adapted(clip, shared: Path) -> None:
    model = prepare(load(shared / "peer/nokia/model3.onnx"))
    result = adapted(clip, model, params="multipliers", steps=40)
    assert result.decision == "update"
    assert set(result.document()["tensors"]) == {"u"}


def test_multipliers_on_weights_give_what_multipliers_on_outputs_give() -> None:
    rng = np.random.default_rng(0)
    for kinds in (("multipliers",), ("biases",), ("multipliers", "biases")):
        model = prepare(small_filter(), kinds)
        u = model.parameters["u"] + 0.1 * rng.standard_normal(model.parameters["u"].shape).astype(np.float32)
        model = model.with_parameters({"u": u})
        moved = folded(model)
        assert moved.parameters.keys() == model.parameters.keys()
        assert sum(n.op_type == "Mul" for n in moved.proto.graph.node if "input" in n.input) == 0
        x = rng.random((1, 7, 20, 20), np.float32)
        before, after = (select_engine("torch", "cpu").compile(m).run({"input": x}).copy() for m in (model, moved))
        np.testing.assert_allclose(after, before, atol=1e-6)
    plain = small_filter()
    assert folded(plain) is plain


def test_the_peers_multipliers_fold(shared: Path) -> None:
    model = folded(load(shared / "peer/nokia/model3.onnx"))
    follows = {name for node in model.proto.graph.node if node.op_type == "Conv" for name in node.output}
    assert not any(node.op_type == "Mul" and follows & set(node.input) for node in model.proto.graph.node)


def test_a_fit_that_stands_still_ends_early() -> None:
    rising = [0.1, 0.2, 0.25, 0.27, 0.28, 0.29]
    assert not stands_still(rising, 0)
    assert stands_still([*rising, 0.2905, 0.29], 0)
    assert not stands_still([0.3, 0.2, 0.2], 0)  # the first half may: differences have to grow to a step first
    assert stands_still([0.3, 0.2, 0.2, 0.2], 0)
    assert not stands_still([0.3, 0.2, 0.2, 0.2], 3)  # it has gone back to its best at the third look


def test_a_device_that_is_not_there_is_named(clip) -> None:
    for device in ("cuda:7", "abacus"):
        with pytest.raises(NnpfError, match=device):
            adapted(clip, small_filter(), device=device)


def test_other_kinds_of_filters_are_refused(clip) -> None:
    segment, pictures = clip
    model = small_filter()
    several = message(model, nnpfc_num_input_pics_minus1=1, nnpfc_inp_order_idc=3, nnpfc_auxiliary_inp_idc=0)
    with pytest.raises(NnpfError, match="one input picture"):
        adapt_segment(Base(model), several, segment, pictures[:1], AdaptOptions(), codec=Codec.VVC)


# --- placement ---


def test_the_specification_says_what_holds_where() -> None:
    class Result:
        def __init__(self, index: int, decision: str) -> None:
            self.segment = Segment(index, 10 * index, 10 * index + 9, 1000, (10 * index,), (10 * index,))
            self.decision = decision

    results = [Result(i, d) for i, d in enumerate(["off", "update", "base", "off", "update"])]
    names = [None, "u_1.nnc", None, None, "u_4.nnc"]
    data = specification(results, names, nnpfc_id=2, base="b.onnx", elements={"nnpfc_padding_type": 2})
    (entry,) = data["filters"]
    assert entry == {
        "id": 2,
        "base": "b.onnx",
        "nnpfc": {"nnpfc_padding_type": 2},
        "updates": [{"payload": "u_1.nnc", "at": "decode:10"}, {"payload": "u_4.nnc", "at": "decode:40"}],
    }
    assert [(a["at"], a["nnpfa"]) for a in data["activations"]] == [
        ("decode:10", {"nnpfa_target_base_flag": 0}),
        ("decode:20", {"nnpfa_target_base_flag": 1}),
        ("decode:30", {"nnpfa_cancel_flag": 1}),
        ("decode:40", {"nnpfa_target_base_flag": 0}),
    ]
