"""Quantisation parameters and step sizes (ISO/IEC 15938-17)."""

from __future__ import annotations

import math

import numpy as np

from nnpf.nnc.errors import NncError


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
    if not np.finfo(np.float32).smallest_subnormal <= step <= np.finfo(np.float32).max:
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
