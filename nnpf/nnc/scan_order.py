"""In which order the levels of a tensor should be scanned."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.codeword import cost_in_bits
from nnpf.nnc.matrix import Matrix, Tools

# Row by row, or blocks of 8, 16, 32 or 64.
ORDERS: Final = range(5)

# Rows and columns on which orders are tried: two of the largest blocks each way.
EDGE: Final = 128

# Contexts start anew at each row of blocks, and nearest levels are no more than a guess at what will be coded: an order
# must promise this share of the bits.
WORTHWHILE: Final = 0.01

# Bits of an entry point in the header, about.
ENTRY_POINT_BITS: Final = 22

# Magnitudes beyond this count as this one.
LARGEST: Final = 1 << 20

# Greater-than flags of the trials.
FLAGS: Final = 8


def best_scan_order(weights: NDArray[Any], height: int, width: int, step: float, dependent: bool) -> int:
    """The scan order that makes a matrix (flat, row by row) small, judged by its first rows and columns."""
    if height == 1 or width == 1:
        return 0
    part = weights.reshape(height, width)[:EDGE, :EDGE].astype(np.float64)
    # Each quantiser of the dependent one has twice the step.
    levels = np.clip(np.rint(part / (2 * step if dependent else step)), -LARGEST, LARGEST).astype(np.int32)
    m = Matrix(np.ascontiguousarray(levels).reshape(-1), part.shape[0], part.shape[1], None)
    bits = []
    for order in ORDERS:
        tools = Tools(flags=FLAGS, scan_order=order, dependent=False)
        edge = tools.edge(m)
        rows = -(-m.height // edge) - 1 if edge else 0
        bits.append(cost_in_bits(m, tools) + ENTRY_POINT_BITS * rows)
    best = min(ORDERS, key=lambda order: bits[order])
    return best if bits[best] < (1 - WORTHWHILE) * bits[0] else 0
