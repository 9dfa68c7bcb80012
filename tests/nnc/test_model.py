"""Self-contained payloads: graph and weights in, a model that runs out."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from nnpf import nnc  # noqa: E402
from nnpf.nnc.model import decode_model, encode_model, join_model, split_model  # noqa: E402
from nnpf.nnc.syntax import Topology, TopologyFormat, UnitType  # noqa: E402
from nnpf.nnc.topology import TEXT_PREFIX, deflated, graph_bytes  # noqa: E402
from nnpf.nnc.units import read_units  # noqa: E402
from tests.nnc.vectors import assert_same  # noqa: E402


def filter_model(layers: int = 10, channels: int = 16) -> "onnx.ModelProto":
    """A residual post-filter: convolutions, PReLU, a resize whose scales must not change, a sum."""
    rng = np.random.default_rng(8)
    nodes, initializers, name = [], [], "input"

    def weight(key: str, *shape: int) -> str:
        initializers.append(numpy_helper.from_array(rng.normal(scale=0.1, size=shape).astype(np.float32), key))
        return key

    for i in range(layers):
        inside, outside = 6 if i == 0 else channels, 6 if i == layers - 1 else channels
        conv = [name, weight(f"layer{i}.weight", outside, inside, 3, 3), weight(f"layer{i}.bias", outside)]
        nodes.append(helper.make_node("Conv", conv, [f"conv{i}"], pads=[1, 1, 1, 1], name=f"conv{i}"))
        name = f"conv{i}"
        if i < layers - 1:
            nodes.append(helper.make_node("PRelu", [name, weight(f"slope{i}", outside, 1, 1)], [f"act{i}"]))
            name = f"act{i}"
    initializers.append(numpy_helper.from_array(np.array([1, 1, 1, 1], np.float32), "scales"))
    initializers.append(numpy_helper.from_array(np.float32(0.1), "strength"))
    nodes.append(helper.make_node("Resize", [name, "", "scales"], ["resized"], mode="nearest"))
    nodes.append(helper.make_node("Mul", ["resized", "strength"], ["scaled"]))
    nodes.append(helper.make_node("Add", ["scaled", "input"], ["output"]))
    shape = [1, 6, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "filter",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(model: "onnx.ModelProto", pictures: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": pictures})[0])


def test_a_model_goes_through_a_payload_and_runs() -> None:
    model = filter_model()
    decoded = decode_model(encode_model(model, nnc.Settings(qp=-44)))
    onnx.checker.check_model(decoded)
    assert [n.op_type for n in decoded.graph.node] == [n.op_type for n in model.graph.node]
    assert [i.name for i in decoded.graph.input] == ["input"]
    pictures = np.random.default_rng(9).random((1, 6, 20, 24), dtype=np.float32)
    assert np.abs(run(decoded, pictures) - run(model, pictures)).max() < 2e-3


def test_without_loss_the_model_is_the_same() -> None:
    model = filter_model(layers=3)
    decoded = decode_model(encode_model(model, nnc.Settings(lossless=True)))
    kept = {i.name: numpy_helper.to_array(i) for i in decoded.graph.initializer}
    for initializer in model.graph.initializer:
        assert np.array_equal(kept.pop(initializer.name), numpy_helper.to_array(initializer))
    assert not kept


def test_the_graph_of_ten_layers_is_small() -> None:
    parts = split_model(filter_model(layers=10))
    assert len(parts.topology.topology_data) < 1500
    assert len(parts.tensors) == 29


def test_a_graph_as_text_passes_where_nncodec_reads_topologies() -> None:
    """NNCodec takes what follows the two format bytes as one UTF-8 string that fills the unit, and goes on where the
    storage format is 0, 3 or 4; `bench/nnc.py --interop` runs it."""
    payload = encode_model(filter_model(layers=3), graph_form="text")
    unit = next(u for u in read_units(payload) if u.unit_type == UnitType.NNR_TPL)
    data = payload[unit.offset : unit.offset + unit.size]
    assert data[3:5] == b"\0\0"  # NNR_TPL_UNREC, not compressed
    assert data[5:].decode("utf-8").find("\0") == len(data) - 6
    assert decode_model(payload) == decode_model(encode_model(filter_model(layers=3)))
    damaged = Topology(0, 0, TEXT_PREFIX + b"%%%\0")
    with pytest.raises(nnc.NncError, match="not base64"):
        graph_bytes(damaged)


def test_a_decoder_that_ignores_the_topology_has_the_same_tensors() -> None:
    payload = encode_model(filter_model(layers=3))
    without = b"".join(
        payload[u.offset : u.offset + u.size] for u in read_units(payload) if u.unit_type != UnitType.NNR_TPL
    )
    assert len(without) < len(payload)
    assert_same(nnc.decode(without), nnc.decode(payload))


def test_the_graph_in_the_payload_is_valid_by_itself() -> None:
    """Weights become inputs; constants that must be exact stay."""
    parts = split_model(filter_model(layers=3))
    graph = onnx.load_model_from_string(graph_bytes(parts.topology))
    onnx.checker.check_model(graph)
    assert {i.name for i in graph.graph.initializer} == {"scales", "strength"}
    assert {i.name for i in graph.graph.input} == {"input", *parts.tensors}


def test_large_constants_of_other_operators_are_coded_without_loss() -> None:
    table = np.random.default_rng(10).random((1, 6, 1, 40), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "table"], ["output"])],
        "sum",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 6, 4, 40])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 6, 4, 40])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert split_model(model).exact == {"table"}
    assert np.array_equal(numpy_helper.to_array(decode_model(encode_model(model)).graph.initializer[0]), table)


def quantised_model(bias: str) -> "onnx.ModelProto":
    """One convolution of 8-bit weights as onnxruntime writes it (QDQ): float32 are only scales."""
    rng = np.random.default_rng(3)
    constants = {
        "x.scale": np.float32(1 / 255), "x.zero": np.uint8(0), "w": rng.integers(-99, 99, (6, 7, 3, 3), np.int8),
        "w.scale": np.full(6, 0.01, np.float32), "w.zero": np.zeros(6, np.int8),
        "b": rng.integers(-999, 999, 6, np.int32).astype(bias), "b.scale": np.full(6, 4e-5, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "x.scale", "x.zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "x.scale", "x.zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "w.scale", "w.zero"], ["weight"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b.scale"], ["bias"], axis=0),
        helper.make_node("Conv", ["x", "weight", "bias"], ["output"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "h", "w"])
        for name, channels in (("input", 7), ("output", 6))
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "quantised", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_network_of_integers_goes_through_a_payload() -> None:
    model = quantised_model("int32")
    again = decode_model(encode_model(model))
    expected, found = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer} for proto in (model, again)
    )
    assert_same(found, expected)
    onnx.checker.check_model(again, full_check=True)


def test_what_cannot_be_coded_is_named() -> None:
    model = quantised_model("uint8")
    with pytest.raises(nnc.NncError, match="no weights in FLOAT to code, but FLOAT, INT8, UINT8: send it by URI"):
        encode_model(model)


def test_an_update_of_a_model() -> None:
    encoder, decoder = nnc.Encoder(nnc.Settings(qp=-40)), nnc.Decoder()
    decode_model(encode_model(filter_model(layers=2), encoder=encoder), decoder=decoder)
    update = {"layer1.bias": np.full(6, 0.25, np.float32)}
    assert np.abs(decoder.decode(encoder.encode_update(update))["layer1.bias"] - 0.25).max() < 0.01


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        (None, "no graph"),
        (Topology(), "no graph"),
        (Topology(TopologyFormat.NNR_TPL_PYT, 0, b"import torch\0"), "PyTorch"),
        (Topology(TopologyFormat.NNR_TPL_NNEF, 0, b"version 1.0;\0"), "NNEF"),
        (Topology(TopologyFormat.NNR_TPL_ONNX, 1, b"damaged"), "cannot be inflated"),
        (deflated(b"\xff\xff\xff", TopologyFormat.NNR_TPL_ONNX), "no ONNX model"),
    ],
)
def test_payloads_without_a_usable_graph_say_so(topology: Topology | None, message: str) -> None:
    with pytest.raises(nnc.NncError, match=message):
        join_model(topology, {"w": np.ones(1, np.float32)})


def test_weights_that_do_not_fit_the_graph_are_named() -> None:
    parts = split_model(filter_model(layers=2))
    with pytest.raises(nnc.NncError, match=r"'layer0.bias' has shape \(3,\), in the graph \(16,\)"):
        join_model(parts.topology, {**parts.tensors, "layer0.bias": np.ones(3, np.float32)})
    with pytest.raises(nnc.NncError, match="knows no 'other'"):
        join_model(parts.topology, {"other": np.ones(3, np.float32)})
    del parts.tensors["layer0.bias"]
    with pytest.raises(nnc.NncError, match=r"lacks 'layer0\.bias'"):
        join_model(parts.topology, parts.tensors)
