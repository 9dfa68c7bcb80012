"""Compiled: integers with the least distortion plus rate, along a trellis whose branches know what levels cost.

The rate of a level depends on adaptive contexts, hence on all levels before it. Here it comes from a table: what every
context cost at this place of the tensor when the levels of the round before were coded.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.compiled import Number, compiled, inlined
from nnpf.nnc.level_coding import BYPASS, BYPASS_BITS, END, PAUSE, ROW_OF_BLOCKS, SCANNED, list_bins, set_contexts
from nnpf.nnc.level_quantization import EVEN_FROM, ODD_FROM, UNREACHABLE
from nnpf.nnc.tables import BIN_COST, COST_UNIT, ESTIMATOR_STEP, GREATER, SIG, SIG_HISTORY, SIG_TEMPORAL, SIGN

# Cost of a bin in bits: rates[segment, context, bin].
Rates: TypeAlias = NDArray[np.float32]


@compiled
def _learn(codes: NDArray[np.uint16], count: int, contexts: NDArray[np.int64]) -> Number:
    """Move contexts as coding these bins would. Returns what they cost in 2^-15 bit."""
    cost = np.int64(0)
    for i in range(count):
        code = np.int64(codes[i])
        if code & BYPASS:
            cost += ((code >> BYPASS_BITS) & 15) * COST_UNIT
            continue
        c = np.uint64(code >> 1)
        one = code & 1
        towards = 2 * one - 1
        fast = contexts[c, 0]
        slow = contexts[c, 1]
        cost += BIN_COST[np.uint64(one * 1024 + 512 + ((16 * fast + slow) >> 3))]
        contexts[c, 0] = fast + towards * (ESTIMATOR_STEP[np.uint64(16 + ((towards * fast) >> 3))] >> contexts[c, 2])
        contexts[c, 1] = slow + towards * (ESTIMATOR_STEP[np.uint64(16 + ((towards * slow) >> 7))] >> contexts[c, 3])
    return cost


@compiled
def rates_along(
    levels: NDArray[np.int32],
    height: int,
    width: int,
    edge: int,
    flags: int,
    dependent: bool,
    has_reference: bool,
    reference: NDArray[np.int16],
    has_history: bool,
    history: NDArray[np.uint8],
    codebook_size: int,
    codebook_zero: int,
    skipping: bool,
    skip: NDArray[np.uint8],
    doubled: bool,
    limit: int,
    state: NDArray[np.int64],
    codes: NDArray[np.uint16],
    sets: NDArray[np.uint8],
    contexts: NDArray[np.int64],
    starts: NDArray[np.int64],
    resets: NDArray[np.uint8],
    rates: Rates,
) -> tuple[Number, Number]:
    """What bins cost along a matrix if these levels are coded, tabulated every `limit` levels.

    The arguments up to `codes` are those of `level_coding.list_bins`. starts: where each segment begins, and the end.
    resets: 1 where the level before a segment does not count. Returns the number of segments, and what all levels
    cost, in 2^-15 bit.
    """
    set_contexts(contexts, sets)
    count = 0
    cost = np.int64(0)
    starts[0] = 0
    resets[0] = 1
    while True:
        for c in range(contexts.shape[0]):
            at = (16 * contexts[c, 0] + contexts[c, 1]) >> 3
            rates[count, c, 0] = BIN_COST[512 + at] / COST_UNIT
            rates[count, c, 1] = BIN_COST[1536 + at] / COST_UNIT
        listed = list_bins(
            levels,
            height,
            width,
            edge,
            flags,
            dependent,
            has_reference,
            reference,
            has_history,
            history,
            codebook_size,
            codebook_zero,
            skipping,
            skip,
            doubled,
            limit,
            state,
            codes,
        )
        count += 1
        starts[count] = state[SCANNED]
        cost += _learn(codes, listed, contexts)
        if state[PAUSE] == END:
            return count, cost
        resets[count] = state[PAUSE] == ROW_OF_BLOCKS
        if state[PAUSE] == ROW_OF_BLOCKS:
            set_contexts(contexts, sets)


@compiled
def _accumulate(rates: NDArray[np.float32], flags: int, sums: NDArray[np.float64]) -> None:
    """sums[negative, j]: cost of the first j greater-than flags, all of them 1."""
    for negative in range(2):
        sums[negative, 0] = 0.0
        for j in range(flags):
            sums[negative, j + 1] = sums[negative, j] + rates[GREATER + 2 * j + negative, 1]


@compiled
def _magnitude_cost(
    rates: NDArray[np.float32], flags: int, sums: NDArray[np.float64], negative: Number, t: Number, level: Number
) -> Number:
    """Bits of a magnitude of at least 1, after its sign. t: the reference."""
    cost: Number = 0.0
    if t != 0:
        for j in range(min(level - 1, flags)):
            cost += rates[GREATER + 2 * (flags + j) + np.int64(abs(t) < j), 1]
        if level <= flags:
            j = level - 1
            cost += rates[GREATER + 2 * (flags + j) + np.int64(abs(t) < j), 0]
    else:
        cost = sums[negative, min(level - 1, flags)]
        if level <= flags:
            cost += rates[GREATER + 2 * (level - 1) + negative, 0]
    if level > flags:
        rest = level - flags - 1
        remainder = GREATER + 4 * flags
        ones = 0
        while rest >= (1 << ones) and ones < 30:
            cost += rates[remainder + ones, 1]
            rest -= 1 << ones
            ones += 1
        cost += rates[remainder + ones, 0] + ones
    return cost


@inlined
def _sig_context(state: Number, sign_class: Number, t: Number, changed: Number) -> Number:
    if changed:
        return SIG_HISTORY + state
    if t != 0:
        return SIG_TEMPORAL + 2 * state + np.int64(abs(t) > 1)
    return SIG + 3 * state + sign_class


@compiled
def dependent_levels(
    weights: NDArray[np.float32],
    importance: NDArray[np.float32],
    skipped: NDArray[np.uint8],
    step: float,
    slope: float,
    flags: int,
    has_reference: bool,
    reference: NDArray[np.int16],
    has_history: bool,
    history: NDArray[np.uint8],
    segments: NDArray[np.int64],
    resets: NDArray[np.uint8],
    rates: Rates,
    sums: NDArray[np.float64],
    work: NDArray[np.float64],
    decisions: NDArray[np.uint32],
    out: NDArray[np.int32],
) -> None:
    """The dependent quantiser's integers with the least importance * (error / step)^2 + slope * bits.

    Two paths lead through each of its eight states: one on which the level before is zero and one on which it is not,
    because contexts tell these apart.

    All arrays are in scan order. importance: one for all, or one each. skipped: 1 where the row is skipped; of length
    1 where none is. segments: where each row of `rates` begins, and the end. resets: 1 where the level before a segment
    does not count. Work space: sums float64[2, flags + 1], work float64[4, 8], decisions as long as the weights. The
    weights must fit 32 bits of the step.
    """
    inverse = 1.0 / step
    each = importance.shape[0] > 1
    skips = skipped.shape[0] > 1
    t: Number = np.int64(0)
    changed: Number = False
    zero_before = work[0]  # cost of the path on which the level before is zero, by state
    not_before = work[1]
    if_zero = work[2]  # the same with this level, by the state before it
    if_not = work[3]
    class_before: Number = np.int64(0)  # of the level before, where it is not zero
    for s in range(8):
        zero_before[s] = UNREACHABLE
        not_before[s] = UNREACHABLE
    zero_before[0] = 0.0
    for segment in range(segments.shape[0] - 1):
        now = rates[segment]
        _accumulate(now, flags, sums)
        if resets[segment]:
            class_before = np.int64(0)
        for i in range(segments[segment], segments[segment + 1]):
            if skips and skipped[i]:
                for s in range(8):
                    if_zero[s] = zero_before[s]
                    if_not[s] = not_before[s]
                for s in range(8):
                    zero_before[s] = if_zero[EVEN_FROM[s]]
                    not_before[s] = if_not[EVEN_FROM[s]]
                continue
            weight = np.float64(weights[i])
            target = abs(weight) * inverse
            negative = np.int64(weight < 0)
            scale = np.float64(importance[i]) if each else np.float64(importance[0])
            if has_reference:
                t = np.int64(reference[i])
            if has_history:
                changed = history[i] != 0
            lowest = max(np.int64(1), np.int64(target) - 1)
            x0 = lowest + ((0 - lowest) & 3)
            x1 = lowest + ((1 - lowest) & 3)
            x2 = lowest + ((2 - lowest) & 3)
            x3 = lowest + ((3 - lowest) & 3)
            d0 = scale * (target - x0) ** 2 + slope * _magnitude_cost(now, flags, sums, negative, t, (x0 + 1) >> 1)
            d1 = scale * (target - x1) ** 2 + slope * _magnitude_cost(now, flags, sums, negative, t, (x1 + 1) >> 1)
            d2 = scale * (target - x2) ** 2 + slope * _magnitude_cost(now, flags, sums, negative, t, (x2 + 1) >> 1)
            d3 = scale * (target - x3) ** 2 + slope * _magnitude_cost(now, flags, sums, negative, t, (x3 + 1) >> 1)
            zero = scale * target * target
            # What the sign costs after a zero and after another level.
            sign_zero = slope * (now[SIGN + 3 + np.int64(t > 0), negative] if t != 0 else now[SIGN, negative])
            sign_not = sign_zero if t != 0 else slope * now[SIGN + class_before, negative]
            chosen: Number = np.int64(0)
            for s in range(8):
                after_zero: Number = _sig_context(s, 0, t, changed)
                after_not: Number = _sig_context(s, class_before, t, changed)
                a = zero_before[s] + slope * now[after_zero, 0]
                b = not_before[s] + slope * now[after_not, 0]
                chosen |= np.int64(b < a) << s
                if_zero[s] = min(a, b) + zero
                a = zero_before[s] + slope * now[after_zero, 1] + sign_zero
                b = not_before[s] + slope * now[after_not, 1] + sign_not
                chosen |= np.int64(b < a) << (8 + s)
                if_not[s] = min(a, b)
            for s in range(8):
                p = EVEN_FROM[s]
                q = ODD_FROM[s]
                even = if_not[p] + (d3 if p & 1 else d0)
                odd = if_not[q] + (d1 if q & 1 else d2)
                chosen |= np.int64(odd < even) << (16 + s)
                zero_before[s] = if_zero[p]
                not_before[s] = min(odd, even)
            decisions[i] = chosen
            class_before = 2 - negative
    state: Number = np.int64(0)
    not_zero: Number = False
    best: Number = zero_before[0]
    for s in range(8):
        if zero_before[s] < best:
            best = zero_before[s]
            state = np.int64(s)
            not_zero = False
        if not_before[s] < best:
            best = not_before[s]
            state = np.int64(s)
            not_zero = True
    for i in range(weights.shape[0] - 1, -1, -1):
        if skips and skipped[i]:
            out[i] = 0
            state = EVEN_FROM[state]
            continue
        decision = np.int64(decisions[i])
        if not not_zero:
            out[i] = 0
            state = EVEN_FROM[state]
            not_zero = ((decision >> state) & 1) == 1
            continue
        odd_level = ((decision >> (16 + state)) & 1) == 1
        state = ODD_FROM[state] if odd_level else EVEN_FROM[state]
        not_zero = ((decision >> (8 + state)) & 1) == 1
        lowest = max(np.int64(1), np.int64(abs(np.float64(weights[i])) * inverse) - 1)
        odd_state = state & 1
        residue = (2 - odd_state if odd_level else 3 * odd_state) - lowest
        integer = lowest + (residue & 3)
        out[i] = -integer if weights[i] < 0 else integer


@compiled
def uniform_levels(
    weights: NDArray[np.float32],
    importance: NDArray[np.float32],
    skipped: NDArray[np.uint8],
    step: float,
    slope: float,
    flags: int,
    has_reference: bool,
    reference: NDArray[np.int16],
    has_history: bool,
    history: NDArray[np.uint8],
    segments: NDArray[np.int64],
    resets: NDArray[np.uint8],
    rates: Rates,
    sums: NDArray[np.float64],
    decisions: NDArray[np.uint32],
    out: NDArray[np.int32],
) -> None:
    """Integers with the least importance * (error / step)^2 + slope * bits; see `dependent_levels`.

    Two paths are kept: one on which the level before is zero and one on which it is not. Candidates are zero, the
    nearest integer and the one below it.
    """
    inverse = 1.0 / step
    each = importance.shape[0] > 1
    skips = skipped.shape[0] > 1
    t: Number = np.int64(0)
    changed: Number = False
    cost_zero: Number = 0.0
    cost_not: Number = UNREACHABLE
    class_before: Number = np.int64(0)  # of the level before, on the path where it is not zero
    for segment in range(segments.shape[0] - 1):
        now = rates[segment]
        _accumulate(now, flags, sums)
        if resets[segment]:
            class_before = np.int64(0)
        for i in range(segments[segment], segments[segment + 1]):
            if skips and skipped[i]:
                continue
            weight = np.float64(weights[i])
            target = abs(weight) * inverse
            negative = np.int64(weight < 0)
            scale = np.float64(importance[i]) if each else np.float64(importance[0])
            if has_reference:
                t = np.int64(reference[i])
            if has_history:
                changed = history[i] != 0
            near = max(np.int64(target + 0.5), np.int64(1))
            level: Number = scale * (target - near) ** 2 + slope * _magnitude_cost(now, flags, sums, negative, t, near)
            below: Number = np.int64(0)
            if near > 1:
                less = scale * (target - near + 1) ** 2 + slope * _magnitude_cost(
                    now, flags, sums, negative, t, near - 1
                )
                if less < level:
                    level = less
                    below = np.int64(1)
            zero = scale * target * target
            context: Number = _sig_context(0, 0, t, changed)
            sign: Number = SIGN + 3 + np.int64(t > 0) if t != 0 else SIGN
            a0 = cost_zero + zero + slope * now[context, 0]
            a1 = cost_zero + level + slope * (now[context, 1] + now[sign, negative])
            context = _sig_context(0, class_before, t, changed)
            sign = SIGN + 3 + np.int64(t > 0) if t != 0 else SIGN + class_before
            b0 = cost_not + zero + slope * now[context, 0]
            b1 = cost_not + level + slope * (now[context, 1] + now[sign, negative])
            # Bits: zero comes from the other path; so does the level; the level is the integer below the nearest.
            decisions[i] = np.int64(b0 < a0) | (np.int64(b1 < a1) << 1) | (below << 2)
            cost_zero = min(a0, b0)
            cost_not = min(a1, b1)
            class_before = 2 - negative
    not_zero: Number = cost_not < cost_zero
    for i in range(weights.shape[0] - 1, -1, -1):
        if skips and skipped[i]:
            out[i] = 0
            continue
        decision = np.int64(decisions[i])
        if not_zero:
            near = max(np.int64(abs(np.float64(weights[i])) * inverse + 0.5), np.int64(1)) - (decision >> 2)
            out[i] = -near if weights[i] < 0 else near
            not_zero = ((decision >> 1) & 1) == 1
        else:
            out[i] = 0
            not_zero = (decision & 1) == 1


@compiled
def distortion(
    weights: NDArray[np.float32], importance: NDArray[np.float32], step: float, levels: NDArray[np.int32]
) -> float:
    """Sum of importance * (error / step)^2. importance: one for all, or one each."""
    inverse = 1.0 / step
    each = importance.shape[0] > 1
    total = 0.0
    for i in range(weights.shape[0]):
        error = np.float64(weights[i]) * inverse - levels[i]
        total += (np.float64(importance[i]) if each else np.float64(importance[0])) * error * error
    return total
