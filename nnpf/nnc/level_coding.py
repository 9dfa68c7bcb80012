"""Compiled: levels of a tensor into bins, parameter sets chosen for them, bins into an arithmetic codeword.

Bins are 16-bit codes: context << 1 | bin, or for bins without context BYPASS | count << 11 | bits (11 at most).
They are made in batches, so that memory stays small whatever the tensor's size.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.compiled import Number, compiled, inlined
from nnpf.nnc.tables import (
    BIN_COST,
    ESTIMATOR_STEP,
    FAST_SHIFT,
    GREATER,
    INITIAL_FAST,
    INITIAL_STATE,
    LPS_RANGE,
    NEXT_STATE,
    PARAMETER_SETS,
    RENORM_SHIFT,
    SIG,
    SIG_HISTORY,
    SIG_TEMPORAL,
    SIGN,
    SLOW_SHIFT,
)

Codes: TypeAlias = NDArray[np.uint16]

BYPASS: Final = 0x8000
BYPASS_BITS: Final = 11  # that one code holds

# Bins of a batch: small enough for the second-level cache, many enough that the calls do not count.
BATCH: Final = 1 << 16

# Where `list_bins` stands: block, row and column of the next level, state of the quantiser, class of the level before.
TOP: Final = 0
LEFT: Final = 1
ROW: Final = 2
COLUMN: Final = 3
STEP: Final = 4
PREVIOUS: Final = 5
SCANNED: Final = 6  # levels so far, skipped ones too
PAUSE: Final = 7  # why it returned
SCAN_STATE: Final = 8

MORE: Final = 0  # the batch is full, or as many levels scanned as were asked for
ROW_OF_BLOCKS: Final = 1  # a row of blocks has ended, and another follows
END: Final = 2

# Registers of the arithmetic encoder: low end and width of its interval, bits of `low` beyond nine, bytes written.
LOW: Final = 0
RANGE: Final = 1
HELD: Final = 2
WRITTEN: Final = 3


def start() -> NDArray[np.int64]:
    """Registers before the first bin."""
    return np.array([0, 510, 0, 0], dtype=np.int64)


@compiled
def set_contexts(contexts: NDArray[np.int64], sets: NDArray[np.uint8]) -> None:
    """Contexts (fast state, slow state and their shifts) at the start of their parameter sets."""
    for c in range(contexts.shape[0]):
        k = sets[c]
        contexts[c, 0] = INITIAL_FAST[k]
        contexts[c, 1] = INITIAL_STATE[k] - 16 * INITIAL_FAST[k]
        contexts[c, 2] = FAST_SHIFT[k]
        contexts[c, 3] = SLOW_SHIFT[k]


@compiled
def list_bins(
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
    codes: Codes,
) -> int:
    """Bins of the levels from where `state` stands, until `limit` of them are listed, the batch is full or a row of
    blocks ends.

    levels: quantised integers (height * width). codebook_size: 0 where there is no codebook, or where its size does not
    limit the bins (edition 1). doubled: bins of the integers instead of the dependent quantiser's levels, and no new
    start at a row of blocks: what NNCodec's parameter search counts. Returns how many codes were written.
    """
    remainder = GREATER + 4 * flags
    # With no flags (in NNCodec's trials of codebooks only) the first is coded all the same, in a remainder's context.
    most = max(flags, 1)
    room = codes.shape[0] - flags - 48
    in_blocks = edge > 0 and height > 1 and width > 1
    block_height = edge if in_blocks else height
    block_width = edge if in_blocks else width
    top, left, y, x = state[TOP], state[LEFT], state[ROW], state[COLUMN]
    step: Number = state[STEP]
    previous: Number = state[PREVIOUS]
    scanned = state[SCANNED]
    stop = scanned + limit
    count = 0
    t: Number = np.int64(0)
    while True:
        bottom = min(top + block_height, height)
        right = min(left + block_width, width)
        if skipping and x == left and skip[y]:
            if dependent:
                for _ in range(width % 4):
                    step = NEXT_STATE[np.uint64(2 * step)]
            scanned += right - x
            x = right
        while x < right:
            if count > room or scanned >= stop:
                state[TOP], state[LEFT], state[ROW], state[COLUMN] = top, left, y, x
                state[STEP], state[PREVIOUS], state[SCANNED] = step, previous, scanned
                state[PAUSE] = MORE
                return count
            at = np.uint64(y * width + x)
            x += 1
            scanned += 1
            integer: Number = np.int64(levels[at])
            magnitude: Number = abs(integer)
            level: Number = (magnitude + (step & 1)) >> 1 if dependent else magnitude
            if dependent:
                step_after = NEXT_STATE[np.uint64(2 * step + (level & 1))]
                if doubled:
                    level = magnitude
            else:
                step_after = step
            if has_reference:
                t = np.int64(reference[at])
            context: Number
            if has_history and history[at]:
                context = SIG_HISTORY + step
            elif t != 0:
                context = SIG_TEMPORAL + 2 * step + np.int64(abs(t) > 1)
            else:
                context = SIG + 3 * step + previous
            codes[count] = 2 * context + np.int64(level != 0)
            count += 1
            step = step_after
            if level == 0:
                previous = np.int64(0)
                continue
            negative: Number = np.int64(integer < 0)
            bound: Number = np.int64(1) << 62
            signed = True
            if codebook_size > 0:
                bound = codebook_zero if negative else codebook_size - 1 - codebook_zero
                signed = codebook_zero != 0 and codebook_zero != codebook_size - 1
            if signed:
                context = SIGN + 3 + np.int64(t > 0) if t != 0 else SIGN + previous
                codes[count] = 2 * context + negative
                count += 1
            previous = 2 - negative
            if bound <= 1:
                continue
            j: Number = np.int64(0)
            more: Number = np.int64(1)
            while more and j < most and j + 1 < bound:
                more = np.int64(level > j + 1)
                context = GREATER + 2 * (flags + j) + np.int64(abs(t) < j) if t != 0 else GREATER + 2 * j + negative
                codes[count] = 2 * context + more
                count += 1
                j += 1
            if not more or most + 1 >= bound:
                continue
            rest = level - (most + 1)
            ones: Number = np.int64(0)
            base: Number = np.int64(0)
            while True:
                more = np.int64(rest >= base + (np.int64(1) << ones))
                codes[count] = 2 * (remainder + ones) + more
                count += 1
                if not more:
                    break
                base += np.int64(1) << ones
                ones += 1
                if ones == 31 or bound < most + 1 + base + (np.int64(1) << ones):
                    break
            suffix = rest - base
            while ones > 0:
                bits = min(ones, BYPASS_BITS)
                ones -= bits
                codes[count] = BYPASS | (bits << BYPASS_BITS) | ((suffix >> ones) & ((1 << bits) - 1))
                count += 1
        # The next row of this block, the next block, the next row of blocks.
        y += 1
        x = left
        if y < bottom:
            continue
        left = right
        x = left
        y = top
        if left < width:
            continue
        left = np.int64(0)
        x = np.int64(0)
        y = bottom
        top = bottom
        state[TOP], state[LEFT], state[ROW], state[COLUMN] = top, left, y, x
        if not doubled:
            previous = np.int64(0)
        state[STEP], state[PREVIOUS], state[SCANNED] = step, previous, scanned
        state[PAUSE] = ROW_OF_BLOCKS if top < height else END
        return count


@compiled
def reset_estimates(estimates: NDArray[np.int64]) -> None:
    """Every context's estimators, at the start of each parameter set."""
    for c in range(estimates.shape[0]):
        for k in range(PARAMETER_SETS):
            estimates[c, k, 0] = INITIAL_FAST[k]
            estimates[c, k, 1] = INITIAL_STATE[k] - 16 * INITIAL_FAST[k]


@compiled
def add_costs(codes: Codes, count: int, estimates: NDArray[np.int64], costs: NDArray[np.int64]) -> int:
    """Add what the bins cost under each parameter set to their contexts' costs, in 2^-15 bit.

    Returns how many bins have no context.
    """
    bypass: Number = 0
    for i in range(count):
        code = np.int64(codes[i])
        if code & BYPASS:
            bypass += (code >> BYPASS_BITS) & 15
            continue
        c = np.uint64(code >> 1)
        one = code & 1
        towards = 2 * one - 1
        for k in range(PARAMETER_SETS):
            fast = estimates[c, k, 0]
            slow = estimates[c, k, 1]
            costs[c, k] += BIN_COST[np.uint64(one * 1024 + 512 + ((16 * fast + slow) >> 3))]
            estimates[c, k, 0] = fast + towards * (
                ESTIMATOR_STEP[np.uint64(16 + ((towards * fast) >> 3))] >> FAST_SHIFT[k]
            )
            estimates[c, k, 1] = slow + towards * (
                ESTIMATOR_STEP[np.uint64(16 + ((towards * slow) >> 7))] >> SLOW_SHIFT[k]
            )
    return int(bypass)


@inlined
def _emit(out: NDArray[np.uint8], low: Number, held: Number, written: Number) -> tuple[Number, Number, Number]:
    if held >= 24:
        held -= 16
        chunk = low >> (9 + held)
        low &= (np.int64(1) << (9 + held)) - 1
        if chunk >> 16:
            # A carry runs back through the bytes that are all ones.
            place = written - 1
            while out[place] == 255:
                out[place] = 0
                place -= 1
            out[place] += 1
        out[written] = (chunk >> 8) & 255
        out[written + 1] = chunk & 255
        written += 2
    return low, held, written


@compiled
def encode_bins(
    codes: Codes, count: int, contexts: NDArray[np.int64], registers: NDArray[np.int64], out: NDArray[np.uint8]
) -> int:
    """Append bins to the codeword. Returns how many fitted in `out`: the caller makes room and goes on from there."""
    low, extent, held, written = registers[0], registers[1], registers[2], registers[3]
    room = out.shape[0] - 16
    done = count
    for i in range(count):
        if written > room:
            done = i
            break
        code = np.int64(codes[i])
        if code & BYPASS:
            bits = (code >> BYPASS_BITS) & 15
            low = (low << bits) + extent * (code & ((1 << BYPASS_BITS) - 1))
            held += bits
        else:
            c = np.uint64(code >> 1)
            one = code & 1
            fast = contexts[c, 0]
            slow = contexts[c, 1]
            state = 16 * fast + slow
            lps = np.int64(LPS_RANGE[np.uint64((extent & 0xE0) | abs(state >> 7))])
            likely = extent - lps
            if one == np.int64(state >= 0):
                shift = np.int64(likely < 256)
                extent = likely << shift
            else:
                low += likely
                shift = np.int64(RENORM_SHIFT[np.uint64(lps)])
                extent = lps << shift
            low <<= shift
            held += shift
            towards = 2 * one - 1
            contexts[c, 0] = fast + towards * (
                ESTIMATOR_STEP[np.uint64(16 + ((towards * fast) >> 3))] >> contexts[c, 2]
            )
            contexts[c, 1] = slow + towards * (
                ESTIMATOR_STEP[np.uint64(16 + ((towards * slow) >> 7))] >> contexts[c, 3]
            )
        low, held, written = _emit(out, low, held, written)
    registers[0], registers[1], registers[2], registers[3] = low, extent, held, written
    return done


def finish(registers: NDArray[np.int64], out: NDArray[np.uint8]) -> bytes:
    """Terminate bin, stop bit and zero bits: the codeword."""
    low, extent, held, written = (int(r) for r in registers)
    low += extent - 2
    # The last of the nine bits gives way to the stop bit; the interval of width 2 holds both of its values.
    bits = 9 + held
    whole = (int.from_bytes(out[:written].tobytes(), "big") << bits) + low if low >> bits else None
    tail = ((low & ((1 << bits) - 1)) | 1) << (-bits & 7)
    size = (bits + 7) >> 3
    if whole is None:
        return out[:written].tobytes() + tail.to_bytes(size, "big")
    return (((whole >> bits) << (8 * size)) | tail).to_bytes(written + size, "big")
