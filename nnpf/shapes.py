"""Shapes and element types inside a graph, from those of its inputs, and the values of what is small and constant.

onnx has such an inference too, in C++ that ends the process for some hostile graphs, and copies all weights each time.
This one only adds and multiplies integers: whatever a graph says, it ends in shapes, or in an error that names the
operator. Every input has a known shape, so nothing is symbolic; what depends on data is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from nnpf import limits
from nnpf.errors import NnpfError

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Attributes = Mapping[str, Any]

# Values of tensors with more elements are not looked at: shapes, axes and scales have fewer.
_VALUED_ELEMENTS = 1024
# Of a tensor; numpy ends at 64.
_MAX_RANK = 32
_INT64, _BOOL, _INT32 = np.dtype(np.int64), np.dtype(np.bool_), np.dtype(np.int32)


class ShapeError(NnpfError):
    """A node that does not fit its inputs. `data`: its output's shape depends on data."""

    def __init__(self, problem: str, *, subject: str | None = None, data: bool = False) -> None:
        super().__init__(problem, subject=subject)
        self.data = data


class Tensor(NamedTuple):
    """What is known of a tensor. `value`: its elements, where they are few and constant."""

    dtype: np.dtype[Any]
    shape: Shape
    value: Array | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class _Node:
    op: str
    label: str
    attributes: Attributes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int


Inputs = Sequence[Tensor | None]
Rule = Callable[[_Node, Inputs], "Tensor | tuple[Tensor, ...]"]
_RULES: dict[str, Rule] = {}


def known_operators() -> frozenset[str]:
    """The operators whose shapes are known here."""
    return frozenset(_RULES)


class Graph:
    """A graph, read once, for any number of input shapes. `name`: of the model, for errors."""

    def __init__(self, proto: onnx.ModelProto, name: str) -> None:
        self._name = name
        opset = next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self._nodes = [_read(node, opset) for node in proto.graph.node]
        self._constants = {tensor.name: _constant(tensor) for tensor in proto.graph.initializer}

    def shapes(self, inputs: Mapping[str, tuple[np.dtype[Any], Shape]]) -> dict[str, Tensor]:
        """All tensors by name, for these inputs.

        Raises:
            ShapeError: a node does not fit, or its shape depends on data.
            NnpfError: a tensor passes `tensor_elements`.
        """
        known = self._constants | {name: Tensor(dtype, shape) for name, (dtype, shape) in inputs.items()}
        for node in self._nodes:
            known.update(zip(node.outputs, self._outputs(node, known), strict=False))
        return known

    def constants(self, inputs: Sequence[str]) -> dict[str, Tensor]:
        """The tensors that do not depend on these inputs; what engines compute while they read a model.

        Raises:
            ShapeError, NnpfError: as `shapes`.
        """
        known = {name: tensor for name, tensor in self._constants.items() if name not in inputs}
        for node in self._nodes:
            if all(name in known for name in node.inputs if name):
                known.update(zip(node.outputs, self._outputs(node, known), strict=False))
        return known

    def _outputs(self, node: _Node, known: Mapping[str, Tensor]) -> Iterator[Tensor]:
        rule = _RULES.get(node.op)
        if rule is None:
            raise ShapeError(f"{node.label}: nothing is known of this operator's shapes", subject=self._name)
        try:
            with np.errstate(all="ignore"):
                found = rule(node, [known[name] if name else None for name in node.inputs])
        except ShapeError as error:
            raise ShapeError(f"{node.label}: {error.problem}", subject=self._name, data=error.data) from None
        except (LookupError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
            # An attribute or an input that is missing, or of another type: the rules below read as if all were there.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"{node.label}: its inputs or attributes do not fit it ({reason})"
            raise ShapeError(problem, subject=self._name) from None
        for tensor in (found,) if isinstance(found, Tensor) else found:
            yield self._checked(tensor, node)

    def _checked(self, tensor: Tensor, node: _Node) -> Tensor:
        if len(tensor.shape) > _MAX_RANK or any(not isinstance(size, int) or size < 0 for size in tensor.shape):
            raise ShapeError(f"{node.label}: its output would be {list(tensor.shape)}", subject=self._name)
        if tensor.elements > (allowed := limits.current().tensor_elements):
            problem = f"{node.label}: its output would be {list(tensor.shape)}; at most {allowed} elements"
            raise limits.exceeded("tensor_elements", problem, subject=self._name)
        return tensor


def _read(node: onnx.NodeProto, opset: int) -> _Node:
    label = f"operator {node.op_type} ({node.name or (node.output[0] if node.output else '')})"
    attributes = {}
    for attribute in node.attribute:
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError:
            continue  # of a type that no operator here has
        attributes[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return _Node(node.op_type, label, attributes, tuple(node.input), tuple(node.output), opset)


def _constant(tensor: onnx.TensorProto) -> Tensor:
    shape = tuple(tensor.dims)
    small = math.prod(shape) <= _VALUED_ELEMENTS and tensor.data_type != onnx.TensorProto.STRING
    return Tensor(_dtype(tensor.data_type), shape, numpy_helper.to_array(tensor) if small else None)


def _dtype(elem_type: int) -> np.dtype[Any]:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, TypeError, ValueError):
        raise ShapeError(f"element type {elem_type} is not known") from None


# --- what rules are made of ------------------------------------------------------------------------------------------


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for name in names:
            _RULES[name] = rule
        return rule

    return register


def _given(inputs: Inputs, at: int) -> Tensor:
    found = inputs[at] if at < len(inputs) else None
    if found is None:
        raise ShapeError(f"input {at} is missing")
    return found


def _optional(inputs: Inputs, at: int) -> Tensor | None:
    return inputs[at] if at < len(inputs) else None


def _values(tensor: Tensor) -> list[Any]:
    """The elements of a small constant."""
    if tensor.value is None:
        raise ShapeError("the shape depends on data", data=True)
    listed: list[Any] = tensor.value.reshape(-1).tolist()
    return listed


def _ints(tensor: Tensor) -> list[int]:
    return [int(value) for value in _values(tensor)]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> list[int]:
    found = [_axis(axis, rank) for axis in axes]
    if len(set(found)) != len(found):
        raise ShapeError(f"axes {list(axes)}: one comes twice")
    return found


def _broadcast(*shapes: Shape) -> Shape:
    """Of multidirectional broadcasting."""
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        for at, size in enumerate(shape, rank - len(shape)):
            if size != 1 and result[at] not in (1, size):
                raise ShapeError(f"shapes {', '.join(str(list(s)) for s in shapes)} do not go together")
            result[at] = size if size != 1 else result[at]
    return tuple(result)


def _small(shape: Shape) -> bool:
    return math.prod(shape) <= _VALUED_ELEMENTS


def _with_value(dtype: np.dtype[Any], shape: Shape, inputs: Inputs, compute: Callable[..., Any] | None) -> Tensor:
    """A tensor with its value, where that is few elements computed from known ones."""
    if compute is None or not _small(shape):
        return Tensor(dtype, shape)
    values = [tensor.value for tensor in inputs if tensor is not None]
    if any(value is None for value in values):
        return Tensor(dtype, shape)
    value = np.asarray(compute(*values))
    return Tensor(dtype, shape, value.astype(dtype).reshape(shape))


# --- element by element ----------------------------------------------------------------------------------------------

_UNARY: dict[str, Callable[..., Any] | None] = {
    "Abs": np.abs, "Neg": np.negative, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Sqrt": np.sqrt,
    "Sign": np.sign, "Identity": lambda x: x, "Not": np.logical_not, "Exp": np.exp, "Log": np.log,
    "Reciprocal": np.reciprocal,
}  # fmt: skip
_SAME = (
    "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Mish", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos",
    "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "LeakyRelu", "ThresholdedRelu", "Elu", "Selu", "Celu", "Gelu",
    "HardSigmoid", "Clip", "Swish", "Shrink", "BitwiseNot", "Softmax", "LogSoftmax", "Hardmax", "LpNormalization",
    "LRN", "MeanVarianceNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "CumSum",
    "CumProd", "ReverseSequence", "RotaryEmbedding", "Trilu", "ScatterElements", "ScatterND", "Scatter",
    "RandomNormalLike", "RandomUniformLike", "Bernoulli",
)  # fmt: skip


def _same(node: _Node, inputs: Inputs) -> Tensor:
    """As the first input; types that an attribute may change have the size of the first one's here, or less."""
    x = _given(inputs, 0)
    return _with_value(x.dtype, x.shape, [x], _UNARY.get(node.op))


_rule(*_UNARY, *_SAME)(_same)


def _quotient(x: Array, y: Array) -> Any:
    if x.dtype.kind == "f":
        return np.divide(x, y)
    if not np.all(y):
        raise ShapeError("a division by 0")
    return np.trunc(np.divide(x, y)) if x.dtype.itemsize < 8 else (x - np.fmod(x, y)) // y


def _remainder(fmod: int, x: Array, y: Array) -> Any:
    if x.dtype.kind != "f" and not np.all(y):
        raise ShapeError("a division by 0")
    return np.fmod(x, y) if fmod else np.mod(x, y)


_BINARY: dict[str, Callable[..., Any] | None] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _quotient, "Mod": None, "Pow": np.power,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor, "BitwiseAnd": None, "BitwiseOr": None,
    "BitwiseXor": None, "BitShift": None,
}  # fmt: skip
_COMPARISONS: dict[str, Callable[..., Any] | None] = {
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
    "LessOrEqual": np.less_equal,
}  # fmt: skip
_VARIADIC: dict[str, Callable[..., Any] | None] = {
    "Min": lambda *x: np.minimum.reduce(np.broadcast_arrays(*x)),
    "Max": lambda *x: np.maximum.reduce(np.broadcast_arrays(*x)),
    "Sum": lambda *x: np.add.reduce(np.broadcast_arrays(*x)),
    "Mean": None,
}


@_rule(*_BINARY, *_COMPARISONS)
def _binary(node: _Node, inputs: Inputs) -> Tensor:
    x, y = _given(inputs, 0), _given(inputs, 1)
    # Up to operator set 6, y is fitted to x by attributes.
    shape = x.shape if node.opset < 7 and node.attributes.get("broadcast", 0) else _broadcast(x.shape, y.shape)
    compute = {**_BINARY, **_COMPARISONS}[node.op] if node.opset >= 7 else None
    if node.op == "Mod":  # (16 - rows % 16) % 16: how networks fill up what they take
        compute = partial(_remainder, node.attributes.get("fmod", 0))
    return _with_value(_BOOL if node.op in _COMPARISONS else x.dtype, shape, [x, y], compute)


@_rule(*_VARIADIC)
def _variadic(node: _Node, inputs: Inputs) -> Tensor:
    tensors = [_given(inputs, at) for at in range(len(inputs))]
    shape = _broadcast(*(tensor.shape for tensor in tensors))
    return _with_value(tensors[0].dtype, shape, tensors, _VARIADIC[node.op])


@_rule("IsNaN", "IsInf")
def _test(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_BOOL, _given(inputs, 0).shape)


@_rule("PRelu")
def _prelu(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    return Tensor(x.dtype, x.shape)


@_rule("Where")
def _where(node: _Node, inputs: Inputs) -> Tensor:
    which, x, y = (_given(inputs, at) for at in range(3))
    return _with_value(x.dtype, _broadcast(which.shape, x.shape, y.shape), [which, x, y], np.where)


@_rule("Cast")
def _cast(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    to = node.attributes["to"]  # a name in operator sets below 6
    dtype = _dtype(onnx.TensorProto.DataType.Value(to) if isinstance(to, str) else to)
    return _with_value(dtype, x.shape, [x], None if dtype.kind not in "iufb" else lambda x: x)


@_rule("CastLike")
def _cast_like(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    return Tensor(_given(inputs, 1).dtype, x.shape)


@_rule("Dropout")
def _dropout(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x = _given(inputs, 0)
    return Tensor(x.dtype, x.shape, x.value), Tensor(_BOOL, x.shape)


@_rule("QuantizeLinear")
def _quantize(node: _Node, inputs: Inputs) -> Tensor:
    zero_point = _optional(inputs, 2)
    named = node.attributes.get("output_dtype", 0)
    dtype = zero_point.dtype if zero_point is not None else _dtype(named) if named else np.dtype(np.uint8)
    return Tensor(dtype, _given(inputs, 0).shape)


@_rule("DequantizeLinear")
def _dequantize(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_given(inputs, 1).dtype, _given(inputs, 0).shape)


@_rule("DynamicQuantizeLinear")
def _dynamic_quantize(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x, byte = _given(inputs, 0), np.dtype(np.uint8)
    return Tensor(byte, x.shape), Tensor(x.dtype, ()), Tensor(byte, ())


@_rule("BatchNormalization")
def _batch_norm(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x, scale = _given(inputs, 0), _given(inputs, 1)
    return (Tensor(x.dtype, x.shape), *[Tensor(scale.dtype, scale.shape)] * 4)


@_rule("LayerNormalization")
def _layer_norm(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x = _given(inputs, 0)
    axis = _axis(node.attributes.get("axis", -1), len(x.shape))
    mean = Tensor(np.dtype(np.float32), x.shape[:axis] + (1,) * (len(x.shape) - axis))
    return Tensor(x.dtype, x.shape), mean, mean


# --- convolution and pooling -----------------------------------------------------------------------------------------


def _settings(node: _Node, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations, pads (all those before, then all those after); as many as there are spatial axes."""
    strides = list(node.attributes.get("strides", [1] * rank))
    dilations = list(node.attributes.get("dilations", [1] * rank))
    pads = list(node.attributes.get("pads", [0] * (2 * rank)))
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        raise ShapeError(f"strides, dilations or pads are not those of {rank} axes")
    if min(strides + dilations, default=1) < 1 or min(pads, default=0) < 0:
        raise ShapeError(f"strides {strides}, dilations {dilations}, pads {pads}")
    return strides, dilations, pads


def _windows(node: _Node, size: Shape, kernel: Sequence[int]) -> Shape:
    """How often a window fits, along each axis."""
    rank = len(size)
    if rank < 1 or len(kernel) != rank or min(kernel) < 1:
        raise ShapeError(f"a kernel of {list(kernel)} on {rank} spatial axes")
    strides, dilations, pads = _settings(node, rank)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return tuple(-(-n // s) for n, s in zip(size, strides, strict=True))
    if auto == "VALID":
        pads = [0] * (2 * rank)
    found = []
    for at, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
        room = n + pads[at] + pads[at + rank] - ((k - 1) * d + 1)
        if room < 0:
            raise ShapeError(f"a kernel of {list(kernel)} is larger than its input of {list(size)}")
        count = room // s + 1
        if node.attributes.get("ceil_mode", 0) and room % s:
            # A window must begin in the input or in the pads before it.
            count += int(count * s < n + pads[at])
        found.append(count)
    return tuple(found)


def _conv(node: _Node, x: Tensor, weight: Tensor, dtype: np.dtype[Any]) -> Tensor:
    group = node.attributes.get("group", 1)
    if len(x.shape) < 3 or len(weight.shape) != len(x.shape) or group < 1:
        raise ShapeError(f"an input of {list(x.shape)}, a weight of {list(weight.shape)}, {group} groups")
    if weight.shape[1] * group != x.shape[1] or weight.shape[0] % group:
        raise ShapeError(f"a weight of {list(weight.shape)} for {x.shape[1]} channels in {group} groups")
    kernel = weight.shape[2:]
    if list(node.attributes.get("kernel_shape", kernel)) != list(kernel):
        raise ShapeError(f"kernel_shape and a weight of {list(weight.shape)}")
    return Tensor(dtype, (x.shape[0], weight.shape[0], *_windows(node, x.shape[2:], kernel)))


@_rule("Conv", "DeformConv")
def _float_conv(node: _Node, inputs: Inputs) -> Tensor:
    return _conv(node, _given(inputs, 0), _given(inputs, 1), _given(inputs, 0).dtype)


@_rule("ConvInteger")
def _conv_integer(node: _Node, inputs: Inputs) -> Tensor:
    return _conv(node, _given(inputs, 0), _given(inputs, 1), _INT32)


@_rule("QLinearConv")
def _qlinear_conv(node: _Node, inputs: Inputs) -> Tensor:
    return _conv(node, _given(inputs, 0), _given(inputs, 3), _given(inputs, 7).dtype)


@_rule("ConvTranspose")
def _conv_transpose(node: _Node, inputs: Inputs) -> Tensor:
    x, weight = _given(inputs, 0), _given(inputs, 1)
    rank, group = len(x.shape) - 2, node.attributes.get("group", 1)
    if rank < 1 or len(weight.shape) != len(x.shape) or group < 1 or weight.shape[0] != x.shape[1]:
        raise ShapeError(f"an input of {list(x.shape)}, a weight of {list(weight.shape)}, {group} groups")
    strides, dilations, pads = _settings(node, rank)
    extra = list(node.attributes.get("output_padding", [0] * rank))
    wanted = node.attributes.get("output_shape")
    if wanted:
        size = tuple(int(n) for n in wanted[-rank:])
    elif node.attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        size = tuple(n * s for n, s in zip(x.shape[2:], strides, strict=True))
    else:
        size = tuple(
            (n - 1) * s + (k - 1) * d + 1 + e - before - after
            for n, s, k, d, e, before, after in zip(
                x.shape[2:], strides, weight.shape[2:], dilations, extra, pads[:rank], pads[rank:], strict=True
            )
        )
    if len(size) != rank or min(size) < 1:
        raise ShapeError(f"its output would have {list(size)} samples a side")
    return Tensor(x.dtype, (x.shape[0], weight.shape[1] * group, *size))


@_rule("MaxPool", "AveragePool", "LpPool")
def _pool(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x = _given(inputs, 0)
    shape = (*x.shape[:2], *_windows(node, x.shape[2:], node.attributes["kernel_shape"]))
    return Tensor(x.dtype, shape), Tensor(_INT64, shape)


@_rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    return Tensor(x.dtype, x.shape[:2] + (1,) * len(x.shape[2:]))


# --- products and reductions -----------------------------------------------------------------------------------------


def _product(a: Shape, b: Shape) -> Shape:
    if not a or not b:
        raise ShapeError("a product with a scalar")
    left, right = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    if left[-1] != right[-2]:
        raise ShapeError(f"a product of {list(a)} and {list(b)}")
    rows, columns = left[-2:-1] if len(a) > 1 else (), right[-1:] if len(b) > 1 else ()
    return (*_broadcast(left[:-2] or (), right[:-2] or ()), *rows, *columns)


@_rule("MatMul")
def _matmul(node: _Node, inputs: Inputs) -> Tensor:
    a, b = _given(inputs, 0), _given(inputs, 1)
    return Tensor(a.dtype, _product(a.shape, b.shape))


@_rule("MatMulInteger")
def _matmul_integer(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_INT32, _product(_given(inputs, 0).shape, _given(inputs, 1).shape))


@_rule("QLinearMatMul")
def _qlinear_matmul(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_given(inputs, 7).dtype, _product(_given(inputs, 0).shape, _given(inputs, 3).shape))


@_rule("Gemm")
def _gemm(node: _Node, inputs: Inputs) -> Tensor:
    a, b = _given(inputs, 0), _given(inputs, 1)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError(f"a product of {list(a.shape)} and {list(b.shape)}")
    left = a.shape[::-1] if node.attributes.get("transA", 0) else a.shape
    right = b.shape[::-1] if node.attributes.get("transB", 0) else b.shape
    return Tensor(a.dtype, _product(left, right))


@_rule("Einsum")
def _einsum(node: _Node, inputs: Inputs) -> Tensor:
    equation = node.attributes["equation"].replace(" ", "")
    if "." in equation:
        raise ShapeError("an equation with an ellipsis is not supported")
    terms, arrow, result = equation.partition("->")
    letters = terms.split(",")
    sizes: dict[str, int] = {}
    for at, term in enumerate(letters):
        for letter, size in zip(term, _given(inputs, at).shape, strict=True):
            if size != 1 and sizes.get(letter, 1) not in (1, size):
                raise ShapeError(f"equation {equation!r}: {letter!r} is {sizes[letter]} and {size}")
            sizes[letter] = max(size, sizes.get(letter, 1))
    if not arrow:
        result = "".join(sorted(letter for letter in sizes if terms.count(letter) == 1))
    return Tensor(_given(inputs, 0).dtype, tuple(sizes[letter] for letter in result))


_REDUCTIONS: dict[str, Callable[..., Any] | None] = {
    "ReduceSum": np.sum, "ReduceProd": np.prod, "ReduceMax": np.max, "ReduceMin": np.min, "ReduceMean": None,
    "ReduceL1": None, "ReduceL2": None, "ReduceLogSum": None, "ReduceLogSumExp": None, "ReduceSumSquare": None,
}  # fmt: skip


@_rule(*_REDUCTIONS)
def _reduce(node: _Node, inputs: Inputs) -> Tensor:
    x, given = _given(inputs, 0), _optional(inputs, 1)
    rank = len(x.shape)
    axes = _axes(_ints(given) if given is not None else list(node.attributes.get("axes", [])), rank)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            return x
        axes = list(range(rank))
    keep = bool(node.attributes.get("keepdims", 1))
    shape = tuple(1 if at in axes else n for at, n in enumerate(x.shape) if keep or at not in axes)
    compute = _REDUCTIONS[node.op]
    if compute is None or x.elements == 0:
        return Tensor(x.dtype, shape)
    return _with_value(x.dtype, shape, [x], lambda value: compute(value, axis=tuple(axes), keepdims=keep))


@_rule("Det")
def _det(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    _product(x.shape, x.shape)  # square
    return Tensor(x.dtype, x.shape[:-2])


@_rule("Attention")
def _attention(node: _Node, inputs: Inputs) -> Tensor:
    """Only the first output: keys and values of before, and what comes of them, are for generators of text."""
    query, value = _given(inputs, 0), _given(inputs, 2)
    if len(node.outputs) > 1 or len(query.shape) != len(value.shape):
        raise ShapeError(f"a query of {list(query.shape)}, values of {list(value.shape)}, {len(node.outputs)} outputs")
    if len(query.shape) == 4:
        return Tensor(query.dtype, (*query.shape[:3], value.shape[3]))
    heads, of_values = node.attributes["q_num_heads"], node.attributes["kv_num_heads"]
    return Tensor(query.dtype, (*query.shape[:2], heads * (value.shape[2] // of_values)))


@_rule("RNN", "GRU", "LSTM")
def _recurrent(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x, recurrence = _given(inputs, 0), _given(inputs, 2)
    directions, hidden = recurrence.shape[0], recurrence.shape[2]
    if node.attributes.get("layout", 0):
        batch, length, _ = x.shape
        last = (batch, directions, hidden)
        return Tensor(x.dtype, (batch, length, directions, hidden)), Tensor(x.dtype, last), Tensor(x.dtype, last)
    length, batch, _ = x.shape
    last = (directions, batch, hidden)
    return Tensor(x.dtype, (length, directions, batch, hidden)), Tensor(x.dtype, last), Tensor(x.dtype, last)


@_rule("ArgMax", "ArgMin")
def _arg(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    kept = (1,) if node.attributes.get("keepdims", 1) else ()
    return Tensor(_INT64, x.shape[:axis] + kept + x.shape[axis + 1 :])


@_rule("TopK")
def _top_k(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x = _given(inputs, 0)
    k = node.attributes["k"] if node.opset < 10 else _ints(_given(inputs, 1))[0]
    axis = _axis(node.attributes.get("axis", -1), len(x.shape))
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"k is {k} of {x.shape[axis]}")
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return Tensor(x.dtype, shape), Tensor(_INT64, shape)


# --- what makes tensors, and what looks at their shapes --------------------------------------------------------------


@_rule("Constant")
def _constant_node(node: _Node, inputs: Inputs) -> Tensor:
    for name, value in node.attributes.items():
        if name == "value":
            return _constant(value)
        kind = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
        if name in kind:
            array = np.asarray(value, kind[name])
            return Tensor(array.dtype, array.shape, array if array.size <= _VALUED_ELEMENTS else None)
    raise ShapeError("a constant without a number")


@_rule("ConstantOfShape")
def _constant_of_shape(node: _Node, inputs: Inputs) -> Tensor:
    shape = tuple(_ints(_given(inputs, 0)))
    value = node.attributes.get("value")
    fill = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value).reshape(-1)[:1]
    if min(shape, default=0) < 0 or not _small(shape) or fill.size != 1:
        return Tensor(fill.dtype, shape)
    return Tensor(fill.dtype, shape, np.full(shape, fill[0]))


@_rule("Range")
def _range(node: _Node, inputs: Inputs) -> Tensor:
    start, limit, delta = (_values(_given(inputs, at))[0] for at in range(3))
    if delta == 0:
        raise ShapeError("a range in steps of 0")
    count = max(0, math.ceil((limit - start) / delta))
    dtype = _given(inputs, 0).dtype
    value = (start + np.arange(count) * delta).astype(dtype) if count <= _VALUED_ELEMENTS else None
    return Tensor(dtype, (count,), value)


@_rule("Shape")
def _shape(node: _Node, inputs: Inputs) -> Tensor:
    shape = _given(inputs, 0).shape
    part = shape[slice(node.attributes.get("start", 0), node.attributes.get("end"))]
    return Tensor(_INT64, (len(part),), np.array(part, np.int64))


@_rule("Size")
def _size(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_INT64, (), np.array(_given(inputs, 0).elements, np.int64))


@_rule("RandomNormal", "RandomUniform")
def _random(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_dtype(node.attributes.get("dtype", onnx.TensorProto.FLOAT)), tuple(node.attributes["shape"]))


@_rule("OneHot")
def _one_hot(node: _Node, inputs: Inputs) -> Tensor:
    indices, values = _given(inputs, 0), _given(inputs, 2)
    axis = _axis(node.attributes.get("axis", -1), len(indices.shape) + 1)
    return Tensor(values.dtype, (*indices.shape[:axis], _ints(_given(inputs, 1))[0], *indices.shape[axis:]))


@_rule("EyeLike")
def _eye_like(node: _Node, inputs: Inputs) -> Tensor:
    x, named = _given(inputs, 0), node.attributes.get("dtype", 0)
    return Tensor(_dtype(named) if named else x.dtype, x.shape)


@_rule("NonZero")
def _non_zero(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    if x.value is None:
        raise ShapeError("the shape of its output depends on data", data=True)
    found = np.array(np.nonzero(x.value), np.int64)
    return Tensor(_INT64, found.shape, found)


@_rule("Unique", "Compress", "NonMaxSuppression")
def _of_data(node: _Node, inputs: Inputs) -> Tensor:
    raise ShapeError("the shape of its output depends on data", data=True)


# --- layout ----------------------------------------------------------------------------------------------------------


@_rule("Gather")
def _gather(node: _Node, inputs: Inputs) -> Tensor:
    x, indices = _given(inputs, 0), _given(inputs, 1)
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
    return _with_value(x.dtype, shape, [x, indices], lambda value, at: np.take(value, at, axis))


@_rule("GatherElements")
def _gather_elements(node: _Node, inputs: Inputs) -> Tensor:
    return Tensor(_given(inputs, 0).dtype, _given(inputs, 1).shape)


@_rule("GatherND")
def _gather_nd(node: _Node, inputs: Inputs) -> Tensor:
    x, indices = _given(inputs, 0), _given(inputs, 1)
    taken = node.attributes.get("batch_dims", 0) + indices.shape[-1]
    if not 0 <= taken <= len(x.shape):
        raise ShapeError(f"indices of {list(indices.shape)} for {list(x.shape)}")
    return Tensor(x.dtype, indices.shape[:-1] + x.shape[taken:])


@_rule("Concat")
def _concat(node: _Node, inputs: Inputs) -> Tensor:
    tensors = [_given(inputs, at) for at in range(len(inputs))]
    first = tensors[0].shape
    axis = _axis(node.attributes.get("axis", 1), len(first))
    for other in (tensor.shape for tensor in tensors):
        if other[:axis] != first[:axis] or other[axis + 1 :] != first[axis + 1 :] or len(other) != len(first):
            raise ShapeError(f"{list(first)} and {list(other)} along axis {axis}")
    shape = (*first[:axis], sum(tensor.shape[axis] for tensor in tensors), *first[axis + 1 :])
    return _with_value(tensors[0].dtype, shape, tensors, lambda *values: np.concatenate(values, axis))


@_rule("Split")
def _split(node: _Node, inputs: Inputs) -> tuple[Tensor, ...]:
    x, given = _given(inputs, 0), _optional(inputs, 1)
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    total, parts = x.shape[axis], len(node.outputs)
    if given is not None or "split" in node.attributes:
        sizes = _ints(given) if given is not None else list(node.attributes["split"])
    else:
        largest = -(-total // parts)
        sizes = [max(0, min(largest, total - at * largest)) for at in range(parts)]
    if len(sizes) != parts or min(sizes) < 0 or sum(sizes) != total:
        raise ShapeError(f"{total} into {sizes}, for {parts} outputs")
    ends = np.cumsum(sizes).tolist()
    return tuple(
        _with_value(
            x.dtype,
            (*x.shape[:axis], size, *x.shape[axis + 1 :]),
            [x],
            lambda value, size=size, end=end: np.take(value, range(end - size, end), axis),
        )
        for size, end in zip(sizes, ends, strict=True)
    )


@_rule("Slice")
def _slice(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    rank = len(x.shape)
    if node.opset < 10:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = list(node.attributes.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        starts, ends = _ints(_given(inputs, 1)), _ints(_given(inputs, 2))
        named, stepped = _optional(inputs, 3), _optional(inputs, 4)
        axes = _ints(named) if named is not None else list(range(len(starts)))
        steps = _ints(stepped) if stepped is not None else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ShapeError(f"starts {starts}, ends {ends}, axes {axes}, steps {steps}")
    which = [slice(None)] * rank
    for axis, start, end, step in zip(_axes(axes, rank), starts, ends, steps, strict=True):
        size = x.shape[axis]
        start, end = (n + size if n < 0 else n for n in (start, end))
        low, high = (0, size) if step > 0 else (-1, size - 1)
        start, end = (min(max(n, low), high) for n in (start, end))
        # Backwards past the first sample: there is no number for that end.
        which[axis] = slice(start, None if end < 0 else end, step) if start >= 0 else slice(0, 0)
    shape = tuple(len(range(n)[part]) for n, part in zip(x.shape, which, strict=True))
    return _with_value(x.dtype, shape, [x], lambda value: value[tuple(which)])


@_rule("Pad")
def _pad(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    rank = len(x.shape)
    if node.opset < 11:
        pads = list(node.attributes["pads" if node.opset > 1 else "paddings"])
        axes = list(range(rank))
    else:
        pads, named = _ints(_given(inputs, 1)), _optional(inputs, 3)
        axes = _axes(_ints(named), rank) if named is not None else list(range(rank))
    if len(pads) != 2 * len(axes):
        raise ShapeError(f"pads {pads} for {len(axes)} axes")
    shape = list(x.shape)
    for at, axis in enumerate(axes):
        shape[axis] += pads[at] + pads[at + len(axes)]
    return Tensor(x.dtype, tuple(shape))


def _of_rank_4(tensor: Tensor, block: int) -> tuple[int, int, int, int]:
    if len(tensor.shape) != 4 or block < 1:
        raise ShapeError(f"an input of {list(tensor.shape)}, blocks of {block}")
    batch, channels, rows, columns = tensor.shape
    return batch, channels, rows, columns


@_rule("DepthToSpace")
def _depth_to_space(node: _Node, inputs: Inputs) -> Tensor:
    x, block = _given(inputs, 0), node.attributes["blocksize"]
    batch, channels, rows, columns = _of_rank_4(x, block)
    if channels % (block * block):
        raise ShapeError(f"{channels} channels into blocks of {block}x{block}")
    return Tensor(x.dtype, (batch, channels // (block * block), rows * block, columns * block))


@_rule("SpaceToDepth")
def _space_to_depth(node: _Node, inputs: Inputs) -> Tensor:
    x, block = _given(inputs, 0), node.attributes["blocksize"]
    batch, channels, rows, columns = _of_rank_4(x, block)
    if rows % block or columns % block:
        raise ShapeError(f"{rows}x{columns} samples in blocks of {block}x{block}")
    return Tensor(x.dtype, (batch, channels * block * block, rows // block, columns // block))


@_rule("Reshape")
def _reshape(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    wanted = list(node.attributes["shape"]) if node.opset < 5 else _ints(_given(inputs, 1))
    shape = list(wanted)
    if not node.attributes.get("allowzero", 0):
        shape = [x.shape[at] if n == 0 else n for at, n in enumerate(shape)]
    if shape.count(-1) == 1:
        others = math.prod(n for n in shape if n != -1)
        shape[shape.index(-1)] = x.elements // others if others else 0
    if min(shape, default=0) < 0 or math.prod(shape) != x.elements:
        raise ShapeError(f"{list(x.shape)} as {wanted}")
    return _with_value(x.dtype, tuple(shape), [x], lambda value: value)


@_rule("Flatten")
def _flatten(node: _Node, inputs: Inputs) -> Tensor:
    x, axis = _given(inputs, 0), node.attributes.get("axis", 1)
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise ShapeError(f"axis {axis} of a tensor of rank {rank}")
    axis = axis + rank if axis < 0 else axis
    return Tensor(x.dtype, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@_rule("Transpose")
def _transpose(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    rank = len(x.shape)
    perm = list(node.attributes.get("perm", range(rank - 1, -1, -1)))
    if sorted(perm) != list(range(rank)):
        raise ShapeError(f"perm {perm} of {list(x.shape)}")
    return _with_value(x.dtype, tuple(x.shape[at] for at in perm), [x], lambda value: np.transpose(value, perm))


@_rule("Unsqueeze")
def _unsqueeze(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    given = list(node.attributes["axes"]) if node.opset < 13 else _ints(_given(inputs, 1))
    rank = len(x.shape) + len(given)
    axes = _axes(given, rank)
    rest = iter(x.shape)
    shape = tuple(1 if at in axes else next(rest) for at in range(rank))
    return _with_value(x.dtype, shape, [x], lambda value: value)


@_rule("Squeeze")
def _squeeze(node: _Node, inputs: Inputs) -> Tensor:
    x, given = _given(inputs, 0), _optional(inputs, 1)
    named = _ints(given) if given is not None else list(node.attributes.get("axes", []))
    axes = _axes(named, len(x.shape)) or [at for at, size in enumerate(x.shape) if size == 1]
    if any(x.shape[axis] != 1 for axis in axes):
        raise ShapeError(f"axes {named} of {list(x.shape)}")
    return _with_value(x.dtype, tuple(n for at, n in enumerate(x.shape) if at not in axes), [x], lambda value: value)


@_rule("Expand")
def _expand(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    wanted = tuple(_ints(_given(inputs, 1)))
    if min(wanted, default=0) < 0:
        raise ShapeError(f"{list(x.shape)} as {list(wanted)}")
    shape = _broadcast(x.shape, wanted)
    return _with_value(x.dtype, shape, [x], lambda value: np.broadcast_to(value, shape))


@_rule("Tile")
def _tile(node: _Node, inputs: Inputs) -> Tensor:
    x, repeats = _given(inputs, 0), _ints(_given(inputs, 1))
    if node.opset < 6:  # how often, and along which axis
        axis = _axis(_ints(_given(inputs, 2))[0], len(x.shape))
        repeats = [repeats[0] if at == axis else 1 for at in range(len(x.shape))]
    if len(repeats) != len(x.shape) or min(repeats, default=0) < 0:
        raise ShapeError(f"{list(x.shape)} repeated {repeats} times")
    shape = tuple(n * times for n, times in zip(x.shape, repeats, strict=True))
    return _with_value(x.dtype, shape, [x], lambda value: np.tile(value, repeats))


@_rule("Resize", "Upsample")
def _resize(node: _Node, inputs: Inputs) -> Tensor:
    x = _given(inputs, 0)
    rank = len(x.shape)
    sizes = None
    if node.op == "Upsample" and node.opset < 9:
        old = [1.0, 1.0, node.attributes.get("height_scale", 1.0), node.attributes.get("width_scale", 1.0)]
        scales = list(node.attributes.get("scales", old))
    elif node.op == "Upsample" or node.opset < 11:
        scales = _values(_given(inputs, 1))
    else:
        given, wanted = _optional(inputs, 2), _optional(inputs, 3)
        scales = _values(given) if given is not None else []
        sizes = _ints(wanted) if wanted is not None and wanted.elements else None
    axes = _axes(list(node.attributes.get("axes", range(rank))), rank)
    shape = list(x.shape)
    if len(scales if sizes is None else sizes) != len(axes):
        raise ShapeError(f"scales {scales} or sizes {sizes} for {len(axes)} axes")
    if sizes is not None:
        sizes = _kept_aspect(node.attributes.get("keep_aspect_ratio_policy", "stretch"), x, axes, sizes)
    for at, axis in enumerate(axes):
        shape[axis] = sizes[at] if sizes is not None else math.floor(shape[axis] * np.float32(scales[at]))
    return Tensor(x.dtype, tuple(shape))


def _kept_aspect(policy: str, x: Tensor, axes: Sequence[int], sizes: list[int]) -> list[int]:
    if policy == "stretch":
        return sizes
    ratios = [np.float32(size) / np.float32(x.shape[axis]) for size, axis in zip(sizes, axes, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return [math.floor(float(scale * x.shape[axis]) + 0.5) for axis in axes]


@_rule("Col2Im")
def _col2im(node: _Node, inputs: Inputs) -> Tensor:
    x, size, block = _given(inputs, 0), _ints(_given(inputs, 1)), _ints(_given(inputs, 2))
    if x.shape[1] % math.prod(block):
        raise ShapeError(f"{x.shape[1]} channels of blocks of {block}")
    return Tensor(x.dtype, (x.shape[0], x.shape[1] // math.prod(block), *size))


@_rule("GridSample")
def _grid_sample(node: _Node, inputs: Inputs) -> Tensor:
    x, grid = _given(inputs, 0), _given(inputs, 1)
    if len(grid.shape) != len(x.shape) or grid.shape[0] != x.shape[0] or grid.shape[-1] != len(x.shape) - 2:
        raise ShapeError(f"a grid of {list(grid.shape)} for {list(x.shape)}")
    return Tensor(x.dtype, (*x.shape[:2], *grid.shape[1:-1]))
