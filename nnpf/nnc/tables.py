"""Constants of the arithmetic coder, the context models and the dependent quantiser (ISO/IEC 15938-17).

Compiled code takes them in as literals.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Range of the less probable bin, by bits 7..5 of the range (rows) and the magnitude of the state (columns).
_LPS_RANGE = """
128 112 97 84 74 65 57 50 45 39 34 30 27 23 20 18 15 14 12 11 10 9 7 7 5 5 4 4 3 3 2 2
142 125 108 93 82 72 63 56 50 43 38 33 30 26 22 20 17 16 13 12 11 10 8 8 6 6 5 5 3 3 2 2
156 137 119 103 90 79 70 61 55 48 42 37 33 28 24 22 19 17 15 13 12 11 9 9 6 6 5 5 4 4 2 2
171 150 130 112 99 87 76 67 60 52 46 40 36 31 27 24 21 19 16 15 13 12 10 10 7 7 6 6 4 4 3 3
185 162 141 121 107 94 82 73 65 56 50 43 39 34 29 26 22 21 17 16 14 13 11 11 8 8 6 6 4 4 3 3
199 175 152 131 115 101 89 78 70 61 54 47 42 36 31 28 24 22 19 17 15 14 12 12 8 8 7 7 5 5 3 3
213 187 163 140 123 108 95 84 75 65 58 50 45 39 33 30 26 24 20 18 16 15 13 13 9 9 7 7 5 5 3 3
228 200 174 150 132 116 102 90 80 70 62 54 48 42 36 32 28 26 22 20 18 16 14 14 10 10 8 8 6 6 4 4
"""
LPS_RANGE: Final[NDArray[np.uint8]] = np.array(_LPS_RANGE.split(), dtype=np.uint8)

# By how much an estimator moves, before its shift; index 16 + (state towards the bin that came >> scale).
ESTIMATOR_STEP: Final[NDArray[np.int64]] = np.array(
    [2512, 2288, 2064, 1840, 1616, 1392, 1168, 944, 720, 560, 464, 368, 272, 208, 144, 80] + [64] * 15 + [0],
    dtype=np.int64,
)

# Estimator parameter sets: shift of the fast and of the slow state, initial combined and initial fast state.
FAST_SHIFT: Final[NDArray[np.int64]] = np.array([5, 5, 5, 4, 6, 6, 6, 7, 7], dtype=np.int64)
SLOW_SHIFT: Final[NDArray[np.int64]] = np.array([4, 4, 4, 5, 6, 6, 6, 5, 5], dtype=np.int64)
INITIAL_STATE: Final[NDArray[np.int64]] = np.array([0, -1310, 3039, 0, 962, 3039, -673, 0, 962], dtype=np.int64)
INITIAL_FAST: Final[NDArray[np.int64]] = np.array([0, -41, 95, 0, 30, 95, -21, 0, 30], dtype=np.int64)
PARAMETER_SETS: Final = 9

# Doublings that bring a range back to 256..511.
RENORM_SHIFT: Final[NDArray[np.uint8]] = np.array([8] + [9 - i.bit_length() for i in range(1, 512)], dtype=np.uint8)

# Dependent quantisation: next state, by state and parity of the level; flat, 2 * state + parity.
NEXT_STATE: Final[NDArray[np.int64]] = np.array([0, 2, 7, 5, 1, 3, 6, 4, 2, 0, 5, 7, 3, 1, 4, 6], dtype=np.int64)

# Where the contexts of a tensor stand. N is the number of greater-than flags ("unary length").
SIG: Final = 0  # 3 * state + sign class of the previous level
SIG_TEMPORAL: Final = 24  # 2 * state + (magnitude of the reference above 1)
SIG_HISTORY: Final = 40  # state
SIGN: Final = 48  # 3 by the previous level's sign class, 2 by the reference's sign
GREATER: Final = 53  # 2 * flag + ..., N of them; then N with a reference
# After 53 + 4 N: the remainder's prefix, and two contexts that code what comes before the levels.
REMAINDER_CONTEXTS: Final = 31
REMAINDER_CONTEXTS_V1: Final = 32  # NNCodec 1.x codes a parameter index for one more
SET_INDEX: Final = 34
ROW_SKIP: Final = 36
CONTEXTS_BEYOND_GREATER: Final = 37

# References beyond this magnitude choose the same contexts: the flags compare with at most 255.
REFERENCE_LIMIT: Final = 256


def _bin_cost() -> NDArray[np.int64]:
    """Cost of a bin in 2^-15 bit; index 1024 * bin + 512 + (combined state >> 3)."""
    index = np.arange(1024)
    distance = np.minimum(np.abs(index - 512), 511) + 0.5
    unlikely = 1.0 + 0.012231413027220393 * distance
    likely = -np.log2(1.0 - 2.0**-unlikely)
    one_is_likely = index >= 512
    cost = np.array([np.where(one_is_likely, unlikely, likely), np.where(one_is_likely, likely, unlikely)])
    return np.round(32768.0 * cost).astype(np.int64).reshape(-1)


BIN_COST: Final[NDArray[np.int64]] = _bin_cost()
COST_UNIT: Final = 32768  # of one bit
