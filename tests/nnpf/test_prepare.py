"""A prepared base gives the same pictures, and its updates lie in one tensor."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpf.engines import select_engine
from nnpf.errors import NnpfError
from nnpf.model import Model, load
from nnpf.nnc import Encoder, Settings, decode
from nnpf.prepare import METADATA_KEY, prepare, update_tensor
from tests.nnpf.onnx_graphs import graph

ENGINES = ("onnxruntime", "openvino", "torch")
KINDS = (("multipliers",), ("biases",), ("multipliers", "biases"), ())


def network(seed: int = 0, opset: int = 18) -> Model:
    """Two convolutions and a transposed one; equal constants are shared, as exporters leave them."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Conv", ["input", "first.weight", "shared.bias"], ["a"]),
        helper.make_node("Mul", ["a", "ones"], ["b"]),
        helper.make_node("LeakyRelu", ["b"], ["c"], alpha=0.2),
        helper.make_node("Conv", ["c", "second.weight", "shared.bias"], ["d"]),
        helper.make_node("Mul", ["ones", "d"], ["e"]),
        helper.make_node("ConvTranspose", ["e", "third.weight"], ["output"]),
    ]
    constants = {
        "first.weight": rng.standard_normal((8, 7, 3, 3)).astype(np.float32),
        "second.weight": rng.standard_normal((8, 8, 1, 1)).astype(np.float32),
        "third.weight": rng.standard_normal((8, 6, 3, 3)).astype(np.float32),
        "shared.bias": rng.standard_normal(8).astype(np.float32),
        "ones": np.ones((1, 8, 1, 1), np.float32),
    }
    inputs = {"input": ((1, 7, 20, 24), TensorProto.FLOAT)}
    return graph(nodes, inputs, "output", constants, output_rank=4, opset=opset)


def run(model: Model, engine: str, x: np.ndarray) -> np.ndarray:
    return select_engine(engine, "cpu").compile(model).run({"input": x}).copy()


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("opset", [11, 18])
def test_the_output_is_the_same_bit_by_bit(engine: str, kinds: tuple, opset: int) -> None:
    x = sample(1, 7, 20, 24)
    model = network(opset=opset)
    np.testing.assert_array_equal(run(prepare(model, kinds), engine, x), run(model, engine, x))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_filter_of_the_peer_stays_the_same(engine: str, shared: Path) -> None:
    model = load(shared / "peer/nokia/model3.onnx")
    prepared = prepare(model, ("multipliers", "biases"))
    assert update_tensor(prepared).spans == {"multipliers": (0, 1398), "biases": (1398, 2796)}
    x = sample(1, 7, 72, 72)
    np.testing.assert_array_equal(run(prepared, engine, x), run(model, engine, x))


def test_an_element_of_the_tensor_scales_its_channel() -> None:
    model = network()
    prepared = prepare(model)
    place = update_tensor(prepared)
    assert place.spans == {"multipliers": (0, 22)}
    values = prepared.parameters[place.name].copy()
    values[16 + 2] = 3  # the third channel of the last convolution
    x = sample(1, 7, 20, 24)
    before, after = (run(m, "onnxruntime", x) for m in (model, prepared.with_parameters({place.name: values})))
    np.testing.assert_allclose(after[:, 2], 3 * before[:, 2], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(after[:, [0, 1, 3, 4, 5]], before[:, [0, 1, 3, 4, 5]], rtol=1e-5, atol=1e-4)


def test_multipliers_that_the_graph_had_become_part_of_the_tensor() -> None:
    model = network().with_parameters({"ones": np.full((1, 8, 1, 1), 1.5, np.float32)})
    prepared = prepare(model)
    np.testing.assert_array_equal(prepared.parameters["u"], [1.5] * 16 + [1.0] * 6)
    x = sample(1, 7, 20, 24)
    np.testing.assert_array_equal(run(prepared, "onnxruntime", x), run(model, "onnxruntime", x))


def test_shared_tensors_are_told_apart() -> None:
    prepared = prepare(network(), (), short_names=False)
    for node_a, node_b in ((0, 3), (1, 4)):
        a, b = (set(prepared.proto.graph.node[at].input) & set(prepared.parameters) for at in (node_a, node_b))
        assert not a & b
    assert sum(np.array_equal(v, np.ones((1, 8, 1, 1))) for v in prepared.parameters.values()) == 2


def test_names_are_short_and_no_tensor_is_left_over() -> None:
    prepared = prepare(network(), ("multipliers", "biases"))
    assert all(len(name) <= 2 for name in prepared.parameters)
    used = {name for node in prepared.proto.graph.node for name in node.input}
    assert set(prepared.parameters) <= used
    assert "ones" in prepare(network(), ("biases",), short_names=False).parameters


def test_what_cannot_be_prepared_is_refused() -> None:
    with pytest.raises(NnpfError, match="prepared already"):
        prepare(prepare(network()))
    nodes = [helper.make_node("Relu", ["input"], ["output"])]
    plain = graph(nodes, {"input": ((1, 6, 8, 8), TensorProto.FLOAT)}, "output", output_rank=4)
    with pytest.raises(NnpfError, match="no convolution"):
        prepare(plain)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tensor": "nowhere"}', '{"tensor": "u", "multipliers": [5, 99]}'])
def test_metadata_that_does_not_suit_the_graph_is_refused(text: str) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(prepare(network()).proto)
    next(e for e in proto.metadata_props if e.key == METADATA_KEY).value = text
    with pytest.raises(NnpfError, match="metadata"):
        update_tensor(Model(proto, "broken.onnx"))


def test_one_tensor_costs_less_than_half_of_one_for_each_layer(shared: Path) -> None:
    """1,398 multipliers of the peer's filter: at most 45 % of the bytes, and no larger an error."""
    separate = prepare(load(shared / "peer/nokia/model3.onnx"), ())
    names = [n for n, v in separate.parameters.items() if v.ndim in (3, 4) and v.size > 1 and (v == 1).all()]
    together = prepare(load(shared / "peer/nokia/model3.onnx"))
    rng = np.random.default_rng(0)
    deltas = {name: rng.normal(0, 0.02, separate.parameters[name].shape).astype(np.float32) for name in names}
    one = {"u": np.concatenate([d.reshape(-1) for d in deltas.values()])}
    assert len(names) == 35
    assert one["u"].shape == together.parameters["u"].shape
    settings = Settings(qp=-32)
    many_bytes, one_bytes = (Encoder(settings).encode_update(d) for d in (deltas, one))
    rest = decode(many_bytes)
    many_error = np.concatenate([(rest.get(n, 0) - d).reshape(-1) for n, d in deltas.items()])
    one_error = decode(one_bytes)["u"] - one["u"]
    assert np.sqrt((one_error**2).mean()) <= 1.02 * np.sqrt((many_error**2).mean())
    assert len(one_bytes) <= 0.45 * len(many_bytes)
