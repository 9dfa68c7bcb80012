"""ONNX models changed field by field: flipped bits mostly make a protobuf that cannot be parsed, and test protobuf."""

from __future__ import annotations

import contextlib
import random

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 4096, 65536, 1 << 31, (1 << 31) - 1, 1 << 40, -(1 << 63), (1 << 63) - 1)
OPERATORS = (
    "Add", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace",
    "DequantizeLinear", "Einsum", "Expand", "Flatten", "Gather", "GatherElements", "Gemm", "If", "Loop", "LSTM",
    "MatMul", "MaxPool", "OneHot", "PRelu", "Pad", "QLinearConv", "QuantizeLinear", "Range", "ReduceMean", "Reshape",
    "Resize", "Scan", "Shape", "Slice", "Softmax", "SpaceToDepth", "Split", "Squeeze", "StringNormalizer", "Tile",
    "TopK", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip


def mutated_model(data: bytes, max_size: int, seed: int) -> bytes:
    """The model with a few fields changed; other bytes where it is no model."""
    rng = random.Random(seed)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return data[:max_size]
    for _ in range(rng.choice((1, 1, 2, 5))):
        with contextlib.suppress(ValueError, TypeError):  # of protobuf, for names that are no UTF-8
            _change(rng, model)
    out: bytes = model.SerializeToString()
    return out if len(out) <= max_size else data[:max_size]


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    found = [name for node in graph.node for name in (*node.input, *node.output)]
    found += [tensor.name for tensor in graph.initializer] + [value.name for value in (*graph.input, *graph.output)]
    return found or ["x"]


def _change(rng: random.Random, model: onnx.ModelProto) -> None:
    graph = model.graph
    kind = rng.randrange(12)
    if kind == 0 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        if tensor.dims and rng.random() < 0.7:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
        else:
            tensor.dims.append(rng.choice(NUMBERS))
    elif kind == 1 and graph.initializer:
        tensor = rng.choice(graph.initializer)
        change = rng.randrange(5)
        if change == 0:
            tensor.data_type = rng.randrange(30)
        elif change == 1:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
        elif change == 2 and tensor.raw_data:
            content = bytearray(tensor.raw_data)
            content[rng.randrange(len(content))] = rng.choice((0, 1, 127, 128, 255))
            tensor.raw_data = bytes(content)
        elif change == 3:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=rng.choice(("../../etc/passwd", "/etc/passwd", "w.bin", "")))
        else:
            graph.initializer.remove(tensor)
    elif kind in (2, 3) and graph.node:
        node = rng.choice(graph.node)
        names = _names(model)
        which = node.input if kind == 2 else node.output
        if which and rng.random() < 0.7:
            which[rng.randrange(len(which))] = rng.choice((*names, "", "new"))
        elif rng.random() < 0.5 and which:
            del which[rng.randrange(len(which))]
        else:
            which.append(rng.choice(names))
    elif kind == 4 and graph.node:
        rng.choice(graph.node).op_type = rng.choice(OPERATORS)
    elif kind == 5 and graph.node:
        node = rng.choice(graph.node)
        if node.attribute and rng.random() < 0.8:
            attribute = rng.choice(node.attribute)
            if attribute.ints and rng.random() < 0.7:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
            elif attribute.type == onnx.AttributeProto.INT:
                attribute.i = rng.choice(NUMBERS)
            elif attribute.type == onnx.AttributeProto.STRING:
                attribute.s = rng.choice((b"", b"linear", b"cubic", b"edge", b"wrap", b"\xff"))
            else:
                attribute.type = rng.randrange(15)
        else:
            name = rng.choice(
                ("axis", "axes", "group", "kernel_shape", "pads", "strides", "dilations", "auto_pad", "to")
            )
            attribute = node.attribute.add(name=name)
            attribute.type = onnx.AttributeProto.INTS
            attribute.ints.extend(rng.choice(NUMBERS) for _ in range(rng.randrange(5)))
    elif kind == 6 and graph.node:
        graph.node.insert(rng.randrange(len(graph.node) + 1), rng.choice(graph.node))
    elif kind == 7 and graph.node:
        node = graph.node[rng.randrange(len(graph.node))]
        graph.node.remove(node)
    elif kind == 8:
        value = rng.choice([*graph.input, *graph.output] or [graph.input.add(name="x")])
        shape = value.type.tensor_type.shape.dim
        if shape and rng.random() < 0.7:
            shape[rng.randrange(len(shape))].dim_value = rng.choice(NUMBERS)
        elif shape and rng.random() < 0.5:
            del shape[rng.randrange(len(shape))]
        else:
            value.type.tensor_type.elem_type = rng.randrange(30)
    elif kind == 9:
        if model.opset_import and rng.random() < 0.8:
            model.opset_import[0].version = rng.choice((*NUMBERS, 1, 6, 9, 11, 13, 17, 18, 21, 23))
        else:
            model.opset_import.add(domain=rng.choice(("", "com.microsoft", "ai.onnx.ml")), version=1)
    elif kind == 10:
        names = _names(model)
        graph.initializer.append(
            onnx.helper.make_tensor(
                rng.choice(names), onnx.TensorProto.INT64, [4], [rng.choice(NUMBERS) for _ in range(4)]
            )
        )
    elif graph.node:
        rng.choice(graph.node).domain = rng.choice(("com.microsoft", "x", "ai.onnx"))
