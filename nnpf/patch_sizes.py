"""The size of patches: which ones a receiver takes, and which ones a message should leave to it (H.274 8.28.1.3).

Sizes are in units (see `nnpf.tensors`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from nnpf.errors import NnpfError
from nnpf.padding import Ints
from nnpf.tensors import PatchProcess

# A position of a patch that takes r times the cache costs r ** _CACHE_COST of one inside it. Measured at 1920x1080 with
# filters of 24, 32 and 72 channels beside other programs: 0.25 where r is 3, 0.5 and more for whole pictures.
_CACHE_COST = 0.25

# What a message leaves free is held against pictures in 1, 2, 3, ... patches a side, as long as these have some size:
# receivers take the whole picture where memory and caches allow, so that counts most.
_USUAL_SIDE = 64
_MOST_PATCHES = 8
# Larger ones leave few sizes, and gain little. Nor is a larger one taken for less than this part of the time.
_LARGEST_DELTA = 128
_WORTH = 0.005


def choose_patch(
    process: PatchProcess,
    *,
    max_positions: int,
    cache_positions: int | None = None,
    fixed: tuple[int | None, int | None] = (None, None),
    strides: tuple[int, int] = (1, 1),
) -> tuple[int, int]:
    """Rows and columns of the patches to use, in units.

    Constant patches are as signalled. A free size is the one that makes the network compute least, where the picture
    as a whole is best; large patches in turn leave the cache. This weighs one against the other.

    Args:
        max_positions: (rows + 2 overlap) * (columns + 2 overlap) of a patch: what memory allows.
        cache_positions: as many of them stay in the processor's caches; None: patches of all sizes are alike.
        fixed: rows and columns of the network's input where its graph fixes them, overlap included.
        strides: what they are multiples of.

    Raises:
        NnpfError: no size is legal, or the network's own one is not.
    """
    margin = 2 * process.overlap
    if process.constant_patch_size:
        patch = (process.patch_height, process.patch_width)
        for size, wanted in zip(patch, fixed, strict=True):
            if wanted is not None and wanted != size + margin:
                raise NnpfError(f"the network takes {wanted} rows or columns, patch and overlap make {size + margin}")
        if process.out_patch(patch) is None:
            raise NnpfError(f"a patch of {patch[1]}x{patch[0]} gives no whole number of output samples")
        return patch
    chosen = []
    deltas = (process.patch_height, process.patch_width)
    sides = ("height", "width")
    for axis, delta, own, stride, side in zip(_axes(process), deltas, fixed, strides, sides, strict=True):
        sizes = axis.legal_sizes(delta)
        sizes = sizes[(sizes + margin) % stride == 0]
        if own is not None:
            sizes = sizes[sizes + margin == own]
        if sizes.size == 0:
            raise NnpfError(f"no patch {side} is legal for {process.inp} with this overlap and network")
        counts = axis.patches(sizes)
        # Of the sizes that give as many patches, the smallest one computes least.
        counts, first = np.unique(counts, return_index=True)
        chosen.append((sizes[first], counts))
    (heights, across), (widths, along) = chosen
    positions = (heights + margin)[:, np.newaxis] * (widths + margin)
    cost = positions.astype(np.float64) * across[:, np.newaxis] * along
    if cache_positions is not None:
        cost *= np.maximum(1, positions / cache_positions) ** _CACHE_COST
    cost[positions > max_positions] = np.inf
    # Sizes fall. Of equal costs the widest patch is taken: rows of a picture are contiguous.
    column = int(np.argmin(cost.min(axis=0)))
    row = int(np.argmin(cost[:, column]))
    if not np.isfinite(cost[row, column]):
        raise NnpfError(f"the smallest legal patch of {process.inp} is larger than memory allows")
    return int(heights[row]), int(widths[column])


def choose_deltas(process: PatchProcess, strides: tuple[int, int]) -> tuple[int, int]:
    """nnpfc_extended_patch_height_cd_delta_minus1 + 1 and that of the width, to leave the size of patches free.

    Of a patch with its overlap the standard takes multiples of delta + 2 overlap only. With a delta of 1 a picture of
    208x120 units and an overlap of 8 is a patch of 222x120 at least, 7 % more than there is; with 12 it is one of 208.

    Args:
        process: of any patch size.
        strides: rows and columns of the network's input have to be multiples of them.
    """
    heights, widths = (_choose_delta(axis, stride) for axis, stride in zip(_axes(process), strides, strict=True))
    return heights, widths


def smallest_delta(overlap: int, stride: int) -> int:
    """The least delta that makes delta + 2 overlap a multiple of a stride."""
    return stride - 2 * overlap % stride


def _choose_delta(axis: _Axis, stride: int) -> int:
    first = smallest_delta(axis.margin // 2, stride)
    found = [(delta, axis.cost_of(delta)) for delta in range(first, min(axis.length, _LARGEST_DELTA) + 1, stride)]
    best, least = first, math.inf
    for delta, cost in found:
        if cost < least * (1 - _WORTH):
            best, least = delta, cost
    return best


@dataclass(frozen=True, slots=True)
class _Axis:
    """Height or width of pictures.

    Attributes:
        length, out_length: CroppedHeight or CroppedWidth, and that of the output.
        unit, out_unit: luma samples in a unit.
        margin: overlap on both sides.
    """

    length: int
    out_length: int
    unit: int
    out_unit: int
    margin: int

    def legal_sizes(self, delta: int) -> Ints:
        """Sizes that with the overlap are multiples of delta + margin, are at most the picture's, and give a whole
        number of output samples."""
        period = delta + self.margin
        sizes = np.arange(1, (self.length + self.margin) // period + 1, dtype=np.int64) * period - self.margin
        whole = sizes * self.unit * self.out_length % (self.length * self.out_unit) == 0
        return cast(Ints, sizes[whole])

    @property
    def units(self) -> int:
        return -(-self.length // self.unit)

    def patches(self, sizes: Ints) -> Ints:
        """How many patches of a size a picture takes."""
        return -(-self.units // sizes)

    def cost_of(self, delta: int) -> float:
        """What receivers compute at least, against patches of any size; infinite where no size is legal."""
        sizes = self.legal_sizes(delta)
        if sizes.size == 0:
            return math.inf
        counts = self.patches(sizes)
        computed = counts * (sizes + self.margin)
        cost = weights = 0.0
        for patches in range(1, max(1, min(_MOST_PATCHES, round(self.units / _USUAL_SIDE))) + 1):
            ideal = self.units + patches * self.margin
            least = computed[counts >= patches].min(initial=2 * ideal)
            cost += least / ideal / patches**2
            weights += 1 / patches**2
        return cost / weights


def _axes(process: PatchProcess) -> tuple[_Axis, _Axis]:
    heights, widths = (
        _Axis(*sizes, 2 * process.overlap)
        for sizes in zip(
            (process.inp.height, process.inp.width),
            (process.out.height, process.out.width),
            process.inp_unit,
            process.out_unit,
            strict=True,
        )
    )
    return heights, widths
