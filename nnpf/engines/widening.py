"""Graphs with more channels inside and the same result, for processors whose kernels want full tiles.

AMX multiplies tiles of 32 bfloat16 channels. For a convolution of 72 channels OpenVINO copies the last 8 into a tile of
their own, for every position; that costs more than 24 channels of zeros would. So channels of zeros are added between
convolutions: their weights are 0, and what they hold meets weights of 0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from nnpf.model import Array, Model

# bfloat16 channels in a tile of AMX.
AMX_CHANNELS = 32
# Convolutions larger than 1x1 lose less at the rest: measured on a Xeon, 56 -> 64 and 112 -> 128 channels gain there,
# 40 -> 64 and 72 -> 96 lose. 1x1 gains by all of them; up to 32 channels nothing gains.
_WORTH = 8 / 7

# Of one tensor and constants of one value; they give a number for 0.
_ELEMENTWISE = frozenset(
    {"Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mish", "Relu", "Sigmoid", "Softplus"}
    | {"Selu", "Softsign", "Tanh"}
)
# Of tensors, and of constants with a value for each channel.
_CHANNELWISE = frozenset({"Add", "Mul", "PRelu", "Sub"})


@dataclass(slots=True, eq=False)
class _Group:
    """Tensors that have the same channels, because operators between them take each channel for itself.

    Attributes:
        made: channels, as the convolutions say whose output is in it, and constants with a value for each.
        taken: channels and positions of the kernel of the convolutions whose input is in it.
        free: whether nothing else makes or takes them.
    """

    made: set[int] = field(default_factory=set)
    taken: set[tuple[int, int]] = field(default_factory=set)
    free: bool = True

    def width(self, step: int) -> int | None:
        """How many channels it is to have; None where it stays as it is."""
        if not self.free or len(self.made) != 1 or not self.taken or {count for count, _ in self.taken} != self.made:
            return None
        (channels,) = self.made
        wide = -(-channels // step) * step
        if channels <= step or wide == channels:
            return None
        return wide if wide <= channels * _WORTH or all(size == 1 for _, size in self.taken) else None


class _Graph:
    """Who makes and takes what."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        given = {value.name for value in graph.input}
        self.constants = {
            tensor.name: tensor
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.name not in given
        }
        self._parents: dict[str, str] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)
        for name in (*given, *(value.name for value in graph.output)):
            self.group(name).free = False
        for node in graph.node:
            self._take(node)

    def group(self, name: str) -> _Group:
        return self._groups[self._root(name)]

    def _root(self, name: str) -> str:
        while (parent := self._parents.get(name, name)) != name:
            name = self._parents[name] = self._parents.get(parent, parent)  # shortens the way for the next time
        return name

    def _join(self, names: list[str]) -> _Group:
        roots = list(dict.fromkeys(self._root(name) for name in names))
        first = self._groups[roots[0]]
        for root in roots[1:]:
            other = self._groups.pop(root, _Group())
            self._parents[root] = roots[0]
            first.made |= other.made
            first.taken |= other.taken
            first.free &= other.free
        return first

    def _take(self, node: onnx.NodeProto) -> None:
        given = [name for name in node.input if name]
        if self.is_convolution(node):
            channels, taken, *size = self.constants[given[1]].dims
            self.group(node.output[0]).made.add(channels)
            self.group(given[0]).taken.add((taken, math.prod(size)))
            return
        tensors = [name for name in given if name not in self.constants]
        constants = [self.constants[name] for name in given if name in self.constants]
        group = self._join([*tensors, *(name for name in node.output if name)])
        if node.op_type in _ELEMENTWISE:
            group.free &= len(tensors) == 1 and all(_is_one(constant) for constant in constants)
        elif node.op_type in _CHANNELWISE:
            for constant in constants:
                if _is_per_channel(constant):
                    group.made.add(constant.dims[-3])
                else:
                    group.free &= _is_one(constant)
        else:
            group.free = False

    def is_convolution(self, node: onnx.NodeProto) -> bool:
        """Whether it is one of two dimensions and all channels, with weights that are known."""
        return (
            node.op_type == "Conv"
            and all(name in self.constants for name in node.input[1:] if name)
            and len(self.constants[node.input[1]].dims) == 4
            and all(attribute.i == 1 for attribute in node.attribute if attribute.name == "group")
        )


def _is_one(tensor: onnx.TensorProto) -> bool:
    return math.prod(int(size) for size in tensor.dims) == 1


def _is_per_channel(tensor: onnx.TensorProto) -> bool:
    dims = [int(size) for size in tensor.dims]
    return len(dims) in (3, 4) and dims[-3] > 1 and math.prod(dims) == dims[-3]


def widened(model: Model, step: int = AMX_CHANNELS) -> Model:
    """The model with the channels between its convolutions filled up to multiples of `step`, where that gains.

    Its result is that of the model; where nothing gains, it is the model itself.
    """
    graph = _Graph(model.proto.graph)
    if not any(graph.group(node.output[0]).width(step) for node in model.proto.graph.node if node.op_type == "Conv"):
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    made: dict[str, onnx.TensorProto] = {}

    def wide(name: str, shape: Iterable[int]) -> str:
        """The name of a constant, filled up with zeros to a shape."""
        tensor, shape = graph.constants[name], tuple(shape)
        if tuple(tensor.dims) == shape:
            return name
        new = f"{name} {'x'.join(map(str, shape))}"
        if new not in made:
            values: Array = numpy_helper.to_array(tensor)
            missing = [(0, want - have) for want, have in zip(shape, values.shape, strict=True)]
            made[new] = numpy_helper.from_array(np.pad(values, missing), new)
        return new

    for node in proto.graph.node:
        if graph.is_convolution(node):
            out, into, *size = graph.constants[node.input[1]].dims
            out = graph.group(node.output[0]).width(step) or out
            into = graph.group(node.input[0]).width(step) or into
            node.input[1] = wide(node.input[1], (out, into, *size))
            if len(node.input) > 2 and node.input[2]:
                node.input[2] = wide(node.input[2], (out,))
        elif node.op_type in _CHANNELWISE and (width := graph.group(node.output[0]).width(step)) is not None:
            for at, name in enumerate(node.input):
                if name in graph.constants and not _is_one(graph.constants[name]):
                    node.input[at] = wide(name, (*graph.constants[name].dims[:-3], width, 1, 1))
    proto.graph.initializer.extend(made.values())
    del proto.graph.value_info[:]  # they say how many channels there were
    used = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return Model(proto, model.name)
