"""ONNX operators as torch functions: the ones that post-filters, super-resolution and interpolation networks use.

Each is defined by the ONNX operator specification, and tested against onnxruntime. An operator that is not here is an
error that names it; so is a setting of an operator that is not covered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = Mapping[str, Any]
Function = Callable[..., Any]

OPERATORS: dict[str, Function] = {}

_DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.UINT16: torch.uint16,
    onnx.TensorProto.BOOL: torch.bool,
}


class Unsupported(Exception):
    """A setting of an operator that is not covered."""


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for ONNX operators: called with the attributes, the opset and the inputs in order."""

    def register(function: Function) -> Function:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def to_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    if array.dtype.kind not in "fiub":
        raise Unsupported(f"numbers of type {array.dtype}")
    return torch.from_numpy(np.array(array, copy=True))


def _ints(value: Tensor | None) -> list[int]:
    return [] if value is None else [int(v) for v in value.reshape(-1).tolist()]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank


# --- element by element ----------------------------------------------------------------------------------------------


def _simple(name: str, function: Function) -> None:
    operator(name)(lambda attributes, opset, *inputs: function(*inputs))


_ELEMENTWISE: dict[str, Function] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Pow": lambda x, y: torch.pow(x, y).to(x.dtype),
    "Sqrt": torch.sqrt,
    "Exp": torch.exp,
    "Log": torch.log,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,  # both round halves to even
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Asin": torch.asin,
    "Acos": torch.acos,
    "Atan": torch.atan,
    "Sinh": torch.sinh,
    "Cosh": torch.cosh,
    "Asinh": torch.asinh,
    "Acosh": torch.acosh,
    "Atanh": torch.atanh,
    "IsNaN": torch.isnan,
    "Erf": torch.erf,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    # Behind a convolution torch.jit fuses clamp into it, and fails where a bound is missing or an integer.
    "Softplus": lambda x: torch.relu(x) + torch.log1p(torch.exp(-torch.abs(x))),
    "Softsign": F.softsign,
    "HardSwish": F.hardswish,
    "Mish": F.mish,
    "Identity": lambda x: x,
    "Not": torch.logical_not,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Where": torch.where,
}
for _name, _function in _ELEMENTWISE.items():
    _simple(_name, _function)


@operator("Div")
def _div(attributes: Attributes, opset: int, x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Mod")
def _mod(attributes: Attributes, opset: int, x: Tensor, y: Tensor) -> Tensor:
    return torch.fmod(x, y) if attributes.get("fmod", 0) else torch.remainder(x, y)


@operator("Min")
def _min(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    result = inputs[0]
    for other in inputs[1:]:
        result = torch.minimum(result, other)
    return result


@operator("Max")
def _max(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    result = inputs[0]
    for other in inputs[1:]:
        result = torch.maximum(result, other)
    return result


@operator("Sum")
def _sum(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    result = inputs[0]
    for other in inputs[1:]:
        result = torch.add(result, other)
    return result


@operator("Mean")
def _mean(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    return torch.div(_sum(attributes, opset, *inputs), len(inputs))


@operator("ThresholdedRelu")
def _thresholded_relu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return torch.where(x > attributes.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Shrink")
def _shrink(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    bias, threshold = attributes.get("bias", 0.0), attributes.get("lambd", 0.5)
    low, high = torch.where(x < -threshold, x + bias, 0), torch.where(x > threshold, x - bias, 0)
    return low + high


@operator("LeakyRelu")
def _leaky_relu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return F.leaky_relu(x, attributes.get("alpha", 0.01))


@operator("PRelu")
def _prelu(attributes: Attributes, opset: int, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


@operator("Elu")
def _elu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return F.elu(x, attributes.get("alpha", 1.0))


@operator("Celu")
def _celu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return F.celu(x, attributes.get("alpha", 1.0))


@operator("Selu")
def _selu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    alpha, gamma = (
        attributes.get("alpha", 1.67326319217681884765625),
        attributes.get("gamma", 1.05070102214813232421875),
    )
    return torch.mul(F.elu(x, alpha), gamma)


@operator("Gelu")
def _gelu(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    if attributes.get("approximate", "none") == "tanh":
        # Not F.gelu: behind a convolution torch.jit turns it into a form that oneDNN refuses.
        inner = torch.mul(x + torch.mul(x * x * x, 0.044715), math.sqrt(2 / math.pi))
        return torch.mul(x, 0.5) * (1 + torch.tanh(inner))
    return F.gelu(x)


@operator("HardSigmoid")
def _hard_sigmoid(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return torch.clamp(x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5), 0.0, 1.0)


@operator("Clip")
def _clip(
    attributes: Attributes, opset: int, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    if opset < 11:
        return torch.clamp(x, attributes.get("min", -math.inf), attributes.get("max", math.inf))
    if low is not None:
        x = torch.maximum(x, low.to(x))
    return x if high is None else torch.minimum(x, high.to(x))


@operator("Cast")
def _cast(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    to = attributes["to"]
    if to not in _DTYPES:
        raise Unsupported(f"cast to {onnx.TensorProto.DataType.Name(to)}")
    return x.to(_DTYPES[to])


@operator("CastLike")
def _cast_like(attributes: Attributes, opset: int, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


@operator("Dropout")
def _dropout(attributes: Attributes, opset: int, x: Tensor, *rest: Tensor) -> Tensor:
    return x  # inference


@operator("Softmax")
def _softmax(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    if opset >= 13:
        return torch.softmax(x, attributes.get("axis", -1))
    axis = _axis(attributes.get("axis", 1), x.ndim)
    return torch.softmax(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)


@operator("LogSoftmax")
def _log_softmax(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    if opset >= 13:
        return torch.log_softmax(x, attributes.get("axis", -1))
    axis = _axis(attributes.get("axis", 1), x.ndim)
    return torch.log_softmax(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)


# --- convolution and pooling -----------------------------------------------------------------------------------------


def _spatial_pads(
    attributes: Attributes, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Pads before and after each spatial axis (ONNX `pads` or `auto_pad`)."""
    rank = len(kernel)
    auto = attributes.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = attributes.get("pads", [0] * (2 * rank))
        return pads[:rank], pads[rank:]
    if auto == "VALID":
        return [0] * rank, [0] * rank
    before, after = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        less = total // 2
        before.append(less if auto == "SAME_UPPER" else total - less)
        after.append(total - less if auto == "SAME_UPPER" else less)
    return before, after


def _pad_spatial(x: Tensor, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Tensor:
    pairs = [amount for b, a in zip(reversed(before), reversed(after), strict=True) for amount in (b, a)]
    return F.pad(x, pairs, value=value)


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("Conv")
def conv(attributes: Attributes, opset: int, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    before, after = _spatial_pads(attributes, x.shape[2:], weight.shape[2:], strides, dilations)
    if before == after:
        padding = before
    else:
        x, padding = _pad_spatial(x, before, after), [0] * rank
    return _CONV[rank](x, weight, bias, strides, padding, dilations, attributes.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(attributes: Attributes, opset: int, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    extra = attributes.get("output_padding", [0] * rank)
    kernel = weight.shape[2:]
    full = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(x.shape[2:], strides, kernel, dilations, extra, strict=True)
    ]
    auto = attributes.get("auto_pad", "NOTSET")
    if "output_shape" in attributes or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = attributes.get("output_shape") or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
        total = [f - w for f, w in zip(full, wanted, strict=True)]
        before = [t - t // 2 if auto != "SAME_UPPER" else t // 2 for t in total]
        after = [t - b for t, b in zip(total, before, strict=True)]
    else:
        before, after = _spatial_pads(attributes, x.shape[2:], kernel, strides, dilations)
    # The whole result, and then what the pads take away. output_padding adds rows of bias only where no input reaches.
    # torch wants output_padding below the stride or the dilation, as ONNX does.
    result = _CONV_TRANSPOSE[rank](x, weight, bias, strides, 0, extra, attributes.get("group", 1), dilations)
    for axis, (b, a) in enumerate(zip(before, after, strict=True), 2):
        result = result.narrow(axis, b, result.shape[axis] - b - a)
    return result


@operator("MaxPool")
def _max_pool(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    kernel = attributes["kernel_shape"]
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    before, after = _spatial_pads(attributes, x.shape[2:], kernel, strides, dilations)
    x = _pad_spatial(x, before, after, -math.inf)
    return _MAX_POOL[rank](x, kernel, strides, 0, dilations, ceil_mode=bool(attributes.get("ceil_mode", 0)))


@operator("AveragePool")
def _average_pool(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    kernel = attributes["kernel_shape"]
    strides, dilations = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    if any(d != 1 for d in dilations):
        raise Unsupported("dilations")
    before, after = _spatial_pads(attributes, x.shape[2:], kernel, strides, dilations)
    pool, ceil_mode = _AVG_POOL[rank], bool(attributes.get("ceil_mode", 0))
    if not any(before) and not any(after):
        return pool(x, kernel, strides, ceil_mode=ceil_mode)
    # The mean over the padded window, times how much of the window counts.
    padded = pool(_pad_spatial(x, before, after), kernel, strides, ceil_mode=ceil_mode)
    if attributes.get("count_include_pad", 0):
        return padded
    ones = _pad_spatial(torch.ones_like(x[:1, :1]), before, after)
    return padded / pool(ones, kernel, strides, ceil_mode=ceil_mode)


@operator("GlobalAveragePool")
def _global_average_pool(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


# --- normalisation and products --------------------------------------------------------------------------------------


@operator("BatchNormalization")
def _batch_norm(
    attributes: Attributes, opset: int, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor:
    if attributes.get("training_mode", 0):
        raise Unsupported("training_mode")
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def _instance_norm(attributes: Attributes, opset: int, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=attributes.get("epsilon", 1e-5))


@operator("LayerNormalization")
def _layer_norm(attributes: Attributes, opset: int, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = _axis(attributes.get("axis", -1), x.ndim)
    shape = list(x.shape[axis:])
    result = F.layer_norm(x, shape, eps=attributes.get("epsilon", 1e-5)) * scale
    return result if bias is None else result + bias


@operator("GroupNormalization")
def _group_norm(attributes: Attributes, opset: int, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = attributes["num_groups"]
    if opset < 21:  # one scale per group
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    return F.group_norm(x, groups, scale, bias, attributes.get("epsilon", 1e-5))


@operator("LRN")
def _lrn(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    size = attributes["size"]
    before = (size - 1) // 2
    squares = F.pad(x * x, (0, 0) * (x.ndim - 2) + (before, size - 1 - before))
    around = squares.unfold(1, size, 1).sum(-1)
    scaled = attributes.get("bias", 1.0) + torch.mul(around, attributes.get("alpha", 1e-4) / size)
    return x / torch.pow(scaled, attributes.get("beta", 0.75))


@operator("MeanVarianceNormalization")
def _mean_variance_normalization(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    axes = tuple(attributes.get("axes", (0, 2, 3)))
    centred = x - x.mean(axes, keepdim=True)
    return centred / (torch.sqrt((centred * centred).mean(axes, keepdim=True)) + 1e-9)


@operator("LpNormalization")
def _lp_normalization(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    axis = attributes.get("axis", -1)
    total = x.abs().sum(axis, keepdim=True)
    norm = total if attributes.get("p", 2) == 1 else torch.sqrt((x * x).sum(axis, keepdim=True))
    return torch.where(norm == 0, 0, x / norm)


@operator("RMSNormalization")
def _rms_normalization(attributes: Attributes, opset: int, x: Tensor, scale: Tensor) -> Tensor:
    axes = tuple(range(_axis(attributes.get("axis", -1), x.ndim), x.ndim))
    return x * torch.rsqrt((x * x).mean(axes, keepdim=True) + attributes.get("epsilon", 1e-5)) * scale


@operator("MatMul")
def _matmul(attributes: Attributes, opset: int, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@operator("Gemm")
def _gemm(attributes: Attributes, opset: int, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if attributes.get("transA", 0) else a
    b = b.t() if attributes.get("transB", 0) else b
    result = torch.mul(a @ b, attributes.get("alpha", 1.0))
    return result if c is None else torch.add(result, c, alpha=attributes.get("beta", 1.0))


@operator("Einsum")
def _einsum(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    return torch.einsum(attributes["equation"], *inputs)


def _reduce(function: Callable[..., Tensor]) -> Function:
    def reduce(attributes: Attributes, opset: int, x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = _ints(axes) if axes is not None else attributes.get("axes", [])
        if not dims:
            if attributes.get("noop_with_empty_axes", 0):
                return x
            dims = list(range(x.ndim))
        return function(x, dim=tuple(dims), keepdim=bool(attributes.get("keepdims", 1)))

    return reduce


operator("ReduceMean")(_reduce(torch.mean))
operator("ReduceSum")(_reduce(torch.sum))
operator("ReduceMax")(_reduce(torch.amax))
operator("ReduceMin")(_reduce(torch.amin))
operator("ReduceL1")(_reduce(lambda x, dim, keepdim: torch.sum(torch.abs(x), dim=dim, keepdim=keepdim)))
operator("ReduceLogSumExp")(_reduce(torch.logsumexp))
operator("ReduceLogSum")(_reduce(lambda x, dim, keepdim: torch.log(torch.sum(x, dim=dim, keepdim=keepdim))))
operator("ReduceSumSquare")(_reduce(lambda x, dim, keepdim: torch.sum(x * x, dim=dim, keepdim=keepdim)))
operator("ReduceL2")(_reduce(lambda x, dim, keepdim: torch.sqrt(torch.sum(x * x, dim=dim, keepdim=keepdim))))


@operator("ReduceProd")
def _product(attributes: Attributes, opset: int, x: Tensor, axes: Tensor | None = None) -> Tensor:
    def product(x: Tensor, dim: tuple[int, ...], keepdim: bool) -> Tensor:
        for axis in sorted((_axis(d, x.ndim) for d in dim), reverse=True):  # torch.prod takes one
            x = torch.prod(x, axis, keepdim)
        return x

    result: Tensor = _reduce(product)(attributes, opset, x, axes)
    return result


def _position(function: Callable[..., Tensor]) -> Function:
    def position(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
        axis, keep = _axis(attributes.get("axis", 0), x.ndim), bool(attributes.get("keepdims", 1))
        if attributes.get("select_last_index", 0):
            return x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
        return function(x, axis, keep)  # torch, too, takes the first of equal ones

    return position


operator("ArgMax")(_position(torch.argmax))
operator("ArgMin")(_position(torch.argmin))


@operator("CumSum")
def _cumulated(attributes: Attributes, opset: int, x: Tensor, axis: Tensor) -> Tensor:
    along = _axis(int(axis.item()), x.ndim)
    backwards = attributes.get("reverse", 0)
    x = x.flip(along) if backwards else x
    if attributes.get("exclusive", 0):
        x = torch.cat([torch.zeros_like(x.narrow(along, 0, 1)), x.narrow(along, 0, x.shape[along] - 1)], along)
    total = torch.cumsum(x, along, dtype=x.dtype)
    return total.flip(along) if backwards else total


@operator("TopK")
def _top_k(attributes: Attributes, opset: int, x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    axis = _axis(attributes.get("axis", -1), x.ndim)
    # Of equal values the one with the lower index comes first, which torch.topk does not promise.
    values, indices = torch.sort(x, dim=axis, descending=bool(attributes.get("largest", 1)), stable=True)
    count = int(k.item())
    return values.narrow(axis, 0, count), indices.narrow(axis, 0, count)


@operator("Trilu")
def _triangle(attributes: Attributes, opset: int, x: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = 0 if k is None else int(k.item())
    return torch.triu(x, diagonal) if attributes.get("upper", 1) else torch.tril(x, diagonal)


@operator("OneHot")
def _one_hot(attributes: Attributes, opset: int, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    size = int(depth.reshape(()).item())
    axis = _axis(attributes.get("axis", -1), indices.ndim + 1)
    at = torch.remainder(indices.to(torch.int64), size) if size else indices.to(torch.int64)
    shape = [1] * (indices.ndim + 1)
    shape[axis] = size
    inside = ((indices >= -size) & (indices < size)).unsqueeze(axis)
    hot = (torch.arange(size, device=indices.device).reshape(shape) == at.unsqueeze(axis)) & inside
    off, on = values.to(indices.device).unbind(0)
    return torch.where(hot, on, off)


# --- shapes and layout -----------------------------------------------------------------------------------------------


@operator("Constant")
def _constant(attributes: Attributes, opset: int) -> Tensor:
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in attributes:
            return torch.tensor(attributes[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in attributes:
            return torch.tensor(attributes[name], dtype=torch.int64)
    if "value" not in attributes:
        raise Unsupported(f"a constant given as {', '.join(attributes)}")
    value: Tensor = attributes["value"]
    return value


@operator("ConstantOfShape")
def _constant_of_shape(attributes: Attributes, opset: int, shape: Tensor) -> Tensor:
    value: Tensor = attributes.get("value", torch.zeros(1))
    return value.reshape(()).expand(_ints(shape)).clone()


@operator("Shape")
def _shape(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    sizes = list(x.shape)[attributes.get("start", 0) : attributes.get("end")]
    return torch.tensor(sizes, dtype=torch.int64)


@operator("Size")
def _size(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("Range")
def _range(attributes: Attributes, opset: int, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("Gather")
def _gather(attributes: Attributes, opset: int, x: Tensor, indices: Tensor) -> Tensor:
    axis = _axis(attributes.get("axis", 0), x.ndim)
    size = x.shape[axis]
    index = indices.to(x.device, torch.int64)
    index = torch.where(index < 0, index + size, index)
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, index.reshape(-1)).reshape(shape)


@operator("GatherElements")
def _gather_elements(attributes: Attributes, opset: int, x: Tensor, indices: Tensor) -> Tensor:
    axis = _axis(attributes.get("axis", 0), x.ndim)
    index = indices.to(x.device, torch.int64)
    # Sides of the indices may be shorter than those of x.
    part = x[tuple(slice(None) if at == axis else slice(size) for at, size in enumerate(index.shape))]
    return torch.gather(part, axis, torch.where(index < 0, index + x.shape[axis], index))


@operator("GatherND")
def _gather_nd(attributes: Attributes, opset: int, x: Tensor, indices: Tensor) -> Tensor:
    shared = attributes.get("batch_dims", 0)
    index = indices.to(x.device, torch.int64)
    batch = index.shape[:shared]
    # The axes that both have become one, whose positions are indices, too.
    x = x.reshape(-1, *x.shape[shared:])
    index = index.reshape(x.shape[0], *index.shape[shared:])
    first = torch.arange(x.shape[0], device=x.device).reshape(-1, *[1] * (index.ndim - 2))
    found = x[(first, *index.unbind(-1))]
    return found.reshape(*batch, *found.shape[1:])


@operator("ScatterElements", "Scatter")
def _scatter_elements(attributes: Attributes, opset: int, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    axis = _axis(attributes.get("axis", 0), x.ndim)
    index = indices.to(x.device, torch.int64)
    index = torch.where(index < 0, index + x.shape[axis], index)
    updates = updates.to(x.dtype)
    reduction = attributes.get("reduction", "none")
    if reduction == "none":
        return x.scatter(axis, index, updates)
    names = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
    if reduction not in names:
        raise Unsupported(f"reduction {reduction!r}")
    return x.scatter_reduce(axis, index, updates, names[reduction])


@operator("ScatterND")
def _scatter_nd(attributes: Attributes, opset: int, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """What torch's x[...] = updates is exported as."""
    reduction = attributes.get("reduction", "none")
    if reduction not in ("none", "add"):
        raise Unsupported(f"reduction {reduction!r}")
    index = tuple(indices.to(x.device, torch.int64).unbind(-1))
    return x.index_put(index, updates.to(x.dtype), accumulate=reduction == "add")


@operator("Concat")
def _concat(attributes: Attributes, opset: int, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, attributes["axis"])


@operator("Split")
def _split(attributes: Attributes, opset: int, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = _axis(attributes.get("axis", 0), x.ndim)
    lengths = _ints(sizes) if sizes is not None else attributes.get("split")
    if lengths is None:
        parts = attributes["num_outputs"]
        lengths = [-(-x.shape[axis] // parts)] * (parts - 1)
        lengths.append(x.shape[axis] - sum(lengths))
    return torch.split(x, lengths, axis)


@operator("Slice")
def _slice(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    begin = attributes["starts"] if starts is None else _ints(starts)
    end = attributes["ends"] if ends is None else _ints(ends)
    which = (_ints(axes) if axes is not None else attributes.get("axes")) or list(range(len(begin)))
    step = _ints(steps) if steps is not None else [1] * len(begin)
    for axis, b, e, s in zip(which, begin, end, step, strict=True):
        size = x.shape[_axis(axis, x.ndim)]
        if s > 0:
            x = x[(slice(None),) * _axis(axis, x.ndim) + (slice(b, e, s),)]
        else:
            index = list(range(size))[slice(b, e if e >= -size else None, s)]
            x = x.index_select(_axis(axis, x.ndim), torch.tensor(index, dtype=torch.int64).to(x.device))
    return x


@operator("Pad")
def _pad(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    amounts = attributes["pads"] if pads is None else _ints(pads)
    which = list(range(x.ndim)) if axes is None else [_axis(a, x.ndim) for a in _ints(axes)]
    mode = attributes.get("mode", "constant")
    before = dict(zip(which, amounts[: len(which)], strict=True))
    after = dict(zip(which, amounts[len(which) :], strict=True))
    if mode == "constant":
        pairs = [amount for axis in reversed(range(x.ndim)) for amount in (before.get(axis, 0), after.get(axis, 0))]
        fill = float(value.item()) if value is not None else attributes.get("value", 0.0)
        return F.pad(x, pairs, value=fill)
    for axis in which:
        b, a, size = before[axis], after[axis], x.shape[axis]
        if b == a == 0:
            continue
        at = torch.arange(-b, size + a, device=x.device)
        if mode == "edge":
            at = at.clamp(0, size - 1)
        elif mode == "reflect":
            if size == 1:
                at = torch.zeros_like(at)
            else:
                at = at.remainder(2 * (size - 1))
                at = torch.minimum(at, 2 * (size - 1) - at)
        elif mode == "wrap":
            at = at.remainder(size)
        else:
            raise Unsupported(f"mode {mode!r}")
        x = x.index_select(axis, at)
    return x


@operator("DepthToSpace")
def _depth_to_space(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    block = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    x = x.reshape(n, block, block, c // (block * block), h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // (block * block), h * block, w * block)


@operator("SpaceToDepth")
def _space_to_depth(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    block = attributes["blocksize"]
    x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * block * block, h // block, w // block)


@operator("Reshape")
def _reshape(attributes: Attributes, opset: int, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def _flatten(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    axis = attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def _transpose(attributes: Attributes, opset: int, x: Tensor) -> Tensor:
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


@operator("Unsqueeze")
def _unsqueeze(attributes: Attributes, opset: int, x: Tensor, axes: Tensor | None = None) -> Tensor:
    which = attributes["axes"] if axes is None else _ints(axes)
    rank = x.ndim + len(which)
    for axis in sorted(_axis(a, rank) for a in which):
        x = x.unsqueeze(axis)
    return x


@operator("Squeeze")
def _squeeze(attributes: Attributes, opset: int, x: Tensor, axes: Tensor | None = None) -> Tensor:
    which = attributes.get("axes") if axes is None else _ints(axes)
    return x.squeeze() if which is None else x.squeeze(tuple(which))


@operator("Expand")
def _expand(attributes: Attributes, opset: int, x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))


@operator("Tile")
def _tile(attributes: Attributes, opset: int, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(_ints(repeats))


@operator("Col2Im")
def _columns_to_image(attributes: Attributes, opset: int, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    sides = len(_ints(image))
    pads = attributes.get("pads", [0] * (2 * sides))
    if sides != 2 or pads[:sides] != pads[sides:]:
        raise Unsupported(f"{sides} sides, pads {pads}")
    dilations, strides = attributes.get("dilations", [1, 1]), attributes.get("strides", [1, 1])
    return F.fold(x, tuple(_ints(image)), tuple(_ints(block)), tuple(dilations), tuple(pads[:sides]), tuple(strides))


# --- resampling ------------------------------------------------------------------------------------------------------


def _resize_axis(x: Tensor, axis: int, size: int, scale: float, attributes: Attributes) -> Tensor:
    """Resample one axis to `size`, as the ONNX specification of Resize gives the coordinates and weights."""
    mode = attributes.get("mode", "nearest")
    transform = attributes.get("coordinate_transformation_mode", "half_pixel")
    length = x.shape[axis]
    if size == length and scale == 1.0:
        return x
    out = torch.arange(size, dtype=torch.float64)
    if transform in ("half_pixel", "half_pixel_symmetric"):
        at = (out + 0.5) / scale - 0.5
        if transform == "half_pixel_symmetric":
            adjustment = size / (scale * length)
            at = length / 2 * (1 - adjustment) + at
    elif transform == "pytorch_half_pixel":
        at = (out + 0.5) / scale - 0.5 if size > 1 else torch.zeros_like(out)
    elif transform == "align_corners":
        at = out * (length - 1) / (size - 1) if size > 1 else torch.zeros_like(out)
    elif transform == "asymmetric":
        at = out / scale
    else:
        raise Unsupported(f"coordinate_transformation_mode {transform!r}")

    def take(index: Tensor) -> Tensor:
        return x.index_select(axis, index.clamp(0, length - 1).to(x.device, torch.int64))

    weight_shape = [1] * x.ndim
    weight_shape[axis] = size
    if mode == "nearest":
        how = attributes.get("nearest_mode", "round_prefer_floor")
        # Coordinates that are whole but for the rounding of the arithmetic above count as whole.
        near = torch.round(at * 2**20) / 2**20
        index = {
            "round_prefer_floor": lambda: torch.ceil(near - 0.5),
            "round_prefer_ceil": lambda: torch.floor(near + 0.5),
            "floor": lambda: torch.floor(near),
            "ceil": lambda: torch.ceil(near),
        }[how]()
        return take(index)
    if attributes.get("antialias", 0) and scale < 1:
        taps, weights = _antialiased(at, scale, mode, attributes, length)
        result = torch.zeros((), dtype=x.dtype, device=x.device)
        for tap, weight in zip(taps, weights, strict=True):
            result = result + take(tap) * weight.to(x.device, x.dtype).reshape(weight_shape)
        return result
    low = torch.floor(at)
    fraction = at - low
    if mode == "linear":
        # Beyond the edges the edge sample counts, so the fraction there does not matter.
        weight = fraction.to(x.device, x.dtype).reshape(weight_shape)
        return take(low) * (1 - weight) + take(low + 1) * weight
    if mode == "cubic":
        weights = _cubic(torch.stack([fraction + 1, fraction, 1 - fraction, 2 - fraction]), attributes)
        taps = torch.stack([low - 1, low, low + 1, low + 2])
        if attributes.get("exclude_outside", 0):
            weights = torch.where((taps < 0) | (taps >= length), torch.zeros_like(weights), weights)
            weights = weights / weights.sum(0)
        result = torch.zeros((), dtype=x.dtype, device=x.device)
        for tap, weight in zip(taps, weights, strict=True):
            result = result + take(tap) * weight.to(x.device, x.dtype).reshape(weight_shape)
        return result
    raise Unsupported(f"mode {mode!r}")


def _cubic(distances: Tensor, attributes: Attributes) -> Tensor:
    """Keys' kernel at distances from 0 to 2; 0 beyond."""
    a = attributes.get("cubic_coeff_a", -0.75)
    near = ((a + 2) * distances - (a + 3)) * distances**2 + 1
    far = ((distances - 5) * distances + 8) * distances * a - 4 * a
    weights = torch.where(distances <= 1, near, far)
    return torch.where(distances < 2, weights, torch.zeros_like(weights))


def _antialiased(at: Tensor, scale: float, mode: str, attributes: Attributes, length: int) -> tuple[Tensor, Tensor]:
    """Positions and weights of the samples for each output sample: the kernel as wide as the output's raster."""
    reach = (1 if mode == "linear" else 2) / scale
    first = torch.floor(at - reach)
    taps = first + torch.arange(2 * math.ceil(reach) + 2, dtype=torch.float64).reshape(-1, 1)
    distances = (taps - at).abs() * scale
    weights = (1 - distances).clamp(min=0) if mode == "linear" else _cubic(distances, attributes)
    if attributes.get("exclude_outside", 0):
        weights = torch.where((taps < 0) | (taps >= length), torch.zeros_like(weights), weights)
    return taps, weights / weights.sum(0)


@operator("Resize")
def resize(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    if opset < 11:
        raise Unsupported("opset 10; export with opset 11 or later")
    which = [_axis(a, x.ndim) for a in attributes.get("axes", range(x.ndim))]
    if sizes is not None and sizes.numel():
        targets = _ints(sizes)
        factors = [t / x.shape[a] for t, a in zip(targets, which, strict=True)]
        policy = attributes.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(factors)
            targets = [math.floor(factor * x.shape[a] + 0.5) for a in which]
    elif scales is not None and scales.numel():
        factors = [float(s) for s in scales.reshape(-1).tolist()]
        targets = [math.floor(x.shape[a] * f) for a, f in zip(which, factors, strict=True)]
    else:
        raise ValueError("neither scales nor sizes")
    for axis, size, factor in zip(which, targets, factors, strict=True):
        x = _resize_axis(x, axis, size, factor, attributes)
    return x


@operator("Upsample")
def _upsample(attributes: Attributes, opset: int, x: Tensor, scales: Tensor) -> Any:
    settings = {
        "mode": attributes.get("mode", "nearest"),
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return resize(settings, 11, x, None, scales)


@operator("GridSample")
def _grid_sample(attributes: Attributes, opset: int, x: Tensor, grid: Tensor) -> Tensor:
    mode: Any = {"linear": "bilinear", "cubic": "bicubic"}.get(
        attributes.get("mode", "linear"), attributes.get("mode", "linear")
    )
    return F.grid_sample(
        x, grid, mode, attributes.get("padding_mode", "zeros"), bool(attributes.get("align_corners", 0))
    )


@operator("DeformConv")
def _deformable_convolution(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    if x.ndim != 4:
        raise Unsupported(f"an input of rank {x.ndim}")
    groups, offset_groups = attributes.get("group", 1), attributes.get("offset_group", 1)
    kernel = weight.shape[2:]
    taps = kernel[0] * kernel[1]
    batch, channels, *size = x.shape
    out = offset.shape[2:]
    # Where each tap of the kernel reads: its own place, moved by the offset; rows first.
    moved = offset.reshape(batch * offset_groups, taps, 2, *out)
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    at = []
    for axis in (0, 1):
        inside = torch.arange(kernel[axis], device=x.device) * dilations[axis] - pads[axis]
        outer = torch.arange(out[axis], device=x.device) * strides[axis]
        tap = inside.repeat_interleave(kernel[1]) if axis == 0 else inside.repeat(kernel[0])
        own = tap.reshape(1, taps, 1, 1) + outer.reshape(1, 1, *((-1, 1) if axis == 0 else (1, -1)))
        # As grid_sample counts with align_corners=False: from -1 to 1 between the outer edges of the samples.
        at.append((2 * (moved[:, :, axis] + own) + 1) / size[axis] - 1)
    grid = torch.stack([at[1], at[0]], -1).reshape(batch * offset_groups, taps * out[0], out[1], 2)
    grouped = x.reshape(batch * offset_groups, channels // offset_groups, *size)
    read = F.grid_sample(grouped, grid, "bilinear", "zeros", align_corners=False)
    read = read.reshape(batch, offset_groups, channels // offset_groups, taps, *out)
    if mask is not None:
        read = read * mask.reshape(batch, offset_groups, 1, taps, *out)
    read = read.reshape(batch, groups, channels // groups * taps, out[0] * out[1])
    weights = weight.reshape(groups, weight.shape[0] // groups, channels // groups * taps)
    result = torch.matmul(weights, read).reshape(batch, weight.shape[0], *out)
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)
