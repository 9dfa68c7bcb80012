"""ONNX operators of integer networks, bit-exact: the same result on every device, for every batch, patch and number of
threads.

How: products and sums of integers are computed in floating point that holds every partial sum exactly, so that the
order of summation, and with it kernel, thread count and device, cannot matter. float32 serves where the weights show
that no partial sum passes 2^24, float64 (to 2^53) else. Requantisation is element by element, one rounding after the
other in the order that the operator's specification gives, which IEEE arithmetic does alike everywhere. Convolutions
between DequantizeLinear and QuantizeLinear are computed from the integers behind them: see `Dequantized`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from nnpf.engines.arithmetic import exact_kernels
from nnpf.engines.onnx_operators import Unsupported, conv, conv_transpose, operator

Attributes = Mapping[str, Any]

_RANGES = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.uint16: (0, 65535),
    torch.int16: (-32768, 32767),
    torch.int32: (-(2**31), 2**31 - 1),
}
_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53


@dataclass(frozen=True, slots=True, eq=False)
class Dequantized:
    """The integers behind the real numbers that DequantizeLinear gives.

    Attributes:
        integers: quantised value minus zero point, int32.
        bound: of their magnitude, for any input; so that the choice of arithmetic does not depend on samples.
        scale: one value, or one for each index of `axis`.
    """

    integers: Tensor
    bound: int
    scale: Tensor
    axis: int | None


def _per_axis(parameter: Tensor, x: Tensor, axis: int) -> Tensor:
    """A scale or zero point, shaped to act along its axis."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    if parameter.ndim != 1:
        raise Unsupported("blocked quantisation")
    shape = [1] * x.ndim
    shape[axis] = parameter.numel()
    return parameter.reshape(shape)


def _saturate(x: Tensor, dtype: torch.dtype) -> Tensor:
    low, high = _RANGES[dtype]
    return x.clamp(low, high).to(dtype)


@operator("QuantizeLinear")
def _quantize(attributes: Attributes, opset: int, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
    axis = attributes.get("axis", 1)
    dtype = torch.uint8 if zero_point is None else zero_point.dtype
    if dtype not in _RANGES:
        raise Unsupported(f"quantisation to {dtype}")
    # In float64 the zero point is added without a rounding of its own.
    quotient = torch.round(x / _per_axis(scale, x, axis)).to(torch.float64)
    if zero_point is not None:
        quotient = quotient + _per_axis(zero_point, x, axis).to(torch.float64)
    return _saturate(quotient, dtype)


@operator("DequantizeLinear")
def _dequantize(
    attributes: Attributes, opset: int, x: Tensor, scale: Tensor, zero_point: Tensor | None = None
) -> Tensor:
    axis = attributes.get("axis", 1)
    integers, _ = _without_zero_point(x, zero_point, axis)
    return torch.mul(integers.to(scale.dtype), _per_axis(scale, x, axis))


def dequantized(
    attributes: Attributes, x: Tensor, scale: Tensor, zero_point: Tensor | None = None
) -> Dequantized | None:
    """What stands behind the output of DequantizeLinear; None for types whose sums could not be exact."""
    if x.dtype == torch.int32:
        return None
    axis = attributes.get("axis", 1)
    integers, bound = _without_zero_point(x, zero_point, axis)
    return Dequantized(integers, bound, scale, axis % x.ndim if scale.numel() > 1 else None)


def _carrier(largest_sum: float, device: torch.device) -> torch.dtype:
    """The floating-point type that holds every partial sum exactly."""
    if largest_sum < _EXACT_FLOAT32:
        return torch.float32
    if device.type == "mps":
        raise Unsupported("sums above 2^24 on MPS, which has no float64; use the CPU")
    if largest_sum >= _EXACT_FLOAT64:
        raise Unsupported("sums above 2^53")
    return torch.float64


# What was worked out and read from constants, for as long as they live. A GPU that is asked for a number waits until it
# has caught up, so it is asked once.
_extremes: MutableMapping[Tensor, tuple[int, int]] = WeakTensorKeyDictionary()
_largest_sums: MutableMapping[Tensor, dict[str, float]] = WeakTensorKeyDictionary()
_kernels: MutableMapping[Tensor, tuple[Tensor | None, Tensor]] = WeakTensorKeyDictionary()


def _extremes_of(integers: Tensor) -> tuple[int, int]:
    """The least and the largest one."""
    found = _extremes.get(integers)
    if found is None:
        found = _extremes[integers] = (int(integers.min()), int(integers.max()))
    return found


_SUMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Conv": lambda kernel: kernel.flatten(1).sum(1).max(),  # for each output channel
    "ConvTranspose": torch.sum,
    "MatMul": lambda matrix: matrix.sum(-2).max(),
}


def _largest_sum(op: str, weight: Tensor) -> float:
    """What a sum of products of `weight` is at most, for inputs of at most 1."""
    found = _largest_sums.setdefault(weight, {})
    if op not in found:
        found[op] = _SUMS[op](weight.to(torch.float64).abs()).item()
    return found[op]


def _kernel(weight: Tensor, zero_point: Tensor | None, axis: int) -> Tensor:
    """Weights minus their zero point."""
    known = _kernels.get(weight)
    if known is None or known[0] is not zero_point:
        known = _kernels[weight] = (zero_point, _without_zero_point(weight, zero_point, axis)[0])
    return known[1]


def _integer_conv(attributes: Attributes, opset: int, x: Tensor, weight: Tensor, bound: int) -> Tensor:
    """Convolution of integer tensors (already without zero points). `bound`: of |x|."""
    carrier = _carrier(_largest_sum("Conv", weight) * bound, x.device)
    with exact_kernels.held():
        real: Tensor = conv(attributes, opset, x.to(carrier), weight.to(carrier))
    return real.to(torch.int64)


def _integer_product(a: Tensor, b: Tensor, bound: int) -> Tensor:
    carrier = _carrier(_largest_sum("MatMul", b) * bound, a.device)
    with exact_kernels.held():
        return torch.matmul(a.to(carrier), b.to(carrier)).to(torch.int64)


def _without_zero_point(x: Tensor, zero_point: Tensor | None, axis: int = 1) -> tuple[Tensor, int]:
    """The integers minus their zero point, and a bound on their magnitude that holds for every input."""
    low, high = _RANGES[x.dtype]
    wide = x.to(torch.int32)
    if zero_point is None:
        return wide, max(-low, high)
    offset = _per_axis(zero_point, x, axis).to(torch.int32)
    least, largest = _extremes_of(zero_point)
    return wide - offset, max(high - least, largest - low)


def _wrap_int32(x: Tensor) -> Tensor:
    """The accumulators of the specification have 32 bits."""
    return x.to(torch.int32)


@operator("ConvInteger")
def _conv_integer(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    weight: Tensor,
    x_zero_point: Tensor | None = None,
    w_zero_point: Tensor | None = None,
) -> Tensor:
    wide, bound = _without_zero_point(x, x_zero_point)
    kernel = _kernel(weight, w_zero_point, 0)
    return _wrap_int32(_integer_conv(attributes, opset, wide, kernel, bound))


@operator("MatMulInteger")
def _matmul_integer(
    attributes: Attributes,
    opset: int,
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
) -> Tensor:
    wide, bound = _without_zero_point(a, a_zero_point, -2 if a.ndim > 1 else 0)
    other = _kernel(b, b_zero_point, -1)
    return _wrap_int32(_integer_product(wide, other, bound))


def _requantized(total: Tensor, scale: Tensor, y_scale: Tensor, y_zero_point: Tensor) -> Tensor:
    """saturate( round( total * ( scale / y_scale ) ) + zero point ), in single precision as onnxruntime does it."""
    ratio = (scale / y_scale).to(torch.float32)
    rounded = torch.round(total.to(torch.float32) * ratio).to(torch.float64)
    return _saturate(rounded + y_zero_point.to(torch.float64), y_zero_point.dtype)


@operator("QLinearConv")
def _qlinear_conv(
    attributes: Attributes,
    opset: int,
    x: Tensor,
    x_scale: Tensor,
    x_zero_point: Tensor,
    weight: Tensor,
    w_scale: Tensor,
    w_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    wide, bound = _without_zero_point(x, x_zero_point)
    kernel = _kernel(weight, w_zero_point, 0)
    total = _integer_conv(attributes, opset, wide, kernel, bound)
    if bias is not None:
        total = total + _per_axis(bias, total, 1).to(torch.int64)
    scale = _per_axis(x_scale * w_scale, total, 1)
    return _requantized(total, scale, y_scale.reshape(()), y_zero_point.reshape(()))


@operator("QLinearMatMul")
def _qlinear_matmul(
    attributes: Attributes,
    opset: int,
    a: Tensor,
    a_scale: Tensor,
    a_zero_point: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero_point: Tensor,
    y_scale: Tensor,
    y_zero_point: Tensor,
) -> Tensor:
    if max(p.numel() for p in (a_scale, a_zero_point, y_scale, y_zero_point)) > 1:
        raise Unsupported("scales by row")
    wide, bound = _without_zero_point(a, a_zero_point, -1)
    other = _kernel(b, b_zero_point, -1)
    total = _integer_product(wide, other, bound)
    scale = _per_axis(a_scale * b_scale, total, -1)
    return _requantized(total, scale, y_scale.reshape(()), y_zero_point.reshape(()))


def exact_linear(
    op: str, attributes: Attributes, opset: int, x: Dequantized, weight: Dequantized, bias: Tensor | None = None
) -> Tensor | None:
    """Conv, ConvTranspose or MatMul of dequantised tensors, from the integers behind them; None where scales by axis do
    not allow it.

    The sum of products is exact; scale and bias come after it in float64, once for each sample.
    """
    channels = {"Conv": 0, "ConvTranspose": 1, "MatMul": weight.integers.ndim - 1}[op]
    grouped = attributes.get("group", 1) > 1
    if x.axis is not None or weight.axis not in (None, channels):
        return None
    if op == "ConvTranspose" and grouped and weight.axis is not None:
        return None
    if op == "MatMul":
        total = _integer_product(x.integers, weight.integers, x.bound)
    elif op == "Conv":
        total = _integer_conv(attributes, opset, x.integers, weight.integers, x.bound)
    else:
        carrier = _carrier(_largest_sum("ConvTranspose", weight.integers) * x.bound, x.integers.device)
        with exact_kernels.held():
            real = conv_transpose(attributes, opset, x.integers.to(carrier), weight.integers.to(carrier))
        total = real.to(torch.int64)
    channel = total.ndim - 1 if op == "MatMul" else 1
    scale = x.scale.to(torch.float64) * weight.scale.to(torch.float64)
    result = total.to(torch.float64) * _per_axis(scale, total, channel)
    if bias is not None:
        result = result + _per_axis(bias, total, channel).to(torch.float64)
    return result.to(torch.float32)
