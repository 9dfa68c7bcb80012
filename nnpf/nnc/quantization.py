"""Quantisation parameters and step sizes (ISO/IEC 15938-17)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.errors import NncError

# Of single precision.
SMALLEST_FLOAT: Final = float(np.finfo(np.float32).smallest_subnormal)
LARGEST_FLOAT: Final = float(np.finfo(np.float32).max)


def step_size(qp: int, density: int) -> float:
    """The step of a quantisation parameter: doubles every 2^density, linear in between.

    >>> step_size(-38, 2), step_size(0, 2)
    (0.00146484375, 1.0)

    NncError where it is no positive float32.
    """
    steps = 1 << density
    try:
        step = math.ldexp(steps + (qp & (steps - 1)), (qp >> density) - density)
    except OverflowError:
        step = math.inf
    if not SMALLEST_FLOAT <= step <= LARGEST_FLOAT:
        raise NncError(f"quantisation parameter {qp} at density {density}: no step size", field="qp")
    return step


def quantization_parameter(step: float, density: int) -> float:
    """The inverse of `step_size`, between its integers.

    >>> quantization_parameter(0.00146484375, 2)
    -38.0
    """
    steps = 1 << density
    octave = math.floor(math.log2(step))
    return octave * steps + step * steps / 2.0**octave - steps


def coded_range(density: int) -> tuple[int, int]:
    """Lowest and highest quantisation parameter, relative to the one of the model, that a tensor can carry."""
    limit = 1 << (5 + density)
    return -limit, limit - 1


def scan_positions(height: int, width: int, edge: int) -> NDArray[np.int64]:
    """Positions of a matrix in the order in which blocks of this edge are scanned."""
    rows, columns = np.divmod(np.arange(height * width, dtype=np.int64), width)
    return np.lexsort((columns, rows, columns // edge, rows // edge))


def nearest(weights: NDArray[np.float32], step: float, *, dependent: bool) -> NDArray[np.int32] | None:
    """Integers q for weights (flat, in scan order) so that q * step is near them. None where one leaves 32 bits.

    dependent: integers that the dependent quantiser can reach, with the least squared error.
    """
    from nnpf.nnc import level_quantization as kernels

    levels = np.empty(weights.size, dtype=np.int32)
    if dependent:
        decisions = np.empty(weights.size, dtype=np.uint16)
        fits = kernels.dependent_levels(weights, np.float32(step), decisions, levels)
    else:
        fits = kernels.round_levels(weights, np.float32(1.0) / np.float32(step), levels)
    return levels if fits else None


def parameter_that_fits(largest: float, density: int) -> int:
    """The lowest quantisation parameter at which a weight of this magnitude stays within 32 bits."""
    step = largest / (2.0**31 - 3)
    steps = 1 << density
    octave = np.float32(math.floor(math.log2(step)) * steps)
    return math.ceil(np.float32(octave + (step * steps / 2.0 ** float(octave / steps) - steps)))


def quantized_levels(
    weights: NDArray[np.float32], height: int, width: int, qp: int, density: int, scan_order: int, dependent: bool
) -> tuple[NDArray[np.int32], int]:
    """Integers of a matrix, row by row, and the parameter: larger than asked for where 32 bits would not do."""
    edge = 4 << scan_order if scan_order and height > 1 and width > 1 else 0
    order = scan_positions(height, width, edge) if edge and dependent else None
    scanned = weights if order is None else weights[order]
    levels = nearest(scanned, step_size(qp, density), dependent=dependent)
    if levels is None:
        qp = parameter_that_fits(float(abs(weights).max()), density)
        low, high = coded_range(density)
        if low <= qp <= high:
            levels = nearest(scanned, step_size(qp, density), dependent=dependent)
        if levels is None:
            raise NncError(f"values too large for any step at density {density}", field="qp")
    if order is not None:
        unscanned = np.empty_like(levels)
        unscanned[order] = levels
        levels = unscanned
    return levels, qp


def slope_of(scale: float, dependent: bool) -> float:
    """What a bit is worth in squared steps. Scale 1 is the slope of distortion over rate at high rate:
    ln 2 / 6 for the uniform quantiser; the dependent one has twice the step, and 0.7 by NNCodec's experience."""
    slope = scale * math.log(2) / 6
    return slope * 4 * 0.7 if dependent else slope
