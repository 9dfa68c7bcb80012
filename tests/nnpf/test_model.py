"""Models are checked at the door; their parameters can be replaced and their cost counted."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nnpf.errors import NnpfError
from nnpf.model import load
from tests.nnpf.onnx_graphs import blur_filter, graph, identity_filter


def test_inputs_and_parameters() -> None:
    model = blur_filter(7, 6, 1)
    assert str(model.tensor_input) == "input float32[?,7,?,?]"
    assert model.output_names == ("output",)
    assert list(model.parameters) == ["weight"]
    assert model.num_parameters == 6 * 7 * 9
    assert model.operators == {"Conv", "LeakyRelu"}


def test_parameters_are_replaced_in_a_new_model() -> None:
    model = identity_filter(2, 1, 1)
    before = model.sha256
    changed = model.with_parameters({"bias": np.array([0.5])}, "updated")
    assert changed.parameters["bias"].tolist() == [0.5]
    assert changed.parameters["bias"].dtype == np.float32
    assert model.parameters["bias"].tolist() == [0.0]
    assert (changed.name, model.sha256) == ("updated", before)
    assert changed.sha256 != before
    assert load(changed.to_bytes()).parameters["bias"].tolist() == [0.5]


def test_parameters_must_suit_the_graph() -> None:
    model = identity_filter(2, 1, 1)
    with pytest.raises(NnpfError, match="has no parameter 'scale'"):
        model.with_parameters({"scale": np.zeros(1)})
    with pytest.raises(NnpfError, match=r"parameter 'bias' is \[1\], given \[2\]"):
        model.with_parameters({"bias": np.zeros(2)})
    with pytest.raises(ValueError, match="read-only"):
        model.parameters["bias"][0] = 1


def test_cost_counts_multiplications_of_convolutions() -> None:
    cost = blur_filter(7, 6, 1).cost({"input": (1, 7, 10, 12)})
    assert cost.output_shape == (1, 6, 8, 10)
    assert cost.macs == 6 * 8 * 10 * 7 * 9
    # The input and what the convolution gives live at the same time.
    assert cost.peak_bytes == 4 * (7 * 10 * 12 + 6 * 8 * 10)


def test_cost_of_the_peers_filter(shared: Path) -> None:
    model = load(shared / "peer/nokia/model3.onnx")
    cost = model.cost({"input": (1, 7, 72, 72)})
    assert cost.output_shape == (1, 6, 64, 64)
    assert cost.macs / (4 * 64 * 64) == pytest.approx(33_010, abs=1)


def test_cost_names_what_does_not_fit() -> None:
    with pytest.raises(NnpfError, match="has rank 4, given"):
        identity_filter(7, 6, 2).cost({"input": (7, 10, 10)})
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], axis=1)]
    model = graph(nodes, {"x": ((1, 1, None, 4), TensorProto.FLOAT)}, "y", {"w": np.zeros((1, 1, 4, 4), np.float32)})
    with pytest.raises(NnpfError, match=r"does not fit an input of x \[1, 1, 5, 4\]"):
        model.cost({"x": (1, 1, 5, 4)})


def _proto() -> onnx.ModelProto:
    proto = onnx.ModelProto()
    proto.CopyFrom(identity_filter(2, 1, 1).proto)
    return proto


def _external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _external_in_a_constant(proto: onnx.ModelProto) -> None:
    value = numpy_helper.from_array(np.zeros(1, np.float32), "value")
    proto.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))
    _external_tensor = proto.graph.node[-1].attribute[0].t
    _external_tensor.data_location = TensorProto.EXTERNAL


def _custom(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain = "evil.example"
    proto.opset_import.add(domain="evil.example", version=1)


def _quantised_by_operators(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain, proto.graph.node[0].op_type = "com.microsoft", "QLinearAdd"
    proto.opset_import.add(domain="com.microsoft", version=1)


def _loop(proto: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node.append(helper.make_node("Loop", ["", ""], ["never"], body=body))


def _huge(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[0] = 1 << 40


def _unconnected(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_external, "lies outside the file"),
        (_external_in_a_constant, "lies outside the file"),
        (_custom, r"evil\.example\.Conv is not a standard ONNX operator"),
        (_quantised_by_operators, r"QLinearAdd is not a standard ONNX operator; quantise with QuantFormat\.QDQ"),
        (_loop, "control flow"),
        (_huge, "tensor 'weight' is"),
        (_unconnected, "not a valid ONNX model"),
    ],
)
def test_what_is_refused(spoil, reason) -> None:  # type: ignore[no-untyped-def]
    proto = _proto()
    spoil(proto)
    with pytest.raises(NnpfError, match=reason):
        load(proto.SerializeToString(), "bad.onnx")


_NARROW = {"w": helper.make_tensor("w", TensorProto.FLOAT8E5M2, [2], [1.0, 2.0])}
_INT4 = {"w": helper.make_tensor("w", TensorProto.INT4, [2], [1, 2])}


def _with_types(nodes: list[onnx.NodeProto], parameters: dict[str, onnx.TensorProto]) -> bytes:
    """A graph whose first nodes are these and whose last one has nothing to do with them."""
    images = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6, "h", "w"]) for name in ("x", "y")]
    nodes = [*nodes, helper.make_node("Relu", ["x"], ["y"])]
    made = helper.make_graph(nodes, "g", images[:1], images[1:], list(parameters.values()))
    opset = [helper.make_opsetid("", 21)]
    return helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString()


@pytest.mark.parametrize(
    ("first", "parameters", "reason"),
    [
        (helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT8E5M2), {}, "what Cast gives, of type FLOAT8E5M2"),
        (helper.make_node("Cast", ["x"], ["a"], to=TensorProto.STRING), {}, "what Cast gives, of type STRING"),
        (helper.make_node("CastLike", ["x", "w"], ["a"]), _NARROW, "which CastLike takes, of type FLOAT8E5M2"),
        (helper.make_node("Identity", ["w"], ["a"]), _INT4, "which Identity takes, of type INT4"),
        (helper.make_node("Constant", [], ["a"], value_string=b"text"), {}, "a constant of type STRING"),
        (helper.make_node("Constant", [], ["a"], value=_NARROW["w"]), {}, "which Clip takes, of type FLOAT8E5M2"),
    ],
)
def test_types_that_end_the_process_of_an_engine(
    first: onnx.NodeProto, parameters: dict[str, onnx.TensorProto], reason: str
) -> None:
    """OpenVINO has no limits for Clip in these types, and does not look."""
    with pytest.raises(NnpfError, match=reason):
        load(_with_types([first, helper.make_node("Clip", ["a"], ["b"])], parameters))


@pytest.mark.parametrize("parameters", [_NARROW, _INT4])
def test_narrow_parameters_may_be_made_numbers_of(parameters: dict[str, onnx.TensorProto]) -> None:
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5])
    nodes = [helper.make_node("DequantizeLinear", ["w", "scale"], ["a"]), helper.make_node("Clip", ["a"], ["b"])]
    assert load(_with_types(nodes, {**parameters, "scale": scale})).num_parameters == 3


@pytest.mark.parametrize("data", [b"", b"\x08", b"no model", b"\x0a\xff\xff\xff\xff\x0f", bytes(100)])
def test_what_is_no_model_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(NnpfError, match="not an ONNX model"):
        load(data)


def test_a_damaged_model_never_gives_more_than_a_clear_error() -> None:
    data = identity_filter(2, 1, 1).to_bytes()
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = rng.integers(0, 256)
        with contextlib.suppress(NnpfError):
            load(bytes(damaged)).cost({"input": (1, 2, 8, 8)})


def test_a_model_with_two_image_inputs_is_refused() -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    kind = ((1, 1, 4, 4), TensorProto.FLOAT)
    with pytest.raises(NnpfError, match="one input of rank 4 or 5 is wanted"):
        _ = graph([node], {"a": kind, "b": kind}).tensor_input


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NnpfError, match="cannot be read"):
        load(tmp_path / "none.onnx")
