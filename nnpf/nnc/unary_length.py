"""How many greater-than flags a tensor should have."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.codeword import cost_in_bits
from nnpf.nnc.matrix import Matrix, Tools

# A length beyond these has never paid: its flags come so rarely that they do not learn.
LONGEST: Final = 32

# Of the lengths that look best by counting, how many are tried.
TRIALS: Final = 3

# Levels on which they are tried: whole rows, at least one.
SAMPLE: Final = 1 << 16

# Magnitudes beyond this count as this one.
LARGEST: Final = 1 << 12


def _binary_cost(ones: NDArray[np.float64], zeros: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of bins with these counts if their probability has to be learnt (Krichevsky and Trofimov's estimate)."""
    total = ones + zeros
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.nan_to_num(ones * np.log2(total / ones)) + np.nan_to_num(zeros * np.log2(total / zeros))
    return np.where(total > 0, entropy + 0.5 * np.log2(total + 1) + 1.0, 0.0)


def _estimates(levels: NDArray[np.int32], dependent: bool) -> NDArray[np.float64]:
    """Bits of greater-than flags and remainders for the lengths 1..LONGEST, from counts of the levels alone."""
    magnitudes = np.abs(levels.astype(np.int64))
    if dependent:
        magnitudes = (magnitudes + 1) >> 1
    magnitudes = np.minimum(magnitudes, LARGEST)
    counts = [
        np.bincount(magnitudes[sign], minlength=LARGEST + 1).astype(np.float64) for sign in (levels > 0, levels < 0)
    ]
    above = [np.concatenate([np.cumsum(c[::-1])[::-1][1:], [0.0]]) for c in counts]  # above[m]: magnitudes beyond m
    flags = [_binary_cost(a[1 : LONGEST + 1], c[1 : LONGEST + 1]) for a, c in zip(above, counts, strict=True)]
    cost = np.cumsum(flags[0] + flags[1])
    both, beyond = counts[0] + counts[1], above[0] + above[1]
    for length in range(1, LONGEST + 1):
        base, ones = length + 1, 0
        while base <= LARGEST and beyond[base - 1] > 0:
            group_end = min(base + (1 << ones), LARGEST + 1)
            inside = both[base:group_end].sum()
            more = beyond[group_end - 1]
            cost[length - 1] += _binary_cost(np.array([more]), np.array([inside]))[0] + inside * ones
            base, ones = group_end, ones + 1
    return cost


def best_unary_length(m: Matrix, tools: Tools) -> int:
    """The number of flags at which the matrix is small."""
    estimates = _estimates(m.levels, tools.dependent)
    rows = max(1, min(m.height, SAMPLE // m.width))
    part = slice(0, rows * m.width)
    m = replace(
        m,
        levels=m.levels[part],
        height=rows,
        reference=None if m.reference is None else m.reference[part],
        history=None if m.history is None else m.history[part],
    )
    candidates = np.argsort(estimates, kind="stable")[:TRIALS]
    lengths = sorted({int(c) + 1 for c in candidates} | {1})
    return min(lengths, key=lambda length: (cost_in_bits(m, replace(tools, flags=length)), length))
