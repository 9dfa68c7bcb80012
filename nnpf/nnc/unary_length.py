"""How many greater-than flags a tensor should have."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc import level_coding as coder
from nnpf.nnc.codeword import SET_BITS, cost_in_bits, costs_of_contexts
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.tables import COST_UNIT, GREATER, PARAMETER_SETS, REMAINDER_CONTEXTS

# Lengths that are tried. Neighbours differ by a few hundredths of a percent. Longer ones have never paid: their flags
# come so rarely that they do not learn.
LENGTHS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 32)

# The same where a codebook limits the levels; each of these trials codes the whole sample.
LENGTHS_OF_CODEBOOKS: Final = (1, 4, 11, 24)

# Levels on which they are tried: whole rows, at least one.
SAMPLE: Final = 1 << 16

# What a context costs before the levels, roughly: its flag, and the number of a parameter set if it has one.
FLAG_BITS: Final = 0.4


def _bits(costs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bits of each context under its best parameter set, with what it takes to send that."""
    own = costs.astype(np.float64) / COST_UNIT + FLAG_BITS
    own[:, 1:] += SET_BITS + 1.0
    bits: NDArray[np.float64] = own.min(axis=1)
    return bits


def _remainder_bits(magnitudes: NDArray[np.int64], flags: int) -> float:
    """Bits of the remainders of levels that are greater than the flags can say."""
    rest = magnitudes[magnitudes > flags] - (flags + 1)
    ones = np.frexp((rest + 1).astype(np.float64))[1] - 1
    lengths = ones + 1
    place = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    codes = (2 * place + (place < np.repeat(ones, lengths))).astype(np.uint16)
    estimates = np.empty((REMAINDER_CONTEXTS, PARAMETER_SETS, 2), dtype=np.int64)
    costs = np.zeros((REMAINDER_CONTEXTS, PARAMETER_SETS), dtype=np.int64)
    coder.reset_estimates(estimates)
    coder.add_costs(codes, len(codes), estimates, costs)
    return float(_bits(costs).sum() + ones.sum())


def best_unary_length(m: Matrix, tools: Tools) -> int:
    """The number of flags at which the matrix is small."""
    rows = max(1, min(m.height, SAMPLE // m.width))
    part = slice(0, rows * m.width)
    m = replace(
        m,
        levels=m.levels[part],
        height=rows,
        reference=None if m.reference is None else m.reference[part],
        history=None if m.history is None else m.history[part],
    )
    if m.limited is not None:
        return min(LENGTHS_OF_CODEBOOKS, key=lambda length: (cost_in_bits(m, replace(tools, flags=length)), length))
    # A flag costs the same whatever the length, so that one pass with the longest tells the cost of all flags.
    longest = LENGTHS[-1]
    bits = _bits(costs_of_contexts(m, replace(tools, flags=longest, row_skip=False)))[GREATER : GREATER + 4 * longest]
    of_flags = np.cumsum(bits.reshape(2, longest, 2).sum(axis=(0, 2)))
    magnitudes = np.abs(m.levels.astype(np.int64))
    if tools.dependent:
        magnitudes = (magnitudes + 1) >> 1
    return min(LENGTHS, key=lambda length: (of_flags[length - 1] + _remainder_bits(magnitudes, length), length))
