"""Planes with what lies around them, by the padding rules of H.274 8.28.1.3 (InpSampleVal).

Coordinates are those of the plane: 0 is its first row or column, and those before it are negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nnpf.arrays import Array, Arrays

Ints = npt.NDArray[Any]  # of integers

ZERO, REPLICATE, REFLECT, WRAP, FIXED = 0, 1, 2, 3, 4  # nnpfc_padding_type


@dataclass(frozen=True, slots=True)
class PaddedPlane:
    """Where the samples around a plane come from, for planes of one size."""

    rows: _Axis
    columns: _Axis

    def around(self, samples: Array, value: int, arrays: Arrays) -> Array:
        """The plane with what lies around it; the plane itself where that is nothing. `value`: of padding."""
        rows, columns = self.rows, self.columns
        if not rows.sides and not columns.sides:
            return samples
        whole = arrays.like(samples, (rows.end - rows.first, columns.end - columns.first))
        inside = whole[rows.own]
        inside[:, columns.own] = samples
        for side in columns.sides:
            inside[:, side.span] = value if side.source is None else inside[:, side.source]
        for side in rows.sides:
            whole[side.span] = value if side.source is None else whole[side.source]
        return whole


def padded_plane(
    rows: tuple[int, int], columns: tuple[int, int], size: tuple[int, int], padding_type: int, arrays: Arrays
) -> PaddedPlane:
    """Planes of one size, padded as far as they are read.

    Args:
        rows, columns: the first coordinate that is read, and the last one plus 1.
        size: rows and columns of the plane.
    """
    return PaddedPlane(
        _axis(*rows, size[0], padding_type, vertical=True, arrays=arrays),
        _axis(*columns, size[1], padding_type, vertical=False, arrays=arrays),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """Positions before or after the plane along one axis.

    `source`: the positions that they repeat, or one for all of them; None: the padding value stands there.
    """

    span: slice
    source: slice | Array | None


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a padded plane: the coordinates from `first` to `end`. `own`: the positions of the plane itself."""

    first: int
    end: int
    own: slice
    sides: tuple[_Side, ...]


def _axis(first: int, end: int, size: int, padding_type: int, *, vertical: bool, arrays: Arrays) -> _Axis:
    first, end = min(first, 0), max(end, size)
    own = slice(-first, size - first)
    sides = []
    for span in (slice(0, own.start), slice(own.stop, end - first)):
        outside = np.arange(span.start + first, span.stop + first, dtype=np.intp)
        if outside.size:
            inside = _inside(outside, size, padding_type, vertical=vertical)
            sides.append(_Side(span, None if inside is None else _source(inside - first, arrays)))
    return _Axis(first, end, own, tuple(sides))


def _inside(outside: Ints, size: int, padding_type: int, *, vertical: bool) -> Ints | None:
    """The coordinates inside the plane that some outside it read; None where the padding value stands there."""
    if padding_type == REPLICATE:
        return np.clip(outside, 0, size - 1)
    if padding_type == REFLECT:
        # The standard's Reflect, repeated until the sample lies inside.
        period = max(1, 2 * (size - 1))
        once: Ints = np.mod(outside, period)
        return np.minimum(once, period - once) if size > 1 else once
    if padding_type == WRAP and not vertical:
        wrapped: Ints = np.mod(outside, size)
        return wrapped
    return None


def _source(positions: Ints, arrays: Arrays) -> slice | Array:
    if (positions == positions[0]).all():
        return slice(int(positions[0]), int(positions[0]) + 1)
    found = as_slice(positions)
    return found if isinstance(found, slice) else arrays.constant(found)


def as_slice(positions: Ints) -> slice | Ints:
    """Evenly spaced positions as a slice, which is a view; others as they are, which is a copy."""
    if positions.size < 2:
        return slice(int(positions[0]), int(positions[0]) + 1)
    step = int(positions[1] - positions[0])
    if step > 0 and bool((np.diff(positions) == step).all()):
        return slice(int(positions[0]), int(positions[-1]) + 1, step)
    return positions
