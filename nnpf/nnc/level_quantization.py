"""Compiled: weights to integers, uniform and dependent, without regard to what they cost to code."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.compiled import Number, compiled, inlined

Weights: TypeAlias = NDArray[np.float32]
Levels: TypeAlias = NDArray[np.int32]

# A path that does not exist. Half the largest number, so that adding a distance keeps it finite.
UNREACHABLE: Final = 0.5 * float(np.finfo(np.float64).max)

# Into each state of the dependent quantiser lead one state by an even level and one by an odd level.
EVEN_FROM: Final = np.array([0, 2, 4, 6, 7, 5, 3, 1], dtype=np.int64)
ODD_FROM: Final = np.array([4, 6, 0, 2, 3, 1, 7, 5], dtype=np.int64)

# What a branch of the trellis stands for; two bits for each state and weight.
EVEN: Final = 0
ZERO: Final = 1
ODD: Final = 2


@compiled
def round_levels(weights: Weights, scale: Number, out: Levels) -> bool:
    """Nearest integers of weights * scale (in single precision), halves away from zero.

    False where one exceeds 32 bits.
    """
    for i in range(weights.shape[0]):
        scaled = np.float64(np.float32(weights[i] * scale))
        magnitude = np.floor(abs(scaled) + 0.5)
        if magnitude > 2147483647.0:
            return False
        out[i] = np.int64(magnitude) if scaled >= 0 else -np.int64(magnitude)
    return True


@inlined
def _branch(even: Number, zero: Number, odd: Number, even_first: bool) -> tuple[Number, Number]:
    """The cheapest way into a state; of equals the one from the lower state, and there the even level, then zero."""
    if even_first:
        best, way = even, EVEN
        if zero < best:
            best, way = zero, ZERO
        if odd < best:
            best, way = odd, ODD
    else:
        best, way = odd, ODD
        if even < best:
            best, way = even, EVEN
        if zero < best:
            best, way = zero, ZERO
    return best, way


@compiled
def dependent_levels(weights: Weights, step: Number, decisions: NDArray[np.uint16], out: Levels) -> bool:
    """Integers of the dependent quantiser with the least squared error (Viterbi over its eight states).

    Even states reach even multiples of the step, odd states odd ones, all of them zero. `decisions` is work space, as
    long as the weights. False where an integer would leave 32 bits.
    """
    n = weights.shape[0]
    inverse = 1.0 / np.float64(step)
    scale = np.float32(np.float32(1.0) / np.float32(step))
    c0, c1, c2, c3 = 0.0, UNREACHABLE, UNREACHABLE, UNREACHABLE
    c4, c5, c6, c7 = UNREACHABLE, UNREACHABLE, UNREACHABLE, UNREACHABLE
    for i in range(n):
        weight = np.float64(weights[i])
        if abs(np.float64(np.float32(weights[i] * scale))) > 2147483645.0:
            return False
        target = inverse * weight
        if weight < 0:
            target = -target
        lowest = max(np.int64(1), np.int64(target) - 1)
        # The four consecutive integers from `lowest`, by what they leave modulo 4.
        d = target - np.float64(lowest + ((0 - lowest) & 3))
        even0 = d * d
        d = target - np.float64(lowest + ((1 - lowest) & 3))
        odd1 = d * d
        d = target - np.float64(lowest + ((2 - lowest) & 3))
        odd0 = d * d
        d = target - np.float64(lowest + ((3 - lowest) & 3))
        even1 = d * d
        zero = target * target
        n0, w0 = _branch(c0 + even0, c0 + zero, c4 + odd0, True)
        n1, w1 = _branch(c2 + even0, c2 + zero, c6 + odd0, True)
        n2, w2 = _branch(c4 + even0, c4 + zero, c0 + odd0, False)
        n3, w3 = _branch(c6 + even0, c6 + zero, c2 + odd0, False)
        n4, w4 = _branch(c7 + even1, c7 + zero, c3 + odd1, False)
        n5, w5 = _branch(c5 + even1, c5 + zero, c1 + odd1, False)
        n6, w6 = _branch(c3 + even1, c3 + zero, c7 + odd1, True)
        n7, w7 = _branch(c1 + even1, c1 + zero, c5 + odd1, True)
        c0, c1, c2, c3, c4, c5, c6, c7 = n0, n1, n2, n3, n4, n5, n6, n7
        decisions[i] = w0 | (w1 << 2) | (w2 << 4) | (w3 << 6) | (w4 << 8) | (w5 << 10) | (w6 << 12) | (w7 << 14)
    best, state = c0, np.int64(0)
    if c1 < best:
        best, state = c1, np.int64(1)
    if c2 < best:
        best, state = c2, np.int64(2)
    if c3 < best:
        best, state = c3, np.int64(3)
    if c4 < best:
        best, state = c4, np.int64(4)
    if c5 < best:
        best, state = c5, np.int64(5)
    if c6 < best:
        best, state = c6, np.int64(6)
    if c7 < best:
        best, state = c7, np.int64(7)
    for i in range(n - 1, -1, -1):
        way = (np.int64(decisions[i]) >> (2 * state)) & 3
        state = ODD_FROM[state] if way == ODD else EVEN_FROM[state]
        if way == ZERO:
            out[i] = 0
            continue
        weight = np.float64(weights[i])
        target = inverse * weight
        if weight < 0:
            target = -target
        lowest = max(np.int64(1), np.int64(target) - 1)
        odd_state = state & 1
        residue = (3 * odd_state if way == EVEN else 2 - odd_state) - lowest
        integer = lowest + (residue & 3)
        out[i] = integer if weight >= 0 else -integer
    return True
