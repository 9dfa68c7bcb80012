"""Shapes inside a graph are those that onnxruntime gives, for every operator; hostile graphs end in one error."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nnpf.engines import select_engine
from nnpf.errors import NnpfError
from nnpf.model import load
from nnpf.shapes import Graph, ShapeError, known_operators
from tests.nnpf.onnx_graphs import one_node, outputs_of

pytest.importorskip("torch")
test_operators = pytest.importorskip("tests.nnpf.test_operators")
f, i, X = test_operators.f, test_operators.i, test_operators.X

POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
CASES = [
    *test_operators.CASES,
    *((op, f(1, 4, size, 8), (), {**POOL, "pads": pads}, 22) for op in ("MaxPool", "AveragePool")
      for size in (5, 6, 7, 8) for pads in ([0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 1])),
    *((op, X, (), {}) for op in ("LogSoftmax", "Hardmax", "Celu", "Tan", "LpNormalization")),
    *((op, X, (), {"axis": 1, "keepdims": keep}, 18, TensorProto.INT64) for op in ("ArgMax", "ArgMin")
      for keep in (0, 1)),
    *((op, X, (i(2),), {}) for op in ("ReduceProd", "ReduceL1", "ReduceLogSum", "ReduceSumSquare")),
    ("TopK", X, (i(2),), {"axis": 2}),
    ("OneHot", i(1, 0, 2), (np.array(4, np.int64), f(2)), {"axis": 0}, 18, TensorProto.FLOAT),
    ("GatherElements", X, (np.zeros((1, 4, 2, 3), np.int64),), {"axis": 2}),
    ("GatherND", X, (np.zeros((1, 3, 2), np.int64),), {"batch_dims": 1}),
    ("MatMul", [f(4), f(2, 4, 5)], (), {}),
    ("MatMul", [f(3, 1, 2, 4), f(5, 4, 6)], (), {}),
    ("Det", f(2, 3, 3), (), {}),
    ("Col2Im", f(1, 12, 9), (i(4, 4), i(2, 2)), {}),
    ("ReverseSequence", f(4, 3, 2), (i(1, 2, 3),), {}),
    *((op, f(5, 2, 3), (f(1, gates * 4, 3), f(1, gates * 4, 4)), {"hidden_size": 4})
      for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))),
    ("DeformConv", X, (f(5, 4, 3, 3), f(1, 18, 4, 6)), {}, 22),
    ("Attention", [f(1, 2, 5, 4), f(1, 2, 6, 4), f(1, 2, 6, 3)], (), {}, 23),
    ("Attention", [f(1, 5, 8), f(1, 6, 8), f(1, 6, 6)], (), {"q_num_heads": 2, "kv_num_heads": 2}, 23),
    ("RandomNormalLike", X, (), {}),
    ("Resize", X, (None, None, i(9, 5)), {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, 18),
    ("Resize", X, (None, None, i(9, 5)), {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}, 18),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{at}-{case[0]}" for at, case in enumerate(CASES)])
def test_a_shape_is_what_onnxruntime_gives(case: tuple[Any, ...]) -> None:
    """For inputs of a known shape, and for constants, whose value is followed where it is small."""
    op, x, constants, attributes, *rest = case
    opset = rest[0] if rest else 20 if op == "Gelu" else 22 if op == "Mish" else 18
    kind = rest[1] if len(rest) > 1 else None
    model, inputs = one_node(op, x, constants, opset, attributes, outputs_of(op), kind)
    expected = select_engine("onnxruntime").compile(model).run(inputs)
    if op not in ("ConstantOfShape", "Range"):
        found = model.graph.shapes({name: (value.dtype, value.shape) for name, value in inputs.items()})
        assert (found["y"].dtype, found["y"].shape) == (expected.dtype, expected.shape)
    proto = onnx.ModelProto.FromString(model.to_bytes())
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in inputs.items())
    constant = Graph(proto, "f").constants([])["y"]
    assert (constant.dtype, constant.shape) == (expected.dtype, expected.shape)
    if constant.value is not None:
        np.testing.assert_allclose(constant.value, expected, rtol=1e-6)


def test_every_operator_of_the_torch_engine_is_known() -> None:
    assert test_operators.supported_operators() <= known_operators()


def chain(*nodes: onnx.NodeProto, **constants: list[int]) -> bytes:
    tensors = [onnx.numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, None, None])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    proto = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    return bytes(proto.SerializeToString())


def test_shapes_that_are_computed_in_the_graph() -> None:
    """As exporters write view( ) with a size of the input: Shape, Gather, Concat, Reshape."""
    node = helper.make_node
    model = load(
        chain(
            node("Shape", ["x"], ["size"]),
            node("Gather", ["size", "two"], ["rows"]),
            node("Div", ["rows", "two"], ["half"]),
            node("Concat", ["one", "six", "half", "rest"], ["wanted"], axis=0),
            node("Reshape", ["x", "wanted"], ["y"]),
            one=[1], two=[2], six=[6], rest=[-1],
        )
    )  # fmt: skip
    assert model.cost({"x": (1, 6, 10, 8)}).output_shape == (1, 6, 5, 16)


def test_a_picture_is_filled_up_to_a_multiple() -> None:
    """(4 - rows % 4) % 4 rows more, as networks with windows or strides do it themselves."""
    node = helper.make_node
    model = load(
        chain(
            node("Shape", ["x"], ["size"]),
            node("Gather", ["size", "two"], ["rows"]),
            node("Mod", ["rows", "four"], ["rest"]),
            node("Sub", ["four", "rest"], ["missing"]),
            node("Mod", ["missing", "four"], ["more"]),
            node("Concat", ["zeros", "more", "zero"], ["pads"], axis=0),
            node("Pad", ["x", "pads"], ["y"]),
            two=[2], four=[4], zero=[0], zeros=[0] * 6,
        )
    )  # fmt: skip
    assert [model.cost({"x": (1, 6, rows, 8)}).output_shape[2] for rows in (8, 9, 10, 11, 12)] == [8, 12, 12, 12, 12]


def test_a_remainder_by_zero_is_an_error() -> None:
    with pytest.raises(NnpfError, match="a division by 0"):
        load(chain(helper.make_node("Mod", ["two", "zero"], ["y"]), two=[2], zero=[0]))


def test_a_size_below_zero_is_an_error() -> None:
    """onnx's own inference aborts the process at the Slice behind it."""
    node = helper.make_node
    model = load(
        chain(
            node("Pad", ["x", "pads"], ["z"]),
            node("Slice", ["z", "start", "end", "axis"], ["y"]),
            pads=[0, 0, -100, 0, 0, 0, 0, 0], start=[0], end=[3], axis=[2],
        ),
        "f.onnx",
    )  # fmt: skip
    with pytest.raises(NnpfError, match=r"f.onnx: does not fit .*: operator Pad \(z\): its output would be .* -92, 8"):
        model.cost({"x": (1, 6, 8, 8)})


def test_what_depends_on_data_is_an_error() -> None:
    model = load(chain(helper.make_node("NonZero", ["x"], ["i"]), helper.make_node("Cast", ["i"], ["y"], to=1)))
    with pytest.raises(NnpfError, match=r"operator NonZero \(i\): the shape of its output depends on data"):
        model.cost({"x": (1, 6, 8, 8)})


def test_constants_that_grow_are_refused_when_a_model_is_read() -> None:
    node = helper.make_node
    nodes = [node("ConstantOfShape", ["s"], [f"c{at}"]) for at in range(3)]
    with pytest.raises(NnpfError, match=r"f: its constants would take 6144 MiB \(--set-limit patch_bytes=N\)"):
        load(chain(*nodes, node("Relu", ["x"], ["y"]), s=[1 << 14, 1 << 15]), "f")


@pytest.mark.parametrize(
    ("op", "inputs", "attributes"),
    [
        ("Conv", "x w", {"group": 0}),
        ("Conv", "x w", {"strides": [0, 1]}),
        ("Conv", "x w", {"pads": [-9, 0, 0, 0]}),
        ("Conv", "x s", {}),
        ("Reshape", "x s", {"allowzero": 7}),
        ("Slice", "x s s s s", {}),
        ("Transpose", "x", {"perm": [0, 0, 1, 2]}),
        ("DepthToSpace", "x", {"blocksize": -1}),
        ("SpaceToDepth", "x", {"blocksize": 0}),
        ("MaxPool", "x", {"kernel_shape": [3]}),
        ("MaxPool", "x", {"kernel_shape": [1 << 62, 1 << 62]}),
        ("Tile", "x s", {}),
        ("Squeeze", "x s", {}),
        ("Unsqueeze", "x big", {}),
        ("Expand", "x big", {}),
        ("Resize", "x", {}),
        ("Einsum", "x", {"equation": "abcdefghij->a"}),
        ("Gather", "x s", {"axis": 99}),
        ("Split", "x big", {}),
        ("ConvTranspose", "x w", {"output_shape": [-4, 1 << 40]}),
        ("Concat", "x w", {"axis": "0"}),
        ("LSTM", "x w w", {}),
        ("STFT", "x w", {}),
        ("Attention", "x w w", {}),
        ("RandomNormal", "", {"shape": [-1]}),
    ],
)
def test_a_node_that_makes_no_sense_is_one_error(op: str, inputs: str, attributes: dict[str, Any]) -> None:
    proto = onnx.ModelProto.FromString(
        chain(
            helper.make_node(op, inputs.split(), ["y"], **attributes),
            s=[0, -1, 5, -(1 << 63)], big=[1 << 62] * 4, w=[7],
        )
    )  # fmt: skip
    with pytest.raises(ShapeError, match=rf"^f: operator {op} \(y\): "):
        Graph(proto, "f").shapes({"x": (np.dtype(np.float32), (1, 6, 8, 8))})
