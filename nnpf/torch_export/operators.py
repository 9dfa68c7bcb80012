"""ATen operators in terms of ONNX operators.

Each function gets the builder and the operator's arguments by their names in torch's schema: tensors and sizes that
depend on the input as names of values, all else as plain Python. Operators of several results get the sizes of these,
too. Tested against torch itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from nnpf.torch_export.archive import DTYPES

if TYPE_CHECKING:
    from nnpf.torch_export.conversion import Builder

Function = Callable[..., Any]
Size = int | str  # a number, or the name of a value
_END = (1 << 63) - 1
_FLOAT = 7  # ScalarType


class Unsupported(Exception):
    """A setting of an operator that is not covered."""


OPERATORS: dict[str, Function] = {}


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for operators, named without torch.ops."""

    def register(function: Function) -> Function:
        for name in names:
            OPERATORS[f"aten.{name}" if not name.startswith("_operator.") else name] = function
        return function

    return register


# --- element by element ----------------------------------------------------------------------------------------------

for _aten, _onnx in {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
    "neg": "Neg", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sin": "Sin", "cos": "Cos", "erf": "Erf",
    "reciprocal": "Reciprocal", "mish": "Mish", "hardswish": "HardSwish", "sign": "Sign", "tan": "Tan", "asin": "Asin",
    "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh",
    "atanh": "Atanh", "isnan": "IsNaN", "softsign": "Softsign",
}.items():  # fmt: skip
    operator(f"{_aten}.default")(lambda b, self, op=_onnx: b.node(op, [self]))
for _aten, _onnx in {
    "minimum.default": "Min", "maximum.default": "Max", "max.other": "Max", "min.other": "Min",
}.items():  # fmt: skip
    operator(_aten)(lambda b, self, other, op=_onnx: b.node(op, [self, other]))


@operator(
    "clone.default", "alias.default", "contiguous.default", "detach.default", "lift_fresh_copy.default",
    "dropout.default", "feature_dropout.default", "dropout2d.default",
)  # fmt: skip
def _same(b: Builder, self: str | None = None, input: str | None = None, **settings: Any) -> str:
    if settings.get("train"):
        raise Unsupported("dropout in training; export the model in eval mode")
    return str(b.node("Identity", [self or input or ""]))


def _operands(b: Builder, x: Any, y: Any, alpha: float = 1) -> tuple[str, str]:
    """Two operands of the same type; one may be a number."""
    if not isinstance(x, str):
        y, x = _operands(b, y, x)
        return x, y if alpha == 1 else b.node("Mul", [y, b.constant(alpha, np.float32)])
    dtype = b.dtype(x)
    if isinstance(y, str):
        other, value = b.dtype(y), y
        if other != dtype and dtype.kind == "f":
            value = b.node("Cast", [y], to=helper.np_dtype_to_tensor_dtype(dtype))
        elif other != dtype:
            x = b.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(other))
            dtype = other
    else:
        if isinstance(y, float) and dtype.kind != "f":
            dtype = np.dtype(np.float32)
            x = b.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(dtype))
        value = b.constant(y, dtype)
    if alpha != 1:
        value = b.node("Mul", [value, b.constant(alpha, dtype)])
    return x, value


def _binary(op: str, b: Builder, self: str, other: Any, alpha: float = 1) -> str:
    return str(b.node(op, list(_operands(b, self, other, alpha))))


for _aten, _onnx in {"add": "Add", "sub": "Sub", "mul": "Mul"}.items():
    operator(f"{_aten}.Tensor", f"{_aten}.Scalar")(partial(_binary, _onnx))
for _aten, _onnx in {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal"}.items():
    operator(f"{_aten}.Tensor", f"{_aten}.Scalar")(partial(_binary, _onnx))
operator("pow.Tensor_Tensor")(lambda b, self, exponent: b.node("Pow", [self, exponent]))
operator("pow.Tensor_Scalar")(
    lambda b, self, exponent: b.node("Mul", [self, self]) if exponent == 2 else _binary("Pow", b, self, float(exponent))
)
operator("square.default")(lambda b, self: b.node("Mul", [self, self]))
operator("exp2.default")(lambda b, self: b.node("Pow", [b.constant(2, b.dtype(self)), self]))
for _name, _base in {"log2": 2.0, "log10": 10.0}.items():
    operator(f"{_name}.default")(
        lambda b, self, base=_base: b.node(
            "Mul", [b.node("Log", [self]), b.constant(1 / math.log(base), b.dtype(self))]
        )
    )
operator("rsqrt.default")(lambda b, self: b.node("Reciprocal", [b.node("Sqrt", [self])]))
operator("silu.default")(lambda b, self: b.node("Mul", [self, b.node("Sigmoid", [self])]))
operator("softplus.default")(lambda b, self, beta=1, threshold=20: _softplus(b, self, beta))
operator("leaky_relu.default")(lambda b, self, negative_slope=0.01: b.node("LeakyRelu", [self], alpha=negative_slope))
operator("where.self")(lambda b, condition, self, other: b.node("Where", [condition, self, other]))
operator("selu.default")(lambda b, self: b.node("Selu", [self]))
operator("celu.default")(lambda b, self, alpha=1: b.node("Celu", [self], alpha=float(alpha)))
operator("log_sigmoid.default")(lambda b, self: b.node("Neg", [_softplus(b, b.node("Neg", [self]), 1)]))
operator("masked_fill.Scalar")(
    lambda b, self, mask, value: b.node("Where", [mask, b.constant(value, b.dtype(self)), self])
)
for _aten, _onnx in {
    "logical_and.default": "And", "__and__.Tensor": "And", "bitwise_and.Tensor": "And",
    "logical_or.default": "Or", "__or__.Tensor": "Or", "bitwise_or.Tensor": "Or",
}.items():  # fmt: skip
    operator(_aten)(lambda b, self, other, op=_onnx: b.node(op, [_truth(b, self), _truth(b, other)]))
operator("logical_not.default", "bitwise_not.default")(lambda b, self: b.node("Not", [_truth(b, self)]))
operator("ne.Tensor", "ne.Scalar")(lambda b, self, other: b.node("Not", [_binary("Equal", b, self, other)]))


def _truth(b: Builder, x: str) -> str:
    if b.dtype(x).kind != "b":
        raise Unsupported("bits of integers")
    return x


def _with_product(op: str, b: Builder, self: str, tensor1: str, tensor2: str, value: float = 1) -> str:
    product = b.node(op, [tensor1, tensor2])
    if value != 1:
        product = b.node("Mul", [product, b.constant(value, b.dtype(self))])
    return str(b.node("Add", [self, product]))


operator("addcmul.default")(partial(_with_product, "Mul"))
operator("addcdiv.default")(partial(_with_product, "Div"))


@operator("remainder.Scalar", "remainder.Tensor")
def _remainder(b: Builder, self: str, other: Any) -> str:
    x, y = _operands(b, self, other)
    if b.dtype(self).kind != "f" and not isinstance(other, float):
        return str(b.node("Mod", [x, y]))  # of integers it has the sign of the divisor, too
    return str(b.node("Sub", [x, b.node("Mul", [b.node("Floor", [b.node("Div", [x, y])]), y])]))


operator("fmod.Scalar", "fmod.Tensor")(lambda b, self, other: b.node("Mod", list(_operands(b, self, other)), fmod=1))


@operator("glu.default")
def _glu(b: Builder, self: str, dim: int = -1) -> str:
    half, gate = b.node("Split", [self], outputs=2, axis=dim, num_outputs=2)
    return str(b.node("Mul", [half, b.node("Sigmoid", [gate])]))


@operator("lerp.Tensor", "lerp.Scalar")
def _lerp(b: Builder, self: str, end: str, weight: Any) -> str:
    share = weight if isinstance(weight, str) else b.constant(weight, b.dtype(self))
    return str(b.node("Add", [self, b.node("Mul", [b.node("Sub", [end, self]), share])]))


def _softplus(b: Builder, x: str, beta: float) -> str:
    if beta == 1:
        return str(b.node("Softplus", [x]))
    scale = b.constant(beta, b.dtype(x))
    return str(b.node("Div", [b.node("Softplus", [b.node("Mul", [x, scale])]), scale]))


@operator("rsub.Scalar", "rsub.Tensor")
def _reversed_sub(b: Builder, self: str, other: Any, alpha: float = 1) -> str:
    x, y = _operands(b, self, other)
    if alpha != 1:
        x = b.node("Mul", [x, b.constant(alpha, b.dtype(self))])
    return str(b.node("Sub", [y, x]))


@operator("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode")
def _div(b: Builder, self: str, other: Any, rounding_mode: str | None = None) -> str:
    if b.dtype(self).kind != "f":
        raise Unsupported("division of integers")
    quotient = _binary("Div", b, self, other)
    if rounding_mode == "floor":
        return str(b.node("Floor", [quotient]))
    if rounding_mode is not None:
        raise Unsupported(f"rounding_mode {rounding_mode}")
    return quotient


@operator("elu.default")
def _elu(b: Builder, self: str, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> str:
    if scale != 1 or input_scale != 1:
        raise Unsupported("scales of elu")
    return str(b.node("Elu", [self], alpha=float(alpha)))


@operator("gelu.default")
def _gelu(b: Builder, self: str, approximate: str = "none") -> str:
    def number(value: float) -> str:
        return b.constant(value, b.dtype(self))

    if approximate == "none":
        inner = b.node("Erf", [b.node("Mul", [self, number(math.sqrt(0.5))])])
    else:
        cube = b.node("Mul", [b.node("Mul", [self, self]), self])
        total = b.node("Add", [self, b.node("Mul", [cube, number(0.044715)])])
        inner = b.node("Tanh", [b.node("Mul", [total, number(math.sqrt(2 / math.pi))])])
    half = b.node("Mul", [self, number(0.5)])
    return str(b.node("Mul", [half, b.node("Add", [inner, number(1.0)])]))


@operator("prelu.default", "_prelu_kernel.default")
def _prelu(b: Builder, self: str, weight: str) -> str:
    if b.rank(weight) == 1 and b.rank(self) > 2:  # along the channels
        weight = b.node("Reshape", [weight, b.constant([-1] + [1] * (b.rank(self) - 2))])
    return str(b.node("PRelu", [self, weight]))


@operator("clamp.default", "clamp.Tensor", "hardtanh.default")
def _clamp(
    b: Builder, self: str, min: Any = None, max: Any = None, min_val: float = -1, max_val: float = 1, **none: Any
) -> str:
    if min is None and max is None:
        min, max = min_val, max_val
    low, high = (
        "" if bound is None else bound if isinstance(bound, str) else b.constant(bound, b.dtype(self))
        for bound in (min, max)
    )
    if any(isinstance(bound, str) and b.rank(bound) > 0 for bound in (min, max)):
        result = self if min is None else b.node("Max", [self, low])
        return str(result if max is None else b.node("Min", [result, high]))
    return str(b.node("Clip", [self, low, high] if high else [self, low]))


operator("clamp_min.default")(lambda b, self, min: _clamp(b, self, min=min))
operator("clamp_max.default")(lambda b, self, max: _clamp(b, self, max=max))
operator("relu6.default")(lambda b, self: _clamp(b, self, min=0, max=6))


@operator("hardsigmoid.default")
def _hard_sigmoid(b: Builder, self: str) -> str:
    return str(b.node("HardSigmoid", [self], alpha=1 / 6, beta=0.5))


@operator("softmax.int", "_softmax.default")
def _softmax(b: Builder, self: str, dim: int, dtype: Any = None, half_to_float: bool = False) -> str:
    return str(b.node("Softmax", [self], axis=dim))


@operator("log_softmax.int", "_log_softmax.default")
def _log_softmax(b: Builder, self: str, dim: int, dtype: Any = None, half_to_float: bool = False) -> str:
    return str(b.node("LogSoftmax", [self], axis=dim))


@operator("_to_copy.default", "to.dtype", "to.dtype_layout", "to.device")
def _to(b: Builder, self: str, dtype: int | None = None, **rest: Any) -> str:
    if dtype is None:
        return str(b.node("Identity", [self]))
    return str(b.node("Cast", [self], to=helper.np_dtype_to_tensor_dtype(DTYPES[dtype])))


# --- convolution, pooling, normalisation, products -------------------------------------------------------------------


def _pair(value: Any, rank: int) -> list[int]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * rank if len(values) == 1 else values


@operator(
    "convolution.default", "conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding", "conv2d.padding"
)
def _convolution(
    b: Builder,
    input: str,
    weight: str,
    bias: str | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_padding: Any = 0,
    transposed: bool = False,
) -> str:
    rank = b.rank(weight) - 2
    settings: dict[str, Any] = {"strides": _pair(stride, rank), "dilations": _pair(dilation, rank), "group": groups}
    if isinstance(padding, str):
        # torch puts the odd sample of "same" after, as SAME_UPPER does.
        settings["auto_pad"] = {"same": "SAME_UPPER", "valid": "VALID"}[padding]
    else:
        settings["pads"] = _pair(padding, rank) * 2
    if transposed:
        settings["output_padding"] = _pair(output_padding, rank)
    operands = [input, weight, *([bias] if bias else [])]
    return str(b.node("ConvTranspose" if transposed else "Conv", operands, **settings))


operator("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")(
    partial(_convolution, transposed=True)
)


def _pool(
    op: str,
    b: Builder,
    self: str,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: Any = None,
) -> str:
    rank = b.rank(self) - 2
    if divisor_override is not None or (ceil_mode and op != "MaxPool"):  # AveragePool has it from opset 19 on
        raise Unsupported("ceil_mode or divisor_override")
    kernel = _pair(kernel_size, rank)
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": _pair(stride, rank) if stride else kernel,
        "pads": _pair(padding, rank) * 2,
    }
    if op == "MaxPool":
        settings |= {"dilations": _pair(dilation, rank), "ceil_mode": int(ceil_mode)}
    else:
        settings["count_include_pad"] = int(count_include_pad)
    return str(b.node(op, [self], **settings))


operator("avg_pool2d.default", "avg_pool1d.default")(partial(_pool, "AveragePool"))
operator("max_pool2d.default", "max_pool1d.default", "max_pool2d_with_indices.default")(partial(_pool, "MaxPool"))


@operator("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def _adaptive_average_pool(b: Builder, self: str, output_size: Sequence[int]) -> str:
    if list(output_size) != [1, 1]:
        raise Unsupported(f"output_size {list(output_size)}")
    return str(b.node("GlobalAveragePool", [self]))


@operator("adaptive_max_pool2d.default")
def _adaptive_max_pool(b: Builder, self: str, output_size: Sequence[int]) -> str:
    if list(output_size) != [1, 1]:
        raise Unsupported(f"output_size {list(output_size)}")
    return str(b.node("GlobalMaxPool", [self]))


@operator("batch_norm.default", "_native_batch_norm_legit_no_training.default")
def _batch_norm(
    b: Builder,
    input: str,
    weight: str | None,
    bias: str | None,
    running_mean: str,
    running_var: str,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = False,
) -> str:
    if training:
        raise Unsupported("batch normalisation in training; export the model in eval mode")
    if weight is None or bias is None:
        raise Unsupported("batch normalisation without weight and bias")
    return str(b.node("BatchNormalization", [input, weight, bias, running_mean, running_var], epsilon=eps))


@operator("layer_norm.default", "native_layer_norm.default")
def _layer_norm(
    b: Builder,
    input: str,
    normalized_shape: Sequence[int],
    weight: str | None = None,
    bias: str | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> str:
    scale = weight or b.constant(np.ones(list(normalized_shape)), b.dtype(input))
    inputs = [input, scale, *([bias] if bias else [])]
    return str(b.node("LayerNormalization", inputs, axis=-len(normalized_shape), epsilon=eps))


@operator("group_norm.default")
def _group_norm(
    b: Builder,
    input: str,
    num_groups: int,
    weight: str | None = None,
    bias: str | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    dtype, rank = b.dtype(input), b.rank(input)
    ones, zeros = (b.constant(np.full(num_groups, value), dtype) for value in (1, 0))
    groups = b.node("Reshape", [input, b.constant([0, num_groups, -1])])
    normal = b.node("InstanceNormalization", [groups, ones, zeros], epsilon=eps)
    result = b.node("Reshape", [normal, b.node("Shape", [input])])
    for op, parameter in (("Mul", weight), ("Add", bias)):
        if parameter is not None:
            shaped = b.node("Reshape", [parameter, b.constant([-1] + [1] * (rank - 2))])
            result = b.node(op, [result, shaped])
    return str(result)


@operator("instance_norm.default")
def _instance_norm(
    b: Builder,
    input: str,
    weight: str | None = None,
    bias: str | None = None,
    running_mean: str | None = None,
    running_var: str | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> str:
    if not use_input_stats:
        raise Unsupported("instance normalisation with running statistics")
    if weight is not None and bias is not None:
        return str(b.node("InstanceNormalization", [input, weight, bias], epsilon=eps))
    dims = list(range(2, b.rank(input)))
    spread = b.node("Sqrt", [b.node("Add", [_variance(b, input, dims, 0, True), b.constant(eps, b.dtype(input))])])
    centred = b.node("Sub", [input, b.node("ReduceMean", [input, b.constant(dims)], keepdims=1)])
    return str(b.node("Div", [centred, spread]))


operator("matmul.default", "mm.default", "bmm.default")(
    lambda b, self, other=None, mat2=None: b.node("MatMul", [self, other or mat2])
)


@operator("linear.default")
def _linear(b: Builder, input: str, weight: str, bias: str | None = None) -> str:
    product = b.node("MatMul", [input, b.node("Transpose", [weight], perm=[1, 0])])
    return str(b.node("Add", [product, bias]) if bias else product)


@operator("addmm.default")
def _addmm(b: Builder, self: str, mat1: str, mat2: str, beta: float = 1, alpha: float = 1) -> str:
    return str(b.node("Gemm", [mat1, mat2, self], alpha=float(alpha), beta=float(beta)))


@operator("scaled_dot_product_attention.default")
def _attention(
    b: Builder,
    query: str,
    key: str,
    value: str,
    attn_mask: str | None = None,
    dropout_p: float = 0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> str:
    if dropout_p or is_causal or enable_gqa:
        raise Unsupported("dropout_p, is_causal or enable_gqa")
    dtype, rank = b.dtype(query), b.rank(key)
    if scale is None:
        width = b.node("Cast", [_size(b, query, -1)], to=helper.np_dtype_to_tensor_dtype(dtype))
        query = b.node("Div", [query, b.node("Sqrt", [width])])
    else:
        query = b.node("Mul", [query, b.constant(scale, dtype)])
    turned = b.node("Transpose", [key], perm=[*range(rank - 2), rank - 1, rank - 2])
    scores = b.node("MatMul", [query, turned])
    if attn_mask is not None and b.dtype(attn_mask).kind == "b":
        scores = b.node("Where", [attn_mask, scores, b.constant(-math.inf, dtype)])
    elif attn_mask is not None:
        scores = b.node("Add", [scores, attn_mask])
    return str(b.node("MatMul", [b.node("Softmax", [scores], axis=-1), value]))


@operator("_weight_norm.default")
def _weight_norm(b: Builder, v: str, g: str, dim: int = 0) -> str:
    others = [at for at in range(b.rank(v)) if at != dim]
    return str(b.node("Mul", [v, b.node("Div", [g, b.node("ReduceL2", [v, b.constant(others)], keepdims=1)])]))


operator("einsum.default")(lambda b, equation, tensors, path=None: b.node("Einsum", list(tensors), equation=equation))


def _reduce(op: str, b: Builder, self: str, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> str:
    dims = list(range(b.rank(self))) if dim is None or dim == [] else _pair(dim, 1)
    return str(b.node(op, [self, b.constant(dims)], keepdims=int(keepdim)))


for _aten, _onnx in {
    "mean.dim": "ReduceMean", "sum.dim_IntList": "ReduceSum", "amax.default": "ReduceMax", "amin.default": "ReduceMin",
    "mean.default": "ReduceMean", "sum.default": "ReduceSum",
}.items():  # fmt: skip
    operator(_aten)(partial(_reduce, _onnx))


operator("max.dim")(lambda b, self, dim, keepdim=False: _reduce("ReduceMax", b, self, dim, keepdim))
operator("min.dim")(lambda b, self, dim, keepdim=False: _reduce("ReduceMin", b, self, dim, keepdim))


def _variance(b: Builder, x: str, dims: Sequence[int], correction: float, keepdim: bool) -> str:
    axes = b.constant(list(dims))
    centred = b.node("Sub", [x, b.node("ReduceMean", [x, axes], keepdims=1)])
    squares = b.node("Mul", [centred, centred])
    if correction == 0:
        return str(b.node("ReduceMean", [squares, axes], keepdims=int(keepdim)))
    count = b.node("ReduceProd", [b.node("Gather", [b.node("Shape", [x]), axes])], keepdims=0)
    count = b.node("Cast", [count], to=helper.np_dtype_to_tensor_dtype(b.dtype(x)))
    total = b.node("ReduceSum", [squares, axes], keepdims=int(keepdim))
    return str(b.node("Div", [total, b.node("Sub", [count, b.constant(correction, b.dtype(x))])]))


def _spread(
    root: bool,
    b: Builder,
    self: str,
    dim: Any = None,
    unbiased: bool = True,
    keepdim: bool = False,
    correction: float | None = None,
) -> str:
    dims = _pair(dim, 1) if dim is not None and dim != [] else list(range(b.rank(self)))
    variance = _variance(b, self, dims, float(unbiased) if correction is None else correction, keepdim)
    return str(b.node("Sqrt", [variance])) if root else variance


for _name in ("dim", "correction", "default"):
    operator(f"var.{_name}")(partial(_spread, False))
    operator(f"std.{_name}")(partial(_spread, True))


@operator("logsumexp.default")
def _log_sum_exp(b: Builder, self: str, dim: Any, keepdim: bool = False) -> str:
    return _reduce("ReduceLogSumExp", b, self, dim, keepdim)


@operator("rms_norm.default")
def _rms_norm(
    b: Builder, input: str, normalized_shape: Sequence[int], weight: str | None = None, eps: float | None = None
) -> str:
    axes = b.constant(list(range(-len(normalized_shape), 0)))
    dtype = b.dtype(input)
    mean = b.node("ReduceMean", [b.node("Mul", [input, input]), axes], keepdims=1)
    added = b.constant(np.finfo(dtype).eps if eps is None else eps, dtype)
    result = b.node("Div", [input, b.node("Sqrt", [b.node("Add", [mean, added])])])
    return str(result if weight is None else b.node("Mul", [result, weight]))


@operator("cumsum.default")
def _cumsum(b: Builder, self: str, dim: int, dtype: int | None = None) -> str:
    if dtype is not None:
        self = _to(b, self, dtype)
    return str(b.node("CumSum", [self, b.constant(dim)]))


@operator("topk.default")
def _topk(b: Builder, self: str, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> list[str]:
    return list(b.node("TopK", [self, _vector(b, [k])], outputs=2, axis=dim, largest=int(largest), sorted=int(sorted)))


def _extreme(op: str, b: Builder, self: str, dim: int | None = None, keepdim: bool = False) -> str:
    if dim is None:
        raise Unsupported("of all of a tensor")
    return str(b.node(op, [self], axis=dim, keepdims=int(keepdim)))


operator("argmax.default")(partial(_extreme, "ArgMax"))
operator("argmin.default")(partial(_extreme, "ArgMin"))


@operator("linalg_vector_norm.default")
def _vector_norm(
    b: Builder, self: str, ord: float = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> str:
    if ord != 2:
        raise Unsupported(f"ord {ord}")
    return _reduce("ReduceL2", b, self, dim, keepdim)


# --- shapes and layout -----------------------------------------------------------------------------------------------


def _vector(b: Builder, sizes: Sequence[Size]) -> str:
    """A list of sizes as an int64 vector."""
    if not any(isinstance(size, str) for size in sizes):
        return b.constant(list(sizes))
    parts = [
        b.node("Unsqueeze", [size, b.constant([0])]) if isinstance(size, str) else b.constant([size]) for size in sizes
    ]
    return str(b.node("Concat", parts, axis=0))


@operator("sym_size.int")
def _size(b: Builder, self: str, dim: int) -> str:
    # In operators that shape inference follows.
    return str(b.node("Gather", [b.node("Shape", [self]), b.constant(dim % b.rank(self))], axis=0))


def _size_arithmetic(op: str, builder: Builder, /, a: Size, b: Size) -> str:
    return str(builder.node(op, [value if isinstance(value, str) else builder.constant(value) for value in (a, b)]))


for _name, _onnx in {"add": "Add", "sub": "Sub", "mul": "Mul", "floordiv": "Div", "mod": "Mod"}.items():
    OPERATORS[f"_operator.{_name}"] = partial(_size_arithmetic, _onnx)
for _name, _onnx in {"sym_max": "Max", "sym_min": "Min"}.items():
    OPERATORS[f"torch.{_name}"] = partial(_size_arithmetic, _onnx)


@operator("view.default", "reshape.default", "_unsafe_view.default")
def _view(b: Builder, self: str, size: Sequence[Size] = (), shape: Sequence[Size] = ()) -> str:
    return str(b.node("Reshape", [self, _vector(b, size or shape)], allowzero=1))


operator("view_as.default", "reshape_as.default")(
    lambda b, self, other: b.node("Reshape", [self, b.node("Shape", [other])], allowzero=1)
)


@operator("unflatten.int")
def _unflatten(b: Builder, self: str, dim: int, sizes: Sequence[Size]) -> str:
    rank = b.rank(self)
    before = b.node("Shape", [self], start=0, end=dim % rank)
    after = b.node("Shape", [self], start=dim % rank + 1, end=rank)
    return str(b.node("Reshape", [self, b.node("Concat", [before, _vector(b, sizes), after], axis=0)]))


@operator("flatten.using_ints")
def _flatten(b: Builder, self: str, start_dim: int = 0, end_dim: int = -1) -> str:
    rank = b.rank(self)
    start, end = start_dim % rank, end_dim % rank
    before, after = b.node("Shape", [self], start=0, end=start), b.node("Shape", [self], start=end + 1, end=rank)
    return str(b.node("Reshape", [self, b.node("Concat", [before, b.constant([-1]), after], axis=0)]))


@operator("permute.default")
def _permute(b: Builder, self: str, dims: Sequence[int]) -> str:
    return str(b.node("Transpose", [self], perm=[dim % b.rank(self) for dim in dims]))


@operator("transpose.int", "swapaxes.default")
def _transpose(b: Builder, self: str, dim0: int, dim1: int) -> str:
    order = list(range(b.rank(self)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return str(b.node("Transpose", [self], perm=order))


operator("t.default")(lambda b, self: b.node("Transpose", [self], perm=list(reversed(range(b.rank(self))))))
operator("unsqueeze.default")(lambda b, self, dim: b.node("Unsqueeze", [self, b.constant([dim])]))
operator("squeeze.dim", "squeeze.dims")(lambda b, self, dim: b.node("Squeeze", [self, b.constant(_pair(dim, 1))]))
operator("cat.default", "concat.default")(lambda b, tensors, dim=0: b.node("Concat", list(tensors), axis=dim))


@operator("stack.default")
def _stack(b: Builder, tensors: Sequence[str], dim: int = 0) -> str:
    return str(b.node("Concat", [b.node("Unsqueeze", [x, b.constant([dim])]) for x in tensors], axis=dim))


@operator("expand.default")
def _expand(b: Builder, self: str, size: Sequence[Size], implicit: bool = False) -> str:
    # -1 keeps a size, as 1 does.
    return str(b.node("Expand", [self, _vector(b, [1 if item == -1 else item for item in size])]))


operator("expand_as.default")(lambda b, self, other: b.node("Expand", [self, b.node("Shape", [other])]))


@operator("roll.default")
def _roll(b: Builder, self: str, shifts: Sequence[Size], dims: Sequence[int] = ()) -> str:
    if len(shifts) != len(dims) or any(isinstance(shift, str) for shift in shifts):
        raise Unsupported("shifts of the flattened tensor, or by a size")
    for shift, dim in zip(shifts, dims, strict=True):
        if shift != 0:  # by less than the tensor has: the sizes of windows
            assert isinstance(shift, int)
            halves = [_slice(b, self, dim, -shift), _slice(b, self, dim, 0, -shift)]
            self = str(b.node("Concat", halves, axis=dim))
    return self


@operator("flip.default")
def _flip(b: Builder, self: str, dims: Sequence[int]) -> str:
    starts, steps = [-1] * len(dims), [-1] * len(dims)
    ends = [-_END] * len(dims)
    return str(b.node("Slice", [self, *(b.constant(list(item)) for item in (starts, ends, dims, steps))]))


@operator("repeat.default")
def _repeat(b: Builder, self: str, repeats: Sequence[Size]) -> str:
    missing = len(repeats) - b.rank(self)
    if missing:
        self = b.node("Unsqueeze", [self, b.constant(list(range(missing)))])
    return str(b.node("Tile", [self, _vector(b, repeats)]))


@operator("slice.Tensor")
def _slice(
    b: Builder, self: str, dim: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> str:
    begin, stop = start if start is not None else 0, end if end is not None else _END
    if (begin, stop, step) == (0, _END, 1):
        return str(b.node("Identity", [self]))
    bounds = [_vector(b, [begin]), _vector(b, [stop])]
    return str(b.node("Slice", [self, *bounds, b.constant([dim]), b.constant([step])]))


@operator("narrow.default")
def _narrow(b: Builder, self: str, dim: int, start: Size, length: Size) -> str:
    if isinstance(start, str) or isinstance(length, str):
        raise Unsupported("a start or length that depends on the input")
    return str(_slice(b, self, dim, start, start + length))


@operator("movedim.int")
def _movedim(b: Builder, self: str, source: int, destination: int) -> str:
    order = list(range(b.rank(self)))
    order.insert(destination % b.rank(self), order.pop(source))
    return str(b.node("Transpose", [self], perm=order))


@operator("index.Tensor")
def _index(b: Builder, self: str, indices: Sequence[str | None]) -> str:
    given = [(at, index) for at, index in enumerate(indices) if index is not None]
    if len(given) != 1 or b.dtype(given[0][1]).kind != "i":
        raise Unsupported("several indices, or one of truth values")
    return str(b.node("Gather", [self, given[0][1]], axis=given[0][0]))


operator("index_select.default")(lambda b, self, dim, index: b.node("Gather", [self, index], axis=dim))
operator("gather.default")(
    lambda b, self, dim, index, sparse_grad=False: b.node("GatherElements", [self, index], axis=dim)
)


@operator("select.int")
def _select(b: Builder, self: str, dim: int, index: int) -> str:
    return str(b.node("Gather", [self, b.constant(index)], axis=dim))


@operator("slice_scatter.default")
def _slice_scatter(
    b: Builder,
    self: str,
    src: str,
    dim: int = 0,
    start: Size | None = None,
    end: Size | None = None,
    step: int = 1,
) -> str:
    """The tensor with a part of it replaced."""
    if step == 1:
        before = [] if start in (None, 0) else [_slice(b, self, dim, 0, start)]
        after = [] if end in (None, _END) else [_slice(b, self, dim, end)]
        return str(b.node("Concat", [*before, src, *after], axis=dim))
    # Rows of both, behind one another; and which of them stands where.
    bounds = [_vector(b, [start if start is not None else 0]), _vector(b, [end if end is not None else _END])]
    rows = _counted(b, b.constant(0), _size(b, self, dim))
    chosen = b.node("Slice", [rows, *bounds, b.constant([0]), b.constant([step])])
    end_of_src = b.node("Add", [_size(b, self, dim), b.node("Squeeze", [b.node("Shape", [chosen])])])
    order = b.node("ScatterElements", [rows, chosen, _counted(b, _size(b, self, dim), end_of_src)], axis=0)
    return str(b.node("Gather", [b.node("Concat", [self, src], axis=dim), order], axis=dim))


def _counted(b: Builder, start: str, end: str) -> str:
    return str(b.node("Range", [start, end, b.constant(1)]))


@operator("select_scatter.default")
def _select_scatter(b: Builder, self: str, src: str, dim: int, index: int) -> str:
    row = b.node("Unsqueeze", [src, b.constant([dim])])
    return str(_slice_scatter(b, self, row, dim, index, None if index == -1 else index + 1))


operator("copy.default")(
    lambda b, self, src, non_blocking=False: b.node(
        "Expand",
        [b.node("Cast", [src], to=helper.np_dtype_to_tensor_dtype(b.dtype(self))), b.node("Shape", [self])],
    )
)


operator("fill.Scalar")(lambda b, self, value: _full_like(b, self, value))
operator("zero.default")(lambda b, self: _full_like(b, self, 0))
operator("fill.Tensor")(lambda b, self, value: OPERATORS["aten.copy.default"](b, self, value))


for _name in ("tril", "triu"):
    operator(f"{_name}.default")(
        lambda b, self, diagonal=0, upper=int(_name == "triu"): b.node(
            "Trilu", [self, b.constant(diagonal)], upper=upper
        )
    )


@operator("im2col.default")
def _im2col(
    b: Builder,
    self: str,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> str:
    """By a convolution whose kernels take a sample each: ONNX has the way back only."""
    channels = b.side(self, 1)
    taps = math.prod(kernel_size)
    one_each = np.tile(np.eye(taps, dtype=np.float32).reshape(taps, 1, *kernel_size), (channels, 1, 1, 1))
    taken = b.node(
        "Conv",
        [self, b.constant(one_each, b.dtype(self))],
        group=channels,
        dilations=list(dilation),
        pads=[*padding, *padding],
        strides=list(stride),
    )
    return str(b.node("Reshape", [taken, b.constant([0, channels * taps, -1])]))


@operator("col2im.default")
def _col2im(
    b: Builder,
    self: str,
    output_size: Sequence[Size],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> str:
    return str(
        b.node(
            "Col2Im",
            [self, _vector(b, output_size), b.constant(list(kernel_size))],
            dilations=list(dilation),
            pads=[*padding, *padding],
            strides=list(stride),
        )
    )


@operator("split.Tensor", "split_with_sizes.default", "split.sizes", "chunk.default", "unsafe_split.Tensor")
def _split(b: Builder, self: str, *, pieces: Sequence[Sequence[int | None]], dim: int = 0, **how: Any) -> list[str]:
    lengths = [piece[dim] for piece in pieces]
    if None in lengths:
        raise Unsupported("pieces whose size depends on the input")
    if len(lengths) == 1:
        return [b.node("Identity", [self])]
    return list(b.node("Split", [self, b.constant(lengths)], outputs=len(lengths), axis=dim))


@operator("unbind.int")
def _unbind(b: Builder, self: str, *, pieces: Sequence[Sequence[int | None]], dim: int = 0) -> list[str]:
    return [b.node("Gather", [self, b.constant(index)], axis=dim) for index in range(len(pieces))]


@operator("pixel_shuffle.default")
def _pixel_shuffle(b: Builder, self: str, upscale_factor: int) -> str:
    return str(b.node("DepthToSpace", [self], blocksize=upscale_factor, mode="CRD"))


@operator("pixel_unshuffle.default")
def _pixel_unshuffle(b: Builder, self: str, downscale_factor: int) -> str:
    # SpaceToDepth has the block before the channels, torch after them.
    factor = downscale_factor
    blocks = b.node("SpaceToDepth", [self], blocksize=factor)
    return str(_channel_shuffle(b, blocks, factor * factor))


@operator("channel_shuffle.default")
def _channel_shuffle(b: Builder, self: str, groups: int) -> str:
    first, last = b.node("Shape", [self], start=0, end=1), b.node("Shape", [self], start=2, end=4)
    split = b.node("Reshape", [self, b.node("Concat", [first, b.constant([groups, -1]), last], axis=0)])
    swapped = b.node("Transpose", [split], perm=[0, 2, 1, 3, 4])
    return str(b.node("Reshape", [swapped, b.node("Shape", [self])]))


def _pad(b: Builder, self: str, pad: Sequence[Size], mode: str = "constant", value: float | None = None) -> str:
    rank = b.rank(self)
    before: list[Size] = [0] * rank
    after: list[Size] = [0] * rank
    for at in range(len(pad) // 2):
        before[rank - 1 - at], after[rank - 1 - at] = pad[2 * at], pad[2 * at + 1]
    if mode == "circular":
        return _wrapped(b, self, before, after)
    onnx_mode = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    inputs = [self, _vector(b, before + after)]
    if mode == "constant":
        inputs.append(b.constant(value or 0, b.dtype(self)))
    return str(b.node("Pad", inputs, mode=onnx_mode))


def _wrapped(b: Builder, x: str, before: Sequence[Size], after: Sequence[Size]) -> str:
    """Padding that Pad has from opset 19 on only."""
    for axis, (first, last) in enumerate(zip(before, after, strict=True)):
        if isinstance(first, str) or isinstance(last, str) or min(first, last) < 0:
            raise Unsupported("mode 'circular' with pads that depend on the input, or below 0")
        parts = [x]
        if first:
            parts.insert(0, _slice(b, x, axis, -first))
        if last:
            parts.append(_slice(b, x, axis, 0, last))
        if len(parts) > 1:
            x = str(b.node("Concat", parts, axis=axis))
    return x


operator("pad.default")(_pad)
operator("constant_pad_nd.default")(lambda b, self, pad, value=0: _pad(b, self, pad, value=value))
operator("reflection_pad1d.default", "reflection_pad2d.default")(
    lambda b, self, padding: _pad(b, self, padding, "reflect")
)
operator("replication_pad2d.default", "replication_pad3d.default")(
    lambda b, self, padding: _pad(b, self, padding, "replicate")
)


def _full(b: Builder, size: Sequence[Size], fill_value: float, dtype: int = _FLOAT, **rest: Any) -> str:
    return str(b.node("Expand", [b.constant(fill_value, DTYPES[dtype]), _vector(b, size)]))


operator("full.default")(_full)
operator("zeros.default")(partial(_full, fill_value=0))
operator("ones.default")(partial(_full, fill_value=1))


def _full_like(b: Builder, self: str, fill_value: float, dtype: int | None = None, **rest: Any) -> str:
    kind = b.dtype(self) if dtype is None else DTYPES[dtype]
    return str(b.node("Expand", [b.constant(fill_value, kind), b.node("Shape", [self])]))


def _new_full(
    b: Builder, self: str, size: Sequence[Size], fill_value: float, dtype: int | None = None, **rest: Any
) -> str:
    kind = b.dtype(self) if dtype is None else DTYPES[dtype]
    return str(b.node("Expand", [b.constant(fill_value, kind), _vector(b, size)]))


operator("full_like.default")(_full_like)
operator("zeros_like.default")(partial(_full_like, fill_value=0))
operator("ones_like.default")(partial(_full_like, fill_value=1))
operator("new_full.default")(_new_full)
operator("new_zeros.default")(partial(_new_full, fill_value=0))
operator("new_ones.default")(partial(_new_full, fill_value=1))


@operator("arange.default", "arange.start", "arange.start_step")
def _arange(b: Builder, end: Size, start: Size = 0, step: int = 1, dtype: int | None = None, **rest: Any) -> str:
    if any(isinstance(value, float) for value in (start, end, step)):
        raise Unsupported("a range of fractions")
    numbers = [value if isinstance(value, str) else b.constant(value) for value in (start, end, step)]
    found = b.node("Range", numbers)
    if dtype is None or DTYPES[dtype] == np.int64:
        return str(found)
    return str(b.node("Cast", [found], to=helper.np_dtype_to_tensor_dtype(DTYPES[dtype])))


@operator("linspace.default")
def _linspace(b: Builder, start: float, end: float, steps: Size, dtype: int | None = None, **rest: Any) -> str:
    kind = DTYPES[_FLOAT if dtype is None else dtype]
    element = helper.np_dtype_to_tensor_dtype(kind)
    last = _size_arithmetic("Max", b, _size_arithmetic("Sub", b, steps, 1), 1)
    at = b.node("Cast", [_arange(b, steps)], to=element)
    each = b.node("Div", [b.constant(end - start, kind), b.node("Cast", [last], to=element)])
    return str(b.node("Add", [b.node("Mul", [at, each]), b.constant(start, kind)]))


@operator("meshgrid.indexing", "meshgrid.default")
def _meshgrid(b: Builder, tensors: Sequence[str], indexing: str = "ij", pieces: Any = None) -> list[str]:
    count = len(tensors)
    order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
    size = b.node("Concat", [b.node("Shape", [tensors[at]]) for at in order], axis=0)
    found = []
    for at, tensor in enumerate(tensors):
        shape = [-1 if place == at else 1 for place in order]
        found.append(b.node("Expand", [b.node("Reshape", [tensor, b.constant(shape)]), size]))
    return found


# --- resampling ------------------------------------------------------------------------------------------------------


def _upsample(
    mode: str,
    b: Builder,
    input: str | None = None,
    self: str | None = None,
    output_size: Sequence[Size] | None = None,
    align_corners: bool = False,
    scale_factors: Sequence[float] | None = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> str:
    x = input or self
    assert x is not None
    transform = "asymmetric" if mode == "nearest" else "align_corners" if align_corners else "half_pixel"
    settings: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": transform}
    if mode == "nearest":
        settings["nearest_mode"] = "floor"
    if mode == "cubic":
        settings["cubic_coeff_a"] = -0.75
    scales = list(scale_factors) if scale_factors else [scales_h, scales_w] if scales_h and scales_w else None
    if scales is not None:
        return str(b.node("Resize", [x, "", b.constant([1, 1, *scales], np.float32)], **settings))
    if output_size is None:
        raise Unsupported("neither size nor scale")
    sizes = b.node("Concat", [b.node("Shape", [x], start=0, end=2), _vector(b, output_size)], axis=0)
    return str(b.node("Resize", [x, "", "", sizes], **settings))


for _aten, _mode in {
    "upsample_nearest2d": "nearest", "upsample_bilinear2d": "linear", "upsample_bicubic2d": "cubic",
}.items():  # fmt: skip
    operator(f"{_aten}.vec", f"{_aten}.default")(partial(_upsample, _mode))


@operator("grid_sampler.default", "grid_sampler_2d.default")
def _grid_sampler(
    b: Builder, input: str, grid: str, interpolation_mode: int = 0, padding_mode: int = 0, align_corners: bool = False
) -> str:
    # Opset 18 still has the older names of the modes.
    return str(
        b.node(
            "GridSample",
            [input, grid],
            mode=("bilinear", "nearest", "bicubic")[interpolation_mode],
            padding_mode=("zeros", "border", "reflection")[padding_mode],
            align_corners=int(align_corners),
        )
    )


# --- what is written into a part -------------------------------------------------------------------------------------

# By the operator that gives a part of a tensor, or another look at it: the tensor after something was written there.
# They get what stands there now as `src`, and the operator's own arguments.
WRITES: dict[str, Function] = {
    "aten.slice.Tensor": _slice_scatter,
    "aten.select.int": _select_scatter,
    "aten.narrow.default": lambda b, self, src, dim, start, length: _slice_scatter(
        b, self, src, dim, start, None if start < 0 and start + length == 0 else start + length
    ),
    "aten.transpose.int": lambda b, self, src, dim0, dim1: OPERATORS["aten.transpose.int"](b, src, dim0, dim1),
    "aten.permute.default": lambda b, self, src, dims: OPERATORS["aten.permute.default"](
        b, src, np.argsort([dim % len(dims) for dim in dims]).tolist()
    ),
    **{
        f"aten.{_name}": lambda b, self, src, **how: b.node("Reshape", [src, b.node("Shape", [self])], allowzero=1)
        for _name in ("view.default", "unsqueeze.default", "squeeze.dim", "squeeze.dims", "unflatten.int")
    },
}
