"""The payload of a compressed data unit: levels of one or more matrices in one arithmetic codeword."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nnpf.nnc import level_coding as coder
from nnpf.nnc import level_decoding
from nnpf.nnc.contexts import context_count, signalled_contexts
from nnpf.nnc.errors import NncError
from nnpf.nnc.level_coding import BATCH, BYPASS, BYPASS_BITS, END, PAUSE, RANGE, ROW_OF_BLOCKS, SCAN_STATE
from nnpf.nnc.matrix import Matrix, Tools
from nnpf.nnc.settings import Search
from nnpf.nnc.syntax import EntryPoint
from nnpf.nnc.tables import COST_UNIT, GREATER, PARAMETER_SETS, ROW_SKIP, SET_INDEX, SIG_HISTORY, SIGN

# Costs of a parameter set other than the default, beside its flag.
SET_BITS: Final = 3

# Levels of a batch, where only the batch's size counts.
NO_LIMIT: Final = 1 << 62

_NO_REFERENCE: Final = np.zeros(1, dtype=np.int16)
_NO_HISTORY: Final = np.zeros(1, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent before the levels of a matrix."""

    history: bool
    skip: NDArray[np.uint8] | None
    sets: NDArray[np.uint8]
    cost: float  # bits, where it was needed


class Bins:
    """The bins of one matrix, in batches."""

    def __init__(
        self,
        m: Matrix,
        tools: Tools,
        history: bool,
        skip: NDArray[np.uint8] | None,
        doubled: bool = False,
        limit: int = NO_LIMIT,
    ) -> None:
        limited = None if doubled else m.limited
        self.codes = np.empty(BATCH, dtype=np.uint16)
        self.state = np.zeros(SCAN_STATE, dtype=np.int64)
        self.arguments = (
            m.levels,
            m.height,
            m.width,
            tools.edge(m),
            tools.flags,
            tools.dependent,
            m.reference is not None,
            m.reference if m.reference is not None else _NO_REFERENCE,
            history,
            m.history if history and m.history is not None else _NO_HISTORY,
            len(limited.values) if limited else 0,
            limited.zero if limited else 0,
            skip is not None,
            skip if skip is not None else _NO_HISTORY,
            doubled,
            limit,
            self.state,
            self.codes,
        )

    def next(self) -> tuple[int, int]:
        """The number of codes in the next batch, and why it ends there."""
        count = coder.list_bins(*self.arguments)
        return count, int(self.state[PAUSE])


def _bypass_codes(value: int, bits: int) -> list[int]:
    codes = []
    while bits > 0:
        part = min(bits, BYPASS_BITS)
        bits -= part
        codes.append(BYPASS | (part << BYPASS_BITS) | ((value >> bits) & ((1 << part) - 1)))
    return codes


def _zero_rows(m: Matrix) -> NDArray[np.uint8]:
    rows = m.levels.reshape(m.height, m.width)
    return np.logical_not(rows.any(axis=1)).view(np.uint8)


def _costs(m: Matrix, tools: Tools, history: bool, skip: NDArray[np.uint8] | None) -> tuple[NDArray[np.int64], int]:
    """What every context costs under every parameter set, in 2^-15 bit, and the bins without context."""
    count = context_count(tools.flags)
    estimates = np.empty((count, PARAMETER_SETS, 2), dtype=np.int64)
    costs = np.zeros((count, PARAMETER_SETS), dtype=np.int64)
    coder.reset_estimates(estimates)
    bins = Bins(m, tools, history, skip, doubled=tools.search == "nncodec")
    bypass = 0
    while True:
        codes, pause = bins.next()
        bypass += coder.add_costs(bins.codes, codes, estimates, costs)
        if pause == END:
            return costs, bypass
        if pause == ROW_OF_BLOCKS:
            coder.reset_estimates(estimates)


def _choose(costs: NDArray[np.int64], used: NDArray[np.uint8], search: Search) -> NDArray[np.uint8]:
    """The parameter set of every context."""
    penalties = [float(SET_BITS)]
    if search == "exact":
        penalties = [SET_BITS + 2.0, SET_BITS + 2.0]
    sets = np.zeros(len(used), dtype=np.uint8)
    for penalty in penalties:
        weighed = costs.astype(np.float64)
        weighed[:, 1:] += penalty * COST_UNIT
        sets = np.where(used != 0, np.argmin(weighed, axis=1), 0).astype(np.uint8)
        # A flag says whether the set is another than the default; how much it costs depends on how many are.
        share = (np.count_nonzero(sets) + 1) / (np.count_nonzero(used) + 2)
        if search == "exact":
            penalties[-1] = SET_BITS + min(max(math.log2((1 - share) / share), 0.0), 6.0)
    return sets


class CodewordWriter:
    """Builds one codeword."""

    def __init__(self, size: int) -> None:
        self._registers = coder.start()
        self._out = np.empty(max(size, 64), dtype=np.uint8)

    def _encode(self, codes: NDArray[np.uint16], count: int, contexts: NDArray[np.int64]) -> None:
        done = 0
        while True:
            done += coder.encode_bins(codes[done:], count - done, contexts, self._registers, self._out)
            if done == count:
                return
            self._out = np.concatenate([self._out, np.empty_like(self._out)])

    def matrix(self, m: Matrix, tools: Tools) -> None:
        """Append one matrix."""
        chosen = plan(m, tools)
        contexts = np.empty((context_count(tools.flags), 4), dtype=np.int64)
        coder.set_contexts(contexts, np.zeros(len(contexts), dtype=np.uint8))
        codes = np.array(_prefix(m, tools, chosen), dtype=np.uint16)
        self._encode(codes, len(codes), contexts)
        if m.limited and len(m.limited.values) == 1:
            return
        coder.set_contexts(contexts, chosen.sets)
        if tools.edge(m) and m.height > tools.edge(m):
            self._registers[RANGE] = 256
        bins = Bins(m, tools, chosen.history, chosen.skip)
        while True:
            count, pause = bins.next()
            self._encode(bins.codes, count, contexts)
            if pause == END:
                return
            if pause == ROW_OF_BLOCKS:
                coder.set_contexts(contexts, chosen.sets)
                self._registers[RANGE] = 256

    def finish(self) -> bytes:
        """Terminate bin, stop bit and zero bits: the whole codeword."""
        return coder.finish(self._registers, self._out)


def _prefix(m: Matrix, tools: Tools, chosen: Plan) -> list[int]:
    """Bins before the levels."""
    codes = []
    if m.code is not None:
        value, bits = m.code
        codes += _bypass_codes(value & ((1 << bits) - 1), bits)
    remainder = GREATER + 4 * tools.flags
    single = m.limited is not None and len(m.limited.values) == 1
    if tools.edition2 and m.is_matrix and not single:
        if tools.update:
            codes += _bypass_codes(int(chosen.history), 1)
        codes += _bypass_codes(int(chosen.skip is not None), 1)
        if chosen.skip is not None:
            codes += [2 * (remainder + ROW_SKIP) + int(s) for s in chosen.skip]
    used = _used(m, tools, chosen.history)
    for c in np.flatnonzero(used):
        k = int(chosen.sets[c])
        codes.append(2 * (remainder + SET_INDEX) + (k > 0))
        if k:
            codes += _bypass_codes(k - 1, SET_BITS)
    return codes


def _used(m: Matrix, tools: Tools, history: bool) -> NDArray[np.uint8]:
    used = signalled_contexts(tools.flags, tools.dependent, m.reference is not None, m.limited)
    if not history:
        used[SIG_HISTORY:SIGN] = 0
    return used


def plan(m: Matrix, tools: Tools) -> Plan:
    """The cheapest choice of history flag, row skip and parameter sets that the tools allow."""
    open_to = m.is_matrix and tools.edition2
    histories = [False]
    if open_to and tools.update and m.history is not None and m.history.any():
        histories.append(True)
    skips: list[NDArray[np.uint8] | None] = [None]
    if open_to and tools.row_skip is not False:
        rows = _zero_rows(m)
        if tools.row_skip:
            skips = [rows]
        elif rows.any():
            skips.append(rows)
    best: Plan | None = None
    several = len(histories) * len(skips) > 1
    for history in histories:
        for skip in skips:
            choice = _with_sets(m, tools, history, skip, several)
            if best is None or choice.cost < best.cost:
                best = choice
    assert best is not None
    return best


def _with_sets(m: Matrix, tools: Tools, history: bool, skip: NDArray[np.uint8] | None, cost_wanted: bool) -> Plan:
    used = _used(m, tools, history)
    sets = np.zeros(len(used), dtype=np.uint8)
    if tools.search == "none" and not cost_wanted:
        return Plan(history, skip, sets, 0.0)
    costs, bypass = _costs(m, tools, history, skip)
    if tools.search != "none":
        sets = _choose(costs, used, tools.search)
    choice = Plan(history, skip, sets, 0.0)
    if not cost_wanted:
        return choice
    prefix = np.array(_prefix(m, tools, choice), dtype=np.uint16)
    estimates = np.empty((len(used), PARAMETER_SETS, 2), dtype=np.int64)
    coder.reset_estimates(estimates)
    before = np.zeros_like(costs)
    bypass += coder.add_costs(prefix, len(prefix), estimates, before)
    total = costs[np.arange(len(sets)), sets].sum() + before[:, 0].sum()
    return Plan(history, skip, sets, bypass + float(total) / COST_UNIT)


def costs_of_contexts(m: Matrix, tools: Tools) -> NDArray[np.int64]:
    """What every context costs under every parameter set, in 2^-15 bit, without row skip or history contexts."""
    return _costs(m, tools, False, None)[0]


def cost_in_bits(m: Matrix, tools: Tools) -> float:
    """What `CodewordWriter.matrix` would add to a codeword, to within the accuracy of its estimates."""
    chosen = plan(m, tools)
    if chosen.cost:
        return chosen.cost
    return _with_sets(m, tools, chosen.history, chosen.skip, True).cost


def encode_matrices(matrices: Sequence[Matrix], tools: Tools) -> bytes:
    """One codeword for the matrices of a unit."""
    writer = CodewordWriter(256 + 2 * sum(m.levels.size for m in matrices))
    for m in matrices:
        writer.matrix(m, tools)
    return writer.finish()


def entry_points(codeword: bytes, matrices: Sequence[Matrix], tools: Tools) -> tuple[EntryPoint, ...]:
    """Entry points of the block rows, which only a decoder's window can tell: found by decoding the codeword."""
    if not tools.scan_order:
        return ()
    data = np.zeros(len(codeword) + level_decoding.PADDING, dtype=np.uint8)
    data[: len(codeword)] = np.frombuffer(codeword, dtype=np.uint8)
    registers = level_decoding.start(data)
    found: list[EntryPoint] = []
    offset = 0
    for m in matrices:
        if m.code is not None:
            level_decoding.decode_bypass(data, registers, m.code[1])
        edge = tools.edge(m)
        points = np.zeros((-(-m.height // edge) if edge else 0, 3), dtype=np.int64)
        levels = np.zeros(m.levels.size, dtype=np.int32)
        result = level_decoding.decode_levels(
            data,
            registers,
            levels,
            m.height,
            m.width,
            edge,
            tools.flags,
            tools.dependent,
            tools.edition2,
            tools.update,
            m.reference is not None,
            m.reference if m.reference is not None else _NO_REFERENCE,
            m.history is not None,
            m.history if m.history is not None else _NO_HISTORY,
            len(m.limited.values) if m.limited else 0,
            m.limited.zero if m.limited else 0,
            signalled_contexts(tools.flags, tools.dependent, m.reference is not None, m.limited),
            False,
            points,
            *level_decoding.work_space(tools.flags, m.height),
            np.zeros(3, dtype=np.int64),
        )
        if result != level_decoding.DONE or not np.array_equal(levels, m.levels):
            raise NncError("the codeword does not hold the levels that were coded")  # a fault of this package
        for row in range(1, len(points)):
            bits = int(points[row, 2] - points[row - 1, 2])
            found.append(EntryPoint(int(points[row, 0]), int(points[row, 1]), bits - (offset if found else 0)))
            offset = bits
    return tuple(found)
