"""Compiled: levels of a tensor out of an arithmetic codeword (ISO/IEC 15938-17, arithmetic decoding and binarisation).

The decoder keeps a 9-bit range and a window of the codeword with `spare` more bits below the nine that the range is
compared with, so that a bit shifted in is `spare - 1` and bytes are fetched four at a time.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc.compiled import Number, compiled, inlined
from nnpf.nnc.contexts import context_count
from nnpf.nnc.tables import (
    ESTIMATOR_STEP,
    FAST_SHIFT,
    GREATER,
    INITIAL_FAST,
    INITIAL_STATE,
    LPS_RANGE,
    NEXT_STATE,
    RENORM_SHIFT,
    ROW_SKIP,
    SET_INDEX,
    SIG,
    SIG_HISTORY,
    SIG_TEMPORAL,
    SIGN,
    SLOW_SHIFT,
)

Bytes: TypeAlias = NDArray[np.uint8]
Contexts: TypeAlias = NDArray[np.int64]

# A bin, and the registers after it.
Decoded: TypeAlias = tuple[Number, Number, Number, Number, Number]

# What `decode_levels` returns.
DONE: Final = 0
OVERRUN: Final = 1
LEVEL_TOO_LARGE: Final = 2
NO_HISTORY: Final = 3

# Zero bytes that must follow the codeword in the buffer: bytes are fetched up to eight ahead.
PADDING: Final = 16

# Registers: what survives from one tensor of a unit to the next.
WINDOW: Final = 0
RANGE: Final = 1
SPARE: Final = 2
NEXT_BYTE: Final = 3

# What `decode_levels` reports beside the levels.
ROW_SKIP_ENABLED: Final = 0
HISTORY_ENABLED: Final = 1
LARGEST: Final = 2  # magnitude


def start(codeword: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Registers at the start of a codeword (which is followed by PADDING zero bytes)."""
    window = int.from_bytes(codeword[:4].tobytes(), "big")
    return np.array([window, 510, 32 - 9, 4], dtype=np.int64)


def work_space(flags: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Contexts (fast state, slow state and their shifts), their parameter sets, and the rows that are skipped."""
    count = context_count(flags)
    return np.empty((count, 4), np.int64), np.empty(count, np.uint8), np.empty(height, np.uint8)


@inlined
def _fetch(data: Bytes, window: Number, spare: Number, place: Number) -> tuple[Number, Number, Number]:
    if spare < 16:
        more = np.int64(0)  # what follows the end, until the caller sees that it is beyond it
        if place + 4 <= data.shape[0]:
            more = (
                (np.int64(data[place]) << 24)
                | (np.int64(data[place + 1]) << 16)
                | (np.int64(data[place + 2]) << 8)
                | np.int64(data[place + 3])
            )
        window = (window << 32) | more
        spare += 32
        place += 4
    return window, spare, place


@inlined
def _learn(contexts: Contexts, c: Number, fast: Number, slow: Number, one: Number) -> None:
    """Move a context towards the bin that came."""
    towards = 2 * one - 1
    contexts[c, 0] = fast + towards * (ESTIMATOR_STEP[np.uint64(16 + ((towards * fast) >> 3))] >> contexts[c, 2])
    contexts[c, 1] = slow + towards * (ESTIMATOR_STEP[np.uint64(16 + ((towards * slow) >> 7))] >> contexts[c, 3])


@inlined
def _bin(
    data: Bytes, contexts: Contexts, c: Number, window: Number, extent: Number, spare: Number, place: Number
) -> Decoded:
    """One context-coded bin."""
    fast = contexts[c, 0]
    slow = contexts[c, 1]
    state = 16 * fast + slow
    lps = np.int64(LPS_RANGE[np.uint64((extent & 0xE0) | abs(state >> 7))])
    likely = extent - lps
    scaled = likely << spare
    if window < scaled:
        one = np.int64(state >= 0)
        shift = np.int64(likely < 256)
        extent = likely << shift
    else:
        one = np.int64(state < 0)
        window -= scaled
        shift = np.int64(RENORM_SHIFT[np.uint64(lps)])
        extent = lps << shift
    spare -= shift
    _learn(contexts, c, fast, slow, one)
    window, spare, place = _fetch(data, window, spare, place)
    return one, window, extent, spare, place


@inlined
def _even_bin(
    data: Bytes, contexts: Contexts, c: Number, window: Number, extent: Number, spare: Number, place: Number
) -> Decoded:
    """`_bin` without a branch, for bins that cannot be foreseen: signs."""
    fast = contexts[c, 0]
    slow = contexts[c, 1]
    state = 16 * fast + slow
    lps = np.int64(LPS_RANGE[np.uint64((extent & 0xE0) | abs(state >> 7))])
    likely = extent - lps
    scaled = likely << spare
    unlikely = np.int64(window >= scaled)
    mask = -unlikely
    window -= scaled & mask
    extent = likely ^ ((likely ^ lps) & mask)
    shift = np.int64(RENORM_SHIFT[np.uint64(extent)])
    extent <<= shift
    spare -= shift
    one = np.int64(state >= 0) ^ unlikely
    _learn(contexts, c, fast, slow, one)
    window, spare, place = _fetch(data, window, spare, place)
    return one, window, extent, spare, place


@inlined
def _bypass(data: Bytes, window: Number, extent: Number, spare: Number, place: Number) -> Decoded:
    """One bin without a context."""
    spare -= 1
    scaled = extent << spare
    one = np.int64(window >= scaled)
    window -= scaled & -one
    window, spare, place = _fetch(data, window, spare, place)
    return one, window, extent, spare, place


@inlined
def _set_context(contexts: Contexts, c: Number, k: Number) -> None:
    contexts[c, 0] = INITIAL_FAST[k]
    contexts[c, 1] = INITIAL_STATE[k] - 16 * INITIAL_FAST[k]
    contexts[c, 2] = FAST_SHIFT[k]
    contexts[c, 3] = SLOW_SHIFT[k]


@compiled
def decode_bypass(data: Bytes, registers: NDArray[np.int64], count: int) -> Number:
    """uae(v): `count` bins without context, as an unsigned integer."""
    window, extent, spare, place = registers[0], registers[1], registers[2], registers[3]
    value = np.int64(0)
    for _ in range(count):
        one, window, extent, spare, place = _bypass(data, window, extent, spare, place)
        value = 2 * value + one
    registers[0], registers[1], registers[2], registers[3] = window, extent, spare, place
    return value


@compiled
def decode_levels(
    data: Bytes,
    registers: NDArray[np.int64],
    out: NDArray[np.int32],
    height: int,
    width: int,
    edge: int,
    flags: int,
    dependent: bool,
    edition2: bool,
    parent: bool,
    has_reference: bool,
    reference: NDArray[np.int16],
    has_history: bool,
    history: NDArray[np.uint8],
    codebook_size: int,
    codebook_zero: int,
    signalled: NDArray[np.uint8],
    restart_always: bool,
    points: NDArray[np.int64],
    contexts: Contexts,
    sets: NDArray[np.uint8],
    skip: NDArray[np.uint8],
    report: NDArray[np.int64],
) -> int:
    """Levels of one matrix; quantised integers go to `out` (height * width, int32, zeros before).

    data: the codeword and PADDING zero bytes. edge: of the scan's blocks, 0 for raster. flags: greater-than flags.
    reference: integers of the update before (int16, clipped to REFERENCE_LIMIT). history: 1 where an earlier update
    was not zero. signalled: see `contexts.signalled_contexts`. points: int64[rows of blocks, 3], for each the window,
    the quantiser's state and the bits read where it starts (for as many as it has rows). contexts, sets, skip: see
    `work_space`. report: int64[3], see ROW_SKIP_ENABLED.
    Returns DONE or what went wrong.
    """
    window, extent, spare, place = registers[0], registers[1], registers[2], registers[3]
    end = data.shape[0] - PADDING
    remainder = GREATER + 4 * flags
    for c in range(contexts.shape[0]):
        _set_context(contexts, c, 0)
        sets[c] = 0
    matrix = height > 1 and width > 1

    # Before the levels: history flag, rows that are zero, estimator parameters.
    use_history = False
    skipping = False
    if edition2 and matrix and codebook_size != 1:
        if parent:
            one, window, extent, spare, place = _bypass(data, window, extent, spare, place)
            use_history = one == 1
            report[HISTORY_ENABLED] = one
            if use_history and not has_history:
                return NO_HISTORY
        one, window, extent, spare, place = _bypass(data, window, extent, spare, place)
        skipping = one == 1
        report[ROW_SKIP_ENABLED] = one
        if skipping:
            for y in range(height):
                one, window, extent, spare, place = _bin(
                    data, contexts, remainder + ROW_SKIP, window, extent, spare, place
                )
                skip[y] = one
                if place > end + PADDING:
                    return OVERRUN

    limited = edition2 and codebook_size > 0
    for c in range(signalled.shape[0]):
        if signalled[c] and (use_history or not SIG_HISTORY <= c < SIGN):
            one, window, extent, spare, place = _bin(
                data, contexts, remainder + SET_INDEX, window, extent, spare, place
            )
            k: Number = np.int64(0)
            if one:
                for _ in range(3):
                    one, window, extent, spare, place = _bypass(data, window, extent, spare, place)
                    k = 2 * k + one
                k += 1
            sets[c] = k
            _set_context(contexts, c, k)

    # The levels. A codebook of one entry leaves nothing to code.
    if edition2 and codebook_size == 1:
        registers[0], registers[1], registers[2], registers[3] = window, extent, spare, place
        return DONE
    in_blocks = edge > 0 and matrix
    block_height = edge if in_blocks else height
    block_width = edge if in_blocks else width
    if in_blocks and (height > edge or restart_always):
        extent = np.int64(256)
    step: Number = np.int64(0)  # state of the dependent quantiser
    previous: Number = np.int64(0)  # 0, 1, 2 where the level before was zero, negative, positive
    t: Number = np.int64(0)
    largest_level: Number = np.int64(0)
    if in_blocks and points.shape[0] > 0:
        points[0, 0], points[0, 1], points[0, 2] = (window >> spare) & 255, step, 8 * place - spare
    for top in range(0, height, block_height):
        bottom = min(top + block_height, height)
        for left in range(0, width, block_width):
            right = min(left + block_width, width)
            for y in range(top, bottom):
                if skipping and skip[y]:
                    if dependent:
                        # The state runs on over the whole row, in every block. Along zeros it has periods 1, 2 and 4.
                        for _ in range(width % 4):
                            step = NEXT_STATE[np.uint64(2 * step)]
                    continue
                for x in range(left, right):
                    if place > end + PADDING:
                        return OVERRUN
                    at = np.uint64(y * width + x)
                    if has_reference:
                        t = np.int64(reference[at])
                    context: Number
                    if use_history and history[at]:
                        context = SIG_HISTORY + step
                    elif t != 0:
                        context = SIG_TEMPORAL + 2 * step + np.int64(abs(t) > 1)
                    else:
                        context = SIG + 3 * step + previous
                    one, window, extent, spare, place = _bin(
                        data, contexts, np.uint64(context), window, extent, spare, place
                    )
                    if not one:
                        previous = np.int64(0)
                        step = NEXT_STATE[np.uint64(2 * step)] if dependent else step
                        continue
                    bound: Number = np.int64(1) << 62  # on the magnitude
                    signed = True
                    negative: Number = np.int64(0)
                    if limited and (codebook_zero == 0 or codebook_zero == codebook_size - 1):
                        signed = False
                        negative = np.int64(codebook_zero != 0)
                    if signed:
                        context = SIGN + 3 + np.int64(t > 0) if t != 0 else SIGN + previous
                        negative, window, extent, spare, place = _even_bin(
                            data, contexts, np.uint64(context), window, extent, spare, place
                        )
                    if limited:
                        bound = codebook_zero if negative else codebook_size - 1 - codebook_zero
                    level: Number = np.int64(1)
                    j = np.int64(0)
                    if bound > 1:
                        while True:
                            if t != 0:
                                context = GREATER + 2 * (flags + j) + np.int64(abs(t) < j)
                            else:
                                context = GREATER + 2 * j + negative
                            one, window, extent, spare, place = _bin(
                                data, contexts, np.uint64(context), window, extent, spare, place
                            )
                            level += one
                            j += 1
                            if not one or j == flags or level >= bound:
                                break
                        if one and level < bound:
                            ones: Number = np.int64(0)
                            while True:
                                one, window, extent, spare, place = _bin(
                                    data, contexts, np.uint64(remainder + ones), window, extent, spare, place
                                )
                                if not one:
                                    break
                                level += np.int64(1) << ones
                                ones += 1
                                if ones == 31 or bound < level + (np.int64(1) << ones):
                                    break
                            suffix: Number = np.int64(0)
                            for _ in range(ones):
                                one, window, extent, spare, place = _bypass(data, window, extent, spare, place)
                                suffix = 2 * suffix + one
                            level += suffix
                    value = -level if negative else level
                    previous = 2 - negative
                    if dependent:
                        odd = step & 1
                        step = NEXT_STATE[np.uint64(2 * step + (level & 1))]
                        value = 2 * value + odd * (2 * negative - 1)
                    if value < -2147483648 or value > 2147483647:
                        return LEVEL_TOO_LARGE
                    out[at] = value
                    largest_level = max(largest_level, abs(value))
        if in_blocks and bottom < height:
            for c in range(contexts.shape[0]):
                _set_context(contexts, c, sets[c])
            previous = np.int64(0)
            extent = np.int64(256)
            row = bottom // block_height
            if row < points.shape[0]:
                points[row, 0], points[row, 1], points[row, 2] = (window >> spare) & 255, step, 8 * place - spare
    report[LARGEST] = largest_level
    registers[0], registers[1], registers[2], registers[3] = window, extent, spare, place
    return DONE


@compiled
def decode_terminate(data: Bytes, registers: NDArray[np.int64]) -> tuple[Number, Number]:
    """The terminate bin. Returns (bin, bits of the codeword up to and with its stop bit)."""
    window, extent, spare, place = registers[0], registers[1], registers[2], registers[3]
    extent -= 2
    return np.int64(window >= extent << spare), 8 * place - spare
