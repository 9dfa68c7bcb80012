"""Levels chosen by distortion and rate."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc import level_optimization
from nnpf.nnc.codeword import Bins, plan
from nnpf.nnc.contexts import context_count
from nnpf.nnc.level_coding import BATCH
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.quantization import scan_positions, slope_of

# Levels after which the costs of the contexts are tabulated anew: the sooner the better, by 0.1 % from 256 to 64.
# A table takes 1 kB; there are at most so many of them.
SEGMENT: Final = 64
TABLES: Final = 1 << 14

# Rounds of coding and choosing, fewer where nothing changes any more. From two to four the payload loses 0.1 to 0.2 %,
# from four to six 0.04 %.
ROUNDS: Final = 6


def _rates(m: Matrix, tools: Tools) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.float32], bool]:
    """What bins cost along the matrix if its levels are coded: segments, resets, rates; and the history flag."""
    chosen = plan(m, tools)
    segment = max(SEGMENT, m.levels.size // TABLES)
    bins = Bins(m, tools, chosen.history, None, limit=segment)
    contexts = np.empty((context_count(tools.flags), 4), dtype=np.int64)
    edge = tools.edge(m)
    # A segment ends early at the end of a row of blocks, and where very long unary codes fill the batch.
    most = m.levels.size // min(segment, BATCH // (tools.flags + 48)) + 2 + (m.height // edge if edge else 0)
    starts = np.empty(most + 1, dtype=np.int64)
    resets = np.empty(most + 1, dtype=np.uint8)
    rates = np.empty((most, len(contexts), 2), dtype=np.float32)
    count = level_optimization.rates_along(*bins.arguments, chosen.sets, contexts, starts, resets, rates)
    return starts[: count + 1], resets[:count], rates[:count], chosen.history


def optimized(
    m: Matrix, tools: Tools, weights: NDArray[np.float32], step: float, scale: float, importance: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Levels of a matrix, row by row, with the least distortion plus rate.

    m: with the levels of plain quantisation to start from. weights: flat, row by row. scale: see `slope_of`.
    importance: of a squared error, one for all or one for each weight; mean 1.
    """
    edge = tools.edge(m)
    order = scan_positions(m.height, m.width, edge) if edge else slice(None)
    scanned = np.ascontiguousarray(weights[order])
    weighing = importance[order] if importance.size > 1 else importance
    reference = m.reference[order] if m.reference is not None else np.zeros(1, dtype=np.int16)
    history = m.history[order] if m.history is not None else np.zeros(1, dtype=np.uint8)
    decisions = np.empty(scanned.size, dtype=np.uint16)
    sums = np.empty((2, tools.flags + 1), dtype=np.float64)
    found = np.empty(scanned.size, dtype=np.int32)
    for _ in range(ROUNDS):
        segments, resets, rates, use_history = _rates(m, replace(tools, row_skip=False))
        common = (
            scanned,
            weighing,
            step,
            slope_of(scale, tools.dependent),
            tools.flags,
            m.reference is not None,
            reference,
            use_history,
            history,
            segments,
            resets,
            rates,
            sums,
        )
        if tools.dependent:
            work, classes = np.empty((4, 8), dtype=np.float64), np.empty((2, 8), dtype=np.int64)
            level_optimization.dependent_levels(*common, work, classes, decisions, found)
        else:
            level_optimization.uniform_levels(*common, decisions, found)
        levels = np.empty_like(found)
        levels[order] = found
        if np.array_equal(levels, m.levels):
            break
        m = replace(m, levels=levels)
    return m.levels
