"""Before coding: what tensors are coded as, which go together, and with which quantisation parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.decoder import Tensor
from nnpf.nnc.errors import NncError
from nnpf.nnc.quantization import coded_range, quantization_parameter
from nnpf.nnc.settings import Block, Settings

Array = NDArray[Any]

Importance: TypeAlias = Mapping[str, float | Array]


def as_coded(name: str, value: Array) -> Tensor:
    """What a tensor is coded as: float32 or int32; a scalar as one element. NncError where that would lose it."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        if not np.isfinite(array).all():
            raise NncError(f"{name!r} has values that are not finite")
        with np.errstate(over="ignore"):
            floats = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(floats).all():
            raise NncError(f"{name!r} has values beyond single precision")
        coded: Tensor = floats
    elif array.dtype.kind in "iub":
        if array.size and not (int(array.min()) >= -(2**31) and int(array.max()) < 2**31):
            raise NncError(f"{name!r} has integers beyond 32 bits")
        coded = np.ascontiguousarray(array, dtype=np.int32)
    else:
        raise NncError(f"{name!r} has elements of type {array.dtype}")
    if not coded.size:
        raise NncError(f"{name!r} is empty, shape {array.shape}")
    if "\0" in name:
        raise NncError(f"{name!r} has a zero byte in its name")
    return coded.reshape((1,)) if coded.ndim == 0 else coded


def fold_batch_norm(inputs: dict[str, Tensor], block: Block, ids: dict[str, int]) -> Block:
    """Turn batch normalisation into local scaling and bias, in place. Returns the block without it.

    eps is 1e-5, PyTorch's default. New tensors are named as NNCodec does: WEIGHT_scaling and WEIGHT.bias.
    """
    if not block.norm:
        return block
    beta, gamma, mean, var = (inputs.pop(n).astype(np.float32) for n in block.norm)
    scaling = block.local_scaling or f"{block.weight}_scaling"
    bias = block.bias or f"{block.weight}.bias"
    ids.setdefault(scaling, ids[block.norm[1]])
    ids.setdefault(bias, ids[block.norm[0]])
    g = gamma / np.sqrt(var + 1e-5)
    inputs[scaling] = (inputs.get(scaling, np.ones_like(g)) * g).astype(np.float32)
    inputs[bias] = ((inputs.get(bias, np.zeros_like(g)) - mean) * g + beta).astype(np.float32)
    return replace(block, local_scaling=scaling, bias=bias, bn_beta=None, bn_gamma=None, bn_mean=None, bn_var=None)


def is_weight(name: str, value: Tensor, blocks: Iterable[Block]) -> bool:
    for block in blocks:
        if name in block.weights:
            return True
        if name in block.named:
            return False
    return value.ndim > 1


class Weighing:
    """How much a squared error matters: by tensor relative to the model, and by element relative to its tensor."""

    def __init__(self, inputs: Mapping[str, Tensor], importance: Importance) -> None:
        self.elements: dict[str, NDArray[np.float32]] = {}
        means: dict[str, float] = {}
        for name, given in importance.items():
            if name not in inputs:
                raise NncError(f"importance of {name!r}, which is not among the tensors")
            values = np.asarray(given, dtype=np.float64)
            if values.ndim and values.shape != inputs[name].shape:
                raise NncError(f"importance of {name!r} has shape {values.shape}, the tensor {inputs[name].shape}")
            if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
                raise NncError(f"importance of {name!r} must be positive")
            means[name] = float(values.mean())
            if values.ndim:
                self.elements[name] = (values / means[name]).astype(np.float32).reshape(-1)
        total = sum(v.size for v in inputs.values())
        whole = sum(means.get(name, 1.0) * v.size for name, v in inputs.items()) / total
        self._relative = {name: mean / whole for name, mean in means.items()} if means else {}
        self._rest = 1.0 / whole

    def steps(self, name: str, density: int) -> int:
        """By how much a tensor's quantisation parameter differs: errors of equal weight have equal slopes."""
        relative = self._relative.get(name, self._rest)
        return round(-0.5 * math.log2(relative) * (1 << density))

    def of_elements(self, name: str) -> NDArray[np.float32]:
        return self.elements.get(name, np.ones(1, dtype=np.float32))


def quantization_parameters(
    inputs: Mapping[str, Tensor], blocks: Iterable[Block], settings: Settings, weighing: Weighing
) -> dict[str, int]:
    """The quantisation parameter of every float tensor."""
    blocks = list(blocks)
    density = settings.qp_density
    weights = {name for name, value in inputs.items() if is_weight(name, value, blocks)}
    chosen: dict[str, int] = {}
    for name, value in inputs.items():
        if value.dtype != np.float32:
            continue
        if settings.bit_depth is not None:
            bits = settings.bit_depth if settings.bit_depth > 7 or name in weights else 8
            chosen[name] = _bit_depth_parameter(value, bits, density)
        else:
            other = settings.qp if settings.nonweight_qp is None else settings.nonweight_qp
            chosen[name] = settings.tensor_qp.get(name, settings.qp if name in weights else other)
            chosen[name] += weighing.steps(name, density)
    if settings.scale_by_size:
        _scale_by_size(chosen, inputs, weights)
    low, high = coded_range(density)
    for name, qp in chosen.items():
        if not low <= qp <= high:
            raise NncError(f"{name!r}: quantisation parameter {qp} is outside {low}..{high}", field="qp")
    return chosen


def _bit_depth_parameter(value: Tensor, bits: int, density: int) -> int:
    """The step at which the 99.95th percentile of the magnitudes is the largest integer."""
    if not value.any():
        return 0
    largest_integer = 2**bits - 1 if (value >= 0).all() else 2 ** (bits - 1) - 1
    step = float(np.percentile(abs(value), 99.95)) / largest_integer
    if step == 0:
        step = float(abs(value).max()) / largest_integer
    low, high = coded_range(density)
    return int(np.round(min(max(quantization_parameter(step, density), low), high)))


def _scale_by_size(chosen: dict[str, int], inputs: Mapping[str, Tensor], weights: set[str]) -> None:
    # Integer tensors count in the sizes and deviations, as they do in NNCodec.
    names = [name for name in inputs if name in weights]
    total = sum(inputs[name].size for name in names)
    deviations = {name: float(np.std(inputs[name])) for name in names}
    widest = max(deviations.values(), default=0.0) or 1.0
    for name in filter(chosen.__contains__, names):
        share = inputs[name].size / total + 0.1 * (1 - deviations[name] / widest)
        chosen[name] = round(chosen[name] * (1 - (0.15 if share > 0.5 else share)))
