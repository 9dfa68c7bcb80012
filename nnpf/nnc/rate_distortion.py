"""Levels chosen by distortion and rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc import level_optimization
from nnpf.nnc.codeword import Bins, Plan, plan
from nnpf.nnc.contexts import context_count
from nnpf.nnc.level_coding import BATCH
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.quantization import scan_positions, slope_of
from nnpf.nnc.tables import COST_UNIT

# Levels after which the costs of the contexts are tabulated anew: the sooner the better, by 0.1 % from 256 to 64.
# A table takes 1 kB; there are at most so many of them.
SEGMENT: Final = 64
TABLES: Final = 1 << 14

# A round that gains less than this share of the whole cost is the last.
WORTHWHILE: Final = 1e-4

# Rounds after which the parameters of the estimators are chosen anew: it takes as long as the rest of a round.
ROUNDS_PER_PLAN: Final = 2


@dataclass(frozen=True, slots=True)
class _Rates:
    """What bins cost along a matrix if its levels are coded; see `level_optimization.rates_along`."""

    segments: NDArray[np.int64]
    resets: NDArray[np.uint8]
    table: NDArray[np.float32]
    bits: float  # of all levels


def _rates(m: Matrix, tools: Tools, chosen: Plan) -> _Rates:
    segment = max(SEGMENT, m.levels.size // TABLES)
    bins = Bins(m, tools, chosen.history, chosen.skip, limit=segment)
    contexts = np.empty((context_count(tools.flags), 4), dtype=np.int64)
    edge = tools.edge(m)
    # A segment ends early at the end of a row of blocks, and where very long unary codes fill the batch.
    most = m.levels.size // min(segment, BATCH // (tools.flags + 48)) + 2 + (m.height // edge if edge else 0)
    starts = np.empty(most + 1, dtype=np.int64)
    resets = np.empty(most + 1, dtype=np.uint8)
    table = np.empty((most, len(contexts), 2), dtype=np.float32)
    count, cost = level_optimization.rates_along(*bins.arguments, chosen.sets, contexts, starts, resets, table)
    return _Rates(starts[: count + 1], resets[:count], table[:count], cost / COST_UNIT)


def optimized(
    m: Matrix,
    tools: Tools,
    weights: NDArray[np.float32],
    step: float,
    scale: float,
    importance: NDArray[np.float32],
    rounds: int,
) -> NDArray[np.int32]:
    """Levels of a matrix, row by row, with the least distortion plus rate that were found.

    m: with the levels of plain quantisation to start from. weights: flat, row by row. scale: see `slope_of`.
    importance: of a squared error, one for all or one for each weight; mean 1. rounds: of coding and choosing, at most.
    """
    edge = tools.edge(m)
    order = scan_positions(m.height, m.width, edge) if edge else slice(None)
    scanned = np.ascontiguousarray(weights[order])
    weighing = importance[order] if importance.size > 1 else importance
    reference = m.reference[order] if m.reference is not None else np.zeros(1, dtype=np.int16)
    history = m.history[order] if m.history is not None else np.zeros(1, dtype=np.uint8)
    # The dependent quantiser likes to have a level here and there in a row of zeros; if rows are skipped, none pays.
    near_zero = (np.abs(weights.reshape(m.height, m.width)).max(axis=1) < step / 2).view(np.uint8)
    slope = slope_of(scale, tools.dependent)
    choose: Any = level_optimization.dependent_levels if tools.dependent else level_optimization.uniform_levels
    work = [np.empty((4, 8), dtype=np.float64)] if tools.dependent else []
    decisions = np.empty(scanned.size, dtype=np.uint32)
    sums = np.empty((2, tools.flags + 1), dtype=np.float64)
    best, least = m, math.inf
    for done in range(rounds + 1):
        if done % ROUNDS_PER_PLAN == 0:
            chosen = plan(m, tools)
        rates = _rates(m, tools, chosen)
        cost = level_optimization.distortion(weights, importance, step, m.levels) + slope * rates.bits
        gain = least - cost
        if gain > 0:
            best, least = m, cost
        if gain < WORTHWHILE * cost or done == rounds:
            break
        skipped = np.zeros(1, dtype=np.uint8)
        if chosen.skip is not None:
            skipped = np.repeat(chosen.skip | near_zero, m.width)[order]
        found = np.empty(scanned.size, dtype=np.int32)
        choose(
            scanned,
            weighing,
            skipped,
            step,
            slope,
            tools.flags,
            m.reference is not None,
            reference,
            chosen.history,
            history,
            rates.segments,
            rates.resets,
            rates.table,
            sums,
            *work,
            decisions,
            found,
        )
        if edge:
            levels = np.empty_like(found)
            levels[order] = found
        else:
            levels = found
        m = replace(m, levels=levels)
    return best.levels
