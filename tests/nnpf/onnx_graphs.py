"""Small ONNX models for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nnpf.model import Model, load

Array = np.ndarray[Any, Any]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[Sequence[int | str | None], int]],
    output: str = "y",
    constants: Mapping[str, Array] | None = None,
    output_type: int = TensorProto.FLOAT,
    output_rank: int | None = None,
    opset: int = 18,
) -> Model:
    """A model of these nodes; inputs are (shape, element type) by name."""
    shape = None if output_rank is None else [None] * output_rank
    proto = helper.make_model(
        helper.make_graph(
            list(nodes),
            "test",
            [helper.make_tensor_value_info(name, kind, dims) for name, (dims, kind) in inputs.items()],
            [helper.make_tensor_value_info(output, output_type, shape)],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    if output_rank is None:
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
        if not proto.graph.output[0].type.tensor_type.HasField("shape"):  # then as the first input
            rank = len(proto.graph.input[0].type.tensor_type.shape.dim)
            proto.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, output_type, [None] * rank))
    return load(proto.SerializeToString(), "test.onnx")


def outputs_of(op: str) -> int:
    """How many outputs an operator has in the tests."""
    return {"Split": 2, "TopK": 2}.get(op, 1)


def one_node(
    op: str,
    x: Array | Sequence[Array],
    constants: Sequence[Array | None] = (),
    opset: int = 18,
    attributes: Mapping[str, Any] | None = None,
    outputs: int = 1,
    output_type: int | None = None,
) -> tuple[Model, dict[str, Array]]:
    """A model of one operator, and its inputs. Constants follow the inputs; None leaves one out."""
    arrays = [x] if isinstance(x, np.ndarray) else list(x)
    values = {f"x{at}": array for at, array in enumerate(arrays)}
    names = list(values)
    held: dict[str, Array] = {}
    for at, constant in enumerate(constants):
        names.append("" if constant is None else f"c{at}")
        if constant is not None:
            held[f"c{at}"] = constant
    node = helper.make_node(op, names, ["y", *(f"y{at}" for at in range(1, outputs))], **dict(attributes or {}))
    inputs = {name: (array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)) for name, array in values.items()}
    first = helper.np_dtype_to_tensor_dtype(arrays[0].dtype) if arrays else TensorProto.FLOAT
    return graph([node], inputs, "y", held, output_type or first, None, opset), values


def identity_filter(
    channels_in: int, channels_out: int, overlap: int, *, gain: float = 1.0, offset: float = 0.0
) -> Model:
    """Takes the first channels, times `gain` plus `offset`, by a valid convolution of (2 * overlap + 1) squared."""
    size = 2 * overlap + 1
    weight = np.zeros((channels_out, channels_in, size, size), np.float32)
    for channel in range(channels_out):
        weight[channel, channel, overlap, overlap] = gain
    bias = np.full(channels_out, offset, np.float32)
    node = helper.make_node("Conv", ["input", "weight", "bias"], ["output"])
    return graph(
        [node],
        {"input": ((None, channels_in, None, None), TensorProto.FLOAT)},
        "output",
        {"weight": weight, "bias": bias},
        output_rank=4,
    )


def blur_filter(channels_in: int, channels_out: int, overlap: int, seed: int = 0, batch: int | None = None) -> Model:
    """A random valid convolution with a nonlinearity: what it gives depends on every sample within `overlap`."""
    rng = np.random.default_rng(seed)
    size = 2 * overlap + 1
    weight = rng.random((channels_out, channels_in, size, size), dtype=np.float32)
    weight /= weight.sum(axis=(1, 2, 3), keepdims=True)
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["mixed"]),
        helper.make_node("LeakyRelu", ["mixed"], ["output"], alpha=0.1),
    ]
    return graph(
        nodes,
        {"input": ((batch, channels_in, None, None), TensorProto.FLOAT)},
        "output",
        {"weight": weight},
        output_rank=4,
    )


def halving_filter(times: int) -> Model:
    """Quads in, quads out, through the mean of `times` x `times` units, as a U-net has it at its bottom."""
    nodes = [
        helper.make_node("AveragePool", ["input"], ["small"], kernel_shape=[times, times], strides=[times, times]),
        helper.make_node("Resize", ["small", "", "scales"], ["output"], mode="nearest"),
    ]
    return graph(
        nodes,
        {"input": ((None, 6, None, None), TensorProto.FLOAT)},
        "output",
        {"scales": np.array([1, 1, times, times], np.float32)},
        output_rank=4,
    )
