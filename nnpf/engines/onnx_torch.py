"""An ONNX graph as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from nnpf.engines import onnx_integer
from nnpf.engines.onnx_integer import Dequantized
from nnpf.engines.onnx_operators import OPERATORS, Unsupported, to_tensor
from nnpf.errors import NnpfError
from nnpf.model import Model

# Inputs that are read as numbers, by operator and place; so are integers, but for those of the operators below. They
# stay on the CPU: a GPU that is asked for a number waits until it has caught up.
_NUMBERS = {"Resize": (1, 2), "Upsample": (1,), "Pad": (2,), "Range": (0, 1, 2)}
_INTEGERS_AS_TENSORS = frozenset({
    "Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max", "Sum", "Where", "Concat",
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
})  # fmt: skip
# Linear operators, which have an exact form where DequantizeLinear gives their inputs.
_LINEAR = frozenset({"Conv", "ConvTranspose", "MatMul"})
# Integers, data movement, and what IEEE arithmetic rounds alike everywhere, element by element.
# fmt: off
_EXACT = frozenset({
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul",
    "Add", "Sub", "Mul", "Div", "Min", "Max",
    "Abs", "Neg", "Floor", "Ceil", "Round", "Sign",
    "Relu", "LeakyRelu", "PRelu", "Clip", "Cast", "CastLike",
    "Identity", "Dropout", "Where", "Equal", "Greater", "GreaterOrEqual",
    "Less", "LessOrEqual", "Not", "And", "Or", "Concat",
    "Split", "Slice", "Pad", "DepthToSpace", "SpaceToDepth", "Reshape",
    "Flatten", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Tile",
    "Gather", "Shape", "Size", "Constant", "ConstantOfShape", "Range",
    "MaxPool",
})
# fmt: on


def supported_operators() -> frozenset[str]:
    return frozenset(OPERATORS)


class _Node:
    """One node of the graph, bound to its function."""

    __slots__ = ("attributes", "function", "inputs", "label", "op", "outputs")

    def __init__(self, node: onnx.NodeProto) -> None:
        self.op = node.op_type
        self.function = OPERATORS[node.op_type]
        self.attributes = {a.name: _attribute(a) for a in node.attribute}
        self.inputs = list(node.input)
        self.outputs = list(node.output)
        if node.op_type == "Split":  # the only operator whose number of outputs is part of its meaning
            self.attributes["num_outputs"] = len(node.output)
        self.label = f"operator {node.op_type} ({node.name or node.output[0]})"


class TorchGraph(torch.nn.Module):
    """An ONNX graph as a torch module: float initialisers are its parameters, `parameter_names` their ONNX names.

    Integer vectors stay on the CPU, for shapes and indices are read from them; so does what is worked out from sizes,
    until it meets a tensor of the device.

    Attributes:
        exact: whether every result is the same bit by bit wherever and however it is computed.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model_name = model.name
        if missing := sorted(model.operators - OPERATORS.keys()):
            raise NnpfError(f"operator {missing[0]} is not covered by the torch engine", subject=model.name)
        try:
            self._nodes = [_Node(node) for node in model.proto.graph.node]
            tensors = {
                tensor.name: to_tensor(numpy_helper.to_array(tensor)) for tensor in model.proto.graph.initializer
            }
        except Unsupported as error:
            raise NnpfError(f"{error} are not covered by the torch engine", subject=model.name) from None
        self._opset = model.opset
        self._input_names = [spec.name for spec in model.inputs]
        self._output_names = list(model.output_names)
        self._constants: dict[str, Tensor] = {}
        self.parameter_names: dict[str, str] = {}  # ONNX name -> name in this module
        self._numbers: dict[str, Tensor] = {}  # initialisers that some operator reads as numbers
        used = [(name, at in _NUMBERS.get(node.op, ())) for node in self._nodes for at, name in enumerate(node.inputs)]
        as_numbers = {name for name, number in used if number}
        as_tensors = {name for name, number in used if not number} | set(self._output_names)
        for at, (name, value) in enumerate(tensors.items()):
            if name in as_numbers:
                self._numbers[name] = value.clone()
            if name not in as_tensors:
                self._constants[name] = value
            elif value.is_floating_point():
                self.parameter_names[name] = f"p{at}"
                self.register_parameter(f"p{at}", torch.nn.Parameter(value))
            elif value.dtype == torch.int64:
                self._constants[name] = value
            else:
                self.parameter_names[name] = f"p{at}"
                self.register_buffer(f"p{at}", value)
        self._behind: dict[str, Dequantized] = {}  # the integers behind outputs of DequantizeLinear that are constants
        self._frees = self._last_uses()
        self.exact = self._is_exact()

    def _last_uses(self) -> list[list[str]]:
        """For each node the values that no later one needs."""
        last_use = {name: at for at, node in enumerate(self._nodes) for name in node.inputs}
        frees: list[list[str]] = [[] for _ in self._nodes]
        for name, at in last_use.items():
            if name and name not in self._output_names:
                frees[at].append(name)
        return frees

    def _known(self) -> dict[str, Any]:
        """The values before any input is there."""
        values: dict[str, Any] = {**self._constants, "": None}  # an optional input that is left out
        for name, own in self.parameter_names.items():
            values[name] = getattr(self, own)
        return values

    def freeze(self) -> None:
        """Work out, once, what depends on no input. From now on parameters must not change any more."""
        self.requires_grad_(False)
        values, behind = self._known(), self._behind
        left = []
        with torch.no_grad():
            for node in self._nodes:
                if all(name in values for name in node.inputs):
                    self._run(node, values, behind)
                    self._constants.update((name, values[name]) for name in node.outputs if name in values)
                else:
                    left.append(node)
        self._nodes = left
        used = {name for node in left for name in node.inputs} | set(self._output_names)
        self._constants = {name: value for name, value in self._constants.items() if name in used}
        self._frees = self._last_uses()

    def forward(self, *inputs: Tensor) -> Tensor:
        """The first output. Inputs in the order of the model's inputs."""
        values, behind = self._known(), dict(self._behind)
        values.update(zip(self._input_names, inputs, strict=True))
        for node, frees in zip(self._nodes, self._frees, strict=True):
            self._run(node, values, behind)
            for name in frees:
                values.pop(name, None)
                behind.pop(name, None)
        output: Tensor = values[self._output_names[0]]
        return output

    def _run(self, node: _Node, values: dict[str, Any], behind: dict[str, Dequantized]) -> None:
        try:
            result = self._evaluate(node, values, behind)
        except NnpfError:
            raise
        except (Unsupported, RuntimeError, ValueError, TypeError, IndexError, KeyError, ArithmeticError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise NnpfError(f"{node.label}: {reason}", subject=self.model_name) from None
        if isinstance(result, (tuple, list)):
            values.update(zip(node.outputs, result, strict=False))
        else:
            values[node.outputs[0]] = result

    def _evaluate(self, node: _Node, values: dict[str, Any], behind: dict[str, Dequantized]) -> Any:
        numbers = _NUMBERS.get(node.op, ())
        inputs = [
            self._numbers.get(name, values[name]) if at in numbers else values[name]
            for at, name in enumerate(node.inputs)
        ]
        inputs = _together(node, inputs)
        if node.op == "DequantizeLinear" and (found := onnx_integer.dequantized(node.attributes, *inputs)) is not None:
            behind[node.outputs[0]] = found
        elif node.op in _LINEAR and all(name in behind for name in node.inputs[:2]):
            x, weight = (behind[name] for name in node.inputs[:2])
            exact = onnx_integer.exact_linear(node.op, node.attributes, self._opset, x, weight, *inputs[2:])
            if exact is not None:
                return exact
        return node.function(node.attributes, self._opset, *inputs)

    def _is_exact(self) -> bool:
        made_by = {name: node.op for node in self._nodes for name in node.outputs}
        quantised = [name for name, op in made_by.items() if op == "DequantizeLinear"]
        return all(
            node.op in _EXACT or (node.op in _LINEAR and all(name in quantised for name in node.inputs[:2]))
            for node in self._nodes
        )


def _together(node: _Node, inputs: list[Any]) -> list[Any]:
    """Tensors that were worked out on the CPU, on the device of those that they meet."""
    device = next((x.device for x in inputs if isinstance(x, Tensor) and x.device.type != "cpu"), None)
    if device is None:
        return inputs
    integers, numbers = node.op in _INTEGERS_AS_TENSORS, _NUMBERS.get(node.op, ())
    return [
        x.to(device)
        if isinstance(x, Tensor) and x.ndim and at not in numbers and (integers or x.dtype != torch.int64)
        else x
        for at, x in enumerate(inputs)
    ]


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return to_tensor(numpy_helper.to_array(value))
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
