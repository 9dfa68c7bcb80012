"""Channels of zeros between convolutions: the same result, in tiles that are full."""

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import pytest
from onnx import helper

from nnpf.engines.widening import widened
from nnpf.model import Model
from tests.nnpf.onnx_graphs import Array, graph


def network(channels: int, kernel: int, between: list[tuple[str, list[Array]]], opset: int = 20) -> Model:
    """Two convolutions, 3 -> `channels` -> 2, with operators between them: each with its constants."""
    rng = np.random.default_rng(channels)
    constants = {
        "w1": rng.standard_normal((channels, 3, 3, 3), np.float32),
        "b1": rng.standard_normal(channels, np.float32),
        "w2": rng.standard_normal((2, channels, kernel, kernel), np.float32),
    }
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["t0"], pads=[1] * 4)]
    for at, (operator, values) in enumerate(between):
        names = [f"c{at}_{index}" for index in range(len(values))]
        constants |= dict(zip(names, values, strict=True))
        nodes.append(helper.make_node(operator, [f"t{at}", *names], [f"t{at + 1}"]))
    nodes.append(helper.make_node("Conv", [f"t{len(between)}", "w2"], ["y"]))
    return graph(nodes, {"x": (["n", 3, "h", "w"], 1)}, constants=constants, output_rank=4, opset=opset)


def channels_inside(model: Model) -> int:
    return int(model.parameters[model.proto.graph.node[0].input[1]].shape[0])


def results(model: Model) -> Array:
    session = ort.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    value: Array = session.run(None, {"x": np.random.default_rng(1).standard_normal((2, 3, 9, 7), np.float32)})[0]
    return value


def per_channel(channels: int, rank: int = 4) -> Array:
    values = np.random.default_rng(2).standard_normal(channels).astype(np.float32)
    return values.reshape((1, channels, 1, 1)[-rank:])


@pytest.mark.parametrize(
    ("channels", "kernel", "wide"),
    [(24, 1, 24), (32, 1, 32), (33, 1, 64), (72, 1, 96), (72, 3, 72), (96, 3, 96), (112, 3, 128), (56, 3, 64)],
)
def test_where_it_gains(channels: int, kernel: int, wide: int) -> None:
    model = network(channels, kernel, [("Relu", [])])
    assert channels_inside(widened(model)) == wide


def test_what_gains_nothing_is_the_model_itself() -> None:
    model = network(32, 1, [("Relu", [])])
    assert widened(model) is model


@pytest.mark.parametrize(
    "between",
    [
        [],
        [("LeakyRelu", []), ("Mul", [np.float32(3)]), ("Clip", [np.float32(-1), np.float32(1)])],
        [("Mul", [per_channel(40)]), ("Add", [per_channel(40, 3)]), ("PRelu", [per_channel(40, 3)])],
        [("Sub", [per_channel(40)]), ("Gelu", []), ("Sigmoid", [])],
    ],
    ids=["none", "one value", "per channel", "activations"],
)
def test_the_result_is_the_same(between: list[tuple[str, list[Array]]]) -> None:
    model = network(40, 1, between)
    wide = widened(model)
    assert channels_inside(wide) == 64
    np.testing.assert_allclose(results(wide), results(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "between",
    [
        [("Softmax", [])],  # over rows, but it might be over channels
        [("Mul", [np.ones((1, 40, 9, 7), np.float32)])],
        [("Mul", [np.ones((40,), np.float32)[:7]])],  # a value for each column
        [("Transpose", []), ("Transpose", [])],
    ],
    ids=["softmax", "a value for each sample", "for each column", "transposed"],
)
def test_what_looks_at_channels_otherwise_stays(between: list[tuple[str, list[Array]]]) -> None:
    model = network(40, 1, between)
    assert widened(model) is model


def residual(*, both_grow: bool) -> Model:
    """x -> a -> a + b(a) -> y; or the sum also goes out through something that knows its channels."""
    rng = np.random.default_rng(0)
    constants = {
        "wa": rng.standard_normal((40, 3, 1, 1), np.float32),
        "wb": rng.standard_normal((40, 40, 1, 1), np.float32),
        "wy": rng.standard_normal((3, 40, 1, 1), np.float32),
        "shared": per_channel(40),
    }
    nodes = [
        helper.make_node("Conv", ["x", "wa"], ["a"]),
        helper.make_node("Mul", ["a", "shared"], ["am"]),
        helper.make_node("Conv", ["am", "wb"], ["b"]),
        helper.make_node("Mul", ["b", "shared"], ["bm"]),
        helper.make_node("Add", ["am", "bm"], ["sum"]),
        helper.make_node("Conv", ["sum", "wy"], ["made"]),
    ]
    if both_grow:
        nodes.append(helper.make_node("Add", ["made", "x"], ["y"]))
    else:
        nodes.append(helper.make_node("ReduceMean", ["sum"], ["mean"], axes=[1], keepdims=1))
        nodes.append(helper.make_node("Add", ["made", "mean"], ["y"]))
    return graph(nodes, {"x": (["n", 3, "h", "w"], 1)}, constants=constants, output_rank=4, opset=17)


def test_tensors_that_are_added_grow_together() -> None:
    model = residual(both_grow=True)
    wide = widened(model)
    assert {parameter.shape for parameter in wide.parameters.values()} == {
        (64, 3, 1, 1),
        (64, 64, 1, 1),
        (3, 64, 1, 1),
        (1, 64, 1, 1),  # used twice, filled up once
    }
    np.testing.assert_allclose(results(wide), results(model), rtol=1e-5, atol=1e-5)


def test_or_not_at_all() -> None:
    model = residual(both_grow=False)
    assert widened(model) is model


def test_convolutions_in_groups_stay() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "wa": rng.standard_normal((40, 3, 1, 1), np.float32),
        "wd": rng.standard_normal((40, 1, 3, 3), np.float32),
        "wy": rng.standard_normal((2, 40, 1, 1), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "wa"], ["a"]),
        helper.make_node("Conv", ["a", "wd"], ["d"], group=40),
        helper.make_node("Conv", ["d", "wy"], ["y"]),
    ]
    model = graph(nodes, {"x": (["n", 3, "h", "w"], 1)}, constants=constants, output_rank=4)
    assert widened(model) is model
